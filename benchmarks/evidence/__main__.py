"""`python -m benchmarks.evidence`: see the package."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.evidence.demos import keep
from benchmarks.evidence.page import Evidence, write
from benchmarks.evidence.plan import HERE, ROOT, read_plan
from benchmarks.evidence.runner import make

from innersearch.errors import InnersearchError


def say(text: str) -> None:
    """With the time of day, for whoever looks at the log later."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run, write or tell; 1 where a run failed or a stored result cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="make the runs whose results are not stored")
    run.add_argument("--only", nargs="+", default=[], help="runs such as 2/ssrl-0, '1/*', or rows")
    run.add_argument("--workers", type=int, default=2, help="commands at once, of one thread each")
    verbs.add_parser("page", help="write docs/evidence.md and all blocks")
    verbs.add_parser("status", help="what there is and what is missing")
    kept = verbs.add_parser("keep-demo", help="store the summary of a demo, for README's table")
    kept.add_argument("run", type=Path)
    for verb in verbs.choices.values():
        verb.add_argument("--plan", type=Path, default=HERE / "plan.toml")
    given = parser.parse_args(arguments)
    try:
        if given.verb == "keep-demo":
            print(f"kept  {keep(given.run).relative_to(ROOT)}")
            return 0
        if given.verb == "run":
            failed = make(read_plan(given.plan), given.only, max(1, given.workers), say)
            for name, why in failed.items():
                say(f"failed: {name}: {why}")
            return 1 if failed else 0
        evidence = Evidence.read(given.plan)
        for line in evidence.results.problems:
            print(line)
        if given.verb == "status":
            print(f"{len(evidence.results.runs)} of {len(evidence.plan.runs())} runs are stored")
            print("missing: " + (", ".join(evidence.results.missing) or "none"))
        else:
            for path in write(evidence):
                print(f"written  {path.relative_to(ROOT)}")
        return 1 if evidence.results.problems else 0
    except InnersearchError as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
