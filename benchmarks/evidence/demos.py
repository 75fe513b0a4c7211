"""Summaries of `make demo` that are kept, and the table that README shows: medians, never the best.

python -m benchmarks.evidence keep-demo runs/demo
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence.packing import code_version, cpu_name
from benchmarks.evidence.plan import ROOT

from innersearch.errors import RunError
from innersearch.records import write_json
from innersearch.stored import read_json
from innersearch.view.tables import markdown

FOLDER = ROOT / "benchmarks" / "results" / "demo"


def keep(run: Path) -> Path:
    """Store the summary of a demo under its seed and the commit.

    Raises:
        RunError: The demo has not ended.
    """
    if not (run / "summary.json").is_file():
        raise RunError(f"{run} holds no summary.json: let `make demo` end first")
    summary = read_json(run / "summary.json")
    code = code_version()
    made_on = {"code": code, "cpu": cpu_name(), "processors": os.cpu_count()}
    path = FOLDER / f"seed-{summary['seed']}-{code.rstrip('+') or 'unknown'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, summary | made_on)
    return path


def demo_table(folder: Path = FOLDER) -> str:
    """Greedy exact match by group and row, the median over the demos on record and their range."""
    demos = [read_json(path) for path in sorted(folder.glob("*.json"))]
    if not demos:
        return "No demo is on record yet: `python -m benchmarks.evidence keep-demo RUN` keeps one.\n"
    rows, groups = list(demos[0]["rows"]), list(demos[0]["rows"]["before"]["em"])
    body = [
        [group, *(_median([100 * d["rows"][row]["em"][group]["value"] for d in demos]) for row in rows)]
        for group in groups
    ]
    calls = [_median([demo["rows"][row]["calls"] for demo in demos], 2) for row in rows]
    body.append(["real searches per question", *calls])
    minutes = _median([sum(demo["seconds"].values()) / 60 - _install(demo) for demo in demos])
    cpus = ", ".join(sorted({f"{demo['cpu']} ({demo['processors']} processors)" for demo in demos}))
    said = f"{minutes} minutes after installing, on {cpus}"
    table = markdown(["EM, %", *rows], body)
    return f"{table}\n\nMedian of {len(demos)} demos on record (least–most); {said}.\n"


def _install(demo: dict[str, Any]) -> float:
    return float(demo["seconds"]["install"]) / 60


def _median(values: Sequence[float], digits: int = 1) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) < 2:
        return middle
    return f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"
