"""The engine seam: queries in, one result per query out, in order.

An engine that is up answers every query with a `SearchResult`. A search that failed is data: a result
with an `error`, counted by whoever asked, never an exception and never an empty string. Exceptions
are for engines that cannot be opened at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from innersearch.types import Document, Source

USED_UP = "the budget of "
"""How the error of a search begins that a budget did not allow: no run should go on with such."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one query returned: documents, best first, or an error and no documents."""

    documents: tuple[Document, ...] = ()
    error: str | None = None
    latency_s: float = 0.0
    """Seconds from asking to answer, retries and waiting included."""
    cost_usd: float = 0.0
    """Price of the calls that were made for it, in US dollars."""


class Engine(Protocol):
    """Something that can be searched."""

    name: str
    """As a user writes it and as results are reported under, for example `bm25` or `serper`."""
    source: Source
    """The author of what it returns: RETRIEVER for an index, WEB for a search API."""
    identity: Mapping[str, str | int | float | bool | None]
    """What decides its results, version included: two engines of one identity answer alike."""

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order, each with up to `k` documents."""

    async def close(self) -> None:
        """Let go of connections and files; it is not searched again."""
