"""`innersearch report`: the report of a run, written again."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from innersearch.cli.console import stdout

app = App(name="report", help_format="plaintext")


@app.default
def report(run: Path) -> None:
    """Write report.html from what a run directory holds.

    Evaluations under RUN/eval/ are compared in it, so that one can add one's own:

        innersearch eval runs/ssrl-world/model --data world:test --output runs/ssrl-world/eval/after
        innersearch report runs/ssrl-world

    Args:
        run: Directory of the run.
    """
    from innersearch.view.report import write_report

    stdout.print(f"report  {write_report(run)}")
