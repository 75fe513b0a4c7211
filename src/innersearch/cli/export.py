"""`innersearch export`: trajectories in the formats of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from innersearch.cli.console import stdout

app = App(name="export", help_format="plaintext")


@app.default
def export(
    run: Path,
    *,
    to: str,
    output: Path | None = None,
    engine: str = "",
    k: Annotated[NonNegativeInt, Parameter(alias="-k")] = 0,
) -> None:
    """Hand on the trajectories of a run, in a format of others: hf, inspect or verifiers.

    hf is a Hugging Face data set (Parquet and a card), inspect are logs that `inspect view` opens, and
    verifiers is an environment with the run's questions, engine and reward. Examples:

        innersearch export runs/demo --to hf
        innersearch export runs/demo/eval/after --to inspect --output logs
        innersearch export runs/demo --to verifiers --engine world --output environments/demo

    Args:
        run: Directory of a run or an evaluation, or a file of trajectories.
        to: Format; see innersearch ls exports.
        output: Directory that is written to; RUN/export/FORMAT by default.
        engine: Engine that an environment searches; that of the recipe by default.
        k: Documents per search in an environment; as in the recipe by default.
    """
    from innersearch.records import begun
    from innersearch.view.exports import EXPORTS, Searching
    from innersearch.view.exports.parts import parts

    kind = EXPORTS.get(to)
    beside = run if run.is_dir() else run.parent
    folder = output or beside / "export" / to
    parts(run)
    begun(folder, resume=False, what="export")
    opened = kind.write(run, folder, Searching(engine, k))
    stdout.print(f"export  {folder}")
    stdout.print(f"open    {opened}")
