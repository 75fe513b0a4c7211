"""`innersearch view`: the report of a run in a browser, or its trajectories in the terminal."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from innersearch.cli.console import stdout
from innersearch.errors import ConfigError, DataError

if TYPE_CHECKING:
    from innersearch.types import Trajectory

app = App(name="view", help_format="plaintext")


@app.default
def view(
    run: Path,
    *,
    term: bool = False,
    only: Literal["all", "wrong", "right", "failed"] = "all",
    n: Annotated[NonNegativeInt, Parameter(alias="-n")] = 0,
    text: str = "",
    svg: Path | None = None,
) -> None:
    """Open the report of a run in a browser; write it first where there is none or it is out of date.

    With --term its trajectories are printed, in colour, for a pager. Examples:

        innersearch view runs/demo
        innersearch view runs/demo --term --only wrong -n 5
        innersearch view runs/demo/eval/after --term --text Zerorn | less -R
        innersearch view runs/demo/eval/after --term --only right -n 1 --svg trajectory.svg

    Args:
        run: Directory of a run or an evaluation, or with --term a file of trajectories.
        term: Print trajectories instead.
        only: Trajectories that are printed, with --term.
        n: Number of trajectories that are printed at most, with --term; 0 prints all.
        text: Words that must stand in a question or in what was written, with --term.
        svg: File that a picture of what is printed is written to as well, with --term.
    """
    if svg is not None and not term:
        raise ConfigError(f"--svg {svg} draws what --term prints: add --term")
    if term:
        _print(run, only, n, text, svg)
        return
    from innersearch.view.report import demand_report

    report = demand_report(run)
    stdout.print(f"report  {report}")
    if _has_browser():
        webbrowser.open(report.absolute().as_uri())
    else:
        stdout.print("note    no browser here: copy the file, it needs nothing else; or --term")


def _has_browser() -> bool:
    """Whether a browser with windows can be started; one for terminals would take this one over."""
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER")
    )


def _print(run: Path, only: str, n: int, text: str, svg: Path | None) -> None:
    from innersearch.view.terminal import print_trajectory

    drawn, shown = [], 0
    for shown, trajectory in enumerate(islice(_fitting(run, only, text), n or None), 1):
        if shown > 1:
            stdout.print()
        print_trajectory(trajectory, stdout)
        if svg is not None:
            drawn.append(trajectory)
    if not shown:
        raise DataError(f"no trajectory of {run} fits: give another --only or --text")
    if svg is not None:
        from innersearch.cli.pictures import draw

        draw(drawn, svg, f"innersearch view {run} --term")


def _fitting(run: Path, only: str, text: str) -> Iterator[Trajectory]:
    """The trajectories that are asked for, one by one."""
    from innersearch.public import read_trajectories

    for file in _files(run):
        for trajectory in read_trajectories(file):
            right = trajectory.components.get("em") == 1.0
            kinds = {"wrong": not right, "right": right, "failed": trajectory.error is not None}
            blocks = (s.text for g in trajectory.segments for s in g.spans)
            if kinds.get(only, True) and text in "".join([trajectory.question.question, *blocks]):
                yield trajectory


def _files(run: Path) -> Iterator[Path]:
    """The files of trajectories of a run and its evaluations, or that file itself."""
    found = [run] if run.is_file() else sorted(run.rglob("trajectories.jsonl"))
    if not found:
        raise DataError(f"{run} holds no trajectories.jsonl: give a run or an evaluation")
    yield from found
