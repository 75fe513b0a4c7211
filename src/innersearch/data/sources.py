"""Sources that make questions, named with what they are asked for: `world:test`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innersearch.types import Question


@dataclass(frozen=True, slots=True)
class QuestionSource:
    """A source; a package offers its own under `innersearch.questions`."""

    form: str
    """How it is written: `world:train|validation|test`."""
    read: Callable[[str], Sequence[Question]]
    """The questions of what stands behind the colon; raises DataError where that is nothing."""
