"""The course of a training run as a table: `python benchmarks/curve.py RUN [EVERY]`.

Every tenth step (or EVERY), means of that step and the four before it.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from innersearch.stored import read_lines
from innersearch.view.tables import markdown

COLUMNS = {
    "EM, % of samples": ("reward/em", 100.0, ".1f"),
    "well-formed, %": ("reward/format", 100.0, ".1f"),
    "searches": ("search/calls", 1.0, ".2f"),
    "tokens": ("policy/tokens", 1.0, ".0f"),
    "reward": ("reward/mean", 1.0, ".3f"),
}
WINDOW = 5


def curve(metrics: Path, every: int) -> str:
    """The table as Markdown."""
    steps = list(read_lines(metrics))
    chosen = [n for n, step in enumerate(steps) if step["step"] == 1 or step["step"] % every == 0]
    rows = []
    for number in chosen:
        window = steps[max(0, number - WINDOW + 1) : number + 1]
        values = [
            f"{factor * statistics.fmean(step[key] for step in window):{form}}"
            for key, factor, form in COLUMNS.values()
        ]
        rows.append([str(steps[number]["step"]), *values])
    return markdown(["step", *COLUMNS], rows)


if __name__ == "__main__":
    print(curve(Path(sys.argv[1]) / "metrics.jsonl", int(sys.argv[2]) if len(sys.argv) > 2 else 10))
