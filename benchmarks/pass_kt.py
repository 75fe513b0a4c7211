"""pass@(k, T): what is solved with k samples of at most T searches each (arXiv 2604.14877).

    innersearch eval world --data world:test -n 16 --output runs/start
    innersearch eval runs/ssrl-world/model --data world:test -n 16 --output runs/trained
    python benchmarks/pass_kt.py runs/start runs/trained --group depth_2

Reads the samples of evaluations, whoever answered their searches; nothing is run. A budget of T searches
ends a trajectory at its next query (`--max-searches T`), so that with it the same samples are right as
without it, but for those that searched more often. One evaluation therefore holds every T up to its own.

With two evaluations of the same questions their difference stands beside them, with its 95 % interval: a
gain at k = 1 that is gone at large k is sharpening, one that grows with T and stays at large k is
something that the start cannot do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from innersearch.errors import DataError, InnersearchError
from innersearch.evaluate.run import KS
from innersearch.evaluate.stored import Repeated
from innersearch.intervals import DRAWS, Scores, generator, interval
from innersearch.metrics import pass_at_k
from innersearch.stored import read_unique
from innersearch.view.tables import markdown

Record = Mapping[str, Any]


def samples(folder: Path, groups: Sequence[str]) -> dict[str, Record]:
    """The sampled questions of an evaluation, by id; of some groups, or of all.

    Raises:
        DataError: There are none, or they do not say how often each sample searched.
    """
    file = folder / "samples.jsonl"
    found = {r["id"]: r for r in read_unique(file, Repeated) if not groups or r["group"] in groups}
    if not found:
        asked = f" of the groups {', '.join(groups)}" if groups else ""
        raise DataError(f"{file} holds no samples{asked}: evaluate with -n 16, or name another group")
    if any("each" not in record for record in found.values()):
        raise DataError(
            f"{file} does not say how often each sample searched, an earlier version wrote it: "
            "evaluate again"
        )
    return found


def solved(record: Record, k: int, most: int) -> float:
    """The estimate of pass@(k, T) for one question, T = `most`."""
    each = zip(record["em"], record["each"]["searches"], strict=True)
    return pass_at_k(len(record["em"]), sum(em for em, searches in each if searches <= most), k)


def grid(records: Mapping[str, Record], ks: Sequence[int], most: int) -> dict[str, dict[str, float]]:
    """pass@(k, T) by T and k, for T from 0 to `most`."""
    return {
        str(t): {str(k): statistics.fmean(solved(r, k, t) for r in records.values()) for k in ks}
        for t in range(most + 1)
    }


def differences(
    first: Mapping[str, Record], second: Mapping[str, Record], ks: Sequence[int], most: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Second minus first, by T and k, with intervals over the questions that both have."""
    both = [identity for identity in first if identity in second]
    if not both:
        raise DataError("the evaluations have no question in common: evaluate both with the same --data")

    def of(k: int, t: int) -> dict[str, float]:
        values = [solved(second[i], k, t) - solved(first[i], k, t) for i in both]
        low, high = interval(Scores.single(values), (-1.0, 1.0), DRAWS, generator(0, f"{k}/{t}"))
        return {"value": statistics.fmean(values), "low": low, "high": high}

    return {str(t): {str(k): of(k, t) for k in ks} for t in range(most + 1)}


def table(named: Mapping[str, Mapping[str, Mapping[str, Any]]], ks: Sequence[int]) -> str:
    """A row per T and evaluation, a column per k, in percent."""
    first = next(iter(named.values()))
    rows = [
        [t, name, *(shown(cells[t][str(k)]) for k in ks)] for t in first for name, cells in named.items()
    ]
    return markdown(["T", "", *(f"k = {k}" for k in ks)], rows)


def shown(cell: float | Mapping[str, float]) -> str:
    if isinstance(cell, Mapping):
        return f"{100 * cell['value']:+.1f} [{100 * cell['low']:+.1f}, {100 * cell['high']:+.1f}]"
    return f"{100 * cell:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("evaluation", type=Path, nargs="+", help="directory of an evaluation with -n")
    parser.add_argument("--group", action="append", default=[], help="only questions of this group")
    parser.add_argument("--most", type=int, default=4, help="largest T (default 4)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    try:
        records = {str(folder): samples(folder, given.group) for folder in given.evaluation}
        least = min(len(r["em"]) for found in records.values() for r in found.values())
        ks = [k for k in KS if k <= least]
        figures: dict[str, Any] = {name: grid(found, ks, given.most) for name, found in records.items()}
        if len(records) == 2:
            figures["difference"] = differences(*records.values(), ks, given.most)
    except InnersearchError as error:
        print(f"pass_kt: {error}", file=sys.stderr)
        return 1
    print(table(figures, ks))
    if given.json:
        given.json.write_text(json.dumps({"groups": given.group, "pass_kt": figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
