"""`innersearch report`: the report of a run, written again."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from cyclopts.types import NonNegativeInt

from innersearch.cli.console import stdout

app = App(name="report", help_format="plaintext")


@app.default
def report(run: Path, *, trajectories: NonNegativeInt = 0) -> None:
    """Write report.html from what a run directory holds.

    Evaluations under RUN/eval/ are compared in it, so that one can add one's own:

        innersearch eval runs/ssrl-world/model --data world:test --output runs/ssrl-world/eval/after
        innersearch report runs/ssrl-world
        innersearch report runs/ssrl-world --trajectories 5000

    Args:
        run: Directory of the run.
        trajectories: Number of trajectories that can be browsed at most, the first ones; 0 takes a
            sample of each evaluation and of five training steps.
    """
    from innersearch.view.report import write_report

    stdout.print(f"report  {write_report(run, trajectories)}")
