"""Live progress on stderr: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from innersearch.cli.console import ANOTHER, SafeConsole

SILENCE = "INNERSEARCH_NO_PROGRESS"
"""Environment variable; whatever it holds, nothing is shown."""
_PLAIN_INTERVAL_S = 10.0
_SHOWN = {
    "reward/mean": "reward",
    "reward/em": "EM",
    "reward/format": "format",
    "search/calls": "searches",
    "policy/tokens": "tokens",
}


def _fixed() -> Column:
    """A column that keeps its width; only the note gives way in a narrow terminal."""
    return Column(no_wrap=True, overflow="ignore")


class Display:
    """Counts one long piece of work after another; use it as a context manager."""

    def __init__(self) -> None:
        self._console = SafeConsole(
            stderr=True, highlight=False, markup=False, quiet=ANOTHER or bool(os.environ.get(SILENCE))
        )
        self._bar = Progress(
            TextColumn("{task.description}", table_column=_fixed(), markup=False),
            BarColumn(bar_width=10, table_column=_fixed()),
            MofNCompleteColumn(table_column=_fixed()),
            TimeRemainingColumn(table_column=_fixed()),
            TextColumn(
                "{task.fields[note]}",
                table_column=Column(no_wrap=True, overflow="ellipsis"),
                markup=False,
            ),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed = 0.0

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    @property
    def console(self) -> SafeConsole:
        """Where more can be printed, above the bar."""
        return self._console

    def update(self, what: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` steps of `what` are done."""
        if not self._console.is_terminal:
            self._print(what, done, total, note)
            return
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note=note)
        self._bar.update(self._tasks[what], completed=done, total=total, note=note)

    def _print(self, what: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if done < total and now - self._printed < _PLAIN_INTERVAL_S:
            return
        self._printed = now
        self._console.print(f"{what} {done}/{total} {note}".rstrip(), soft_wrap=True)


def describe(metrics: Mapping[str, float]) -> str:
    """The few metrics that fit behind a progress bar."""
    parts = [f"{name} {metrics[key]:.3g}" for key, name in _SHOWN.items() if key in metrics]
    return "  ".join(parts)
