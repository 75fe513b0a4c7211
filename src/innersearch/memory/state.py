"""The memory of a search agent: a pool of documents, those it chose, and what it found out about them.

A memory is never changed, only replaced, and holds documents as they came, never text to be read back.
Ids are opaque: nothing is cut off them and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from innersearch.types import Document


class Importance(StrEnum):
    """How much a chosen document matters, most first."""

    VERY_HIGH = "very_high"
    """It answers the question, or a part of it."""
    HIGH = "high"
    """It is needed for the answer."""
    FAIR = "fair"
    """It may be; what nobody rated."""
    LOW = "low"
    """The first to go."""

    @property
    def rank(self) -> int:
        """0 for the most important."""
        return _RANKS[self]


_RANKS = {importance: rank for rank, importance in enumerate(Importance)}


class Answer(StrEnum):
    """Whether a document supports a claim."""

    YES = "yes"
    """It does."""
    NO = "no"
    """It does not."""
    UNKNOWN = "unknown"
    """Nobody could tell."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What somebody said about a document and a claim."""

    document: str
    """Its id."""
    claim: str
    answer: Answer
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One call that looked for documents."""

    tool: str
    input: str
    returned: int
    new: int
    """Of these, how many the pool did not have."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a retrieval agent has found and decided; replaced, never changed."""

    pool: tuple[str, ...] = ()
    """Ids in the order of discovery."""
    texts: Mapping[str, Document] = field(default_factory=dict)
    """The documents of the pool, whole."""
    curated: Mapping[str, Importance] = field(default_factory=dict)
    """What was chosen, in the order in which it was."""
    verdicts: tuple[Verdict, ...] = ()
    log: tuple[LogLine, ...] = ()
    found_by: Mapping[str, str] = field(default_factory=dict)
    """The query that found a document first."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Ids of documents that say what another one says, and that one; they never enter the pool."""
    seeded: bool = False
    """Whether the first successful search has filled the curated set."""

    @property
    def seen(self) -> frozenset[str]:
        """Ids that searches need not return again."""
        return frozenset(self.pool) | self.copies.keys()

    @property
    def chosen(self) -> tuple[str, ...]:
        """The curated ids, the most important ones first, then as they were chosen."""
        return tuple(sorted(self.curated, key=lambda name: self.curated[name].rank))
