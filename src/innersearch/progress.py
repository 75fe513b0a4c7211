"""How long work tells how far it is; whoever calls decides whether and where to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called whenever some of the work is done."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of `what` are done."""


def silent(what: str, done: int, total: int, note: str = "") -> None:
    """Shows nothing."""
