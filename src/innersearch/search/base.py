"""The engine seam: queries in, one result per query out, in order.

An engine that is up answers every query with a `SearchResult`. A search that failed is data: a result
with an `error`, counted by whoever asked, never an exception and never an empty string. Exceptions
are for engines that cannot be opened at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from innersearch.types import Document, Question, Source

if TYPE_CHECKING:
    from innersearch.search.curriculum import Curriculum

_USED_UP = " is used up, nothing was sent"


def used_up(limit: str) -> str:
    """The error of a call that a budget did not allow; see `SearchResult.used_up`."""
    return f"the budget of {limit}{_USED_UP}: raise it and resume"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one query returned: documents, best first, or an error and no documents."""

    documents: tuple[Document, ...] = ()
    error: str | None = None
    latency_s: float = 0.0
    """Seconds from asking to answer, retries and waiting included."""
    cost_usd: float = 0.0
    """Price of the calls that were made for it, in US dollars."""
    label: str = ""
    """`useful` or `noisy` where the engine decides about the quality, else empty."""
    faults: tuple[str, ...] = ()
    """What had to be mended in what a simulator wrote; see `innersearch.simulator.parsing`."""
    partial: str | None = None
    """What is missing and why, where only some of several engines answered: such a result has documents
    or none, but it is not what the whole would have found, and is never kept as that."""

    told: str = ""
    """What a policy is told in place of documents, where it is to know more than that there are none."""

    @property
    def used_up(self) -> bool:
        """Whether a budget did not allow it or a part of it: no run should go on with such."""
        return any(_USED_UP in reason for reason in (self.error, self.partial) if reason)


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


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A query together with the trajectory that asks it, so that no batch can shift one against the
    other.
    """

    query: str
    question: Question | None = None
    """None outside of trajectories."""
    identity: tuple[str | int, ...] = ()
    """Group, repetition and number of the search: what draws of quality depend on."""
    step: int = 0
    """The optimizer step; 0 outside of training."""


@runtime_checkable
class InformedEngine(Engine, Protocol):
    """An engine whose results depend on who asks: one that simulates, or degrades on purpose."""

    @property
    def curriculum(self) -> Curriculum | None:
        """When its results are noisy."""

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        """The result of one query, with up to `k` documents."""


async def ask(engine: Engine, asked: SearchRequest, k: int) -> SearchResult:
    """Ask any engine, and let it know who asks if it wants to."""
    # Looking a protocol over takes some ten microseconds; most engines have nothing of that name.
    if hasattr(engine, "answer") and isinstance(engine, InformedEngine):
        return await engine.answer(asked, k)
    [result] = await engine.search([asked.query], k)
    for document in result.documents:
        if not all(isinstance(text, str) for text in (document.id, document.title, document.text)):
            raise TypeError(f"the engine {engine.name} found a document whose parts are no texts")
    return result


async def answer_each(engine: InformedEngine, queries: Sequence[str], k: int) -> list[SearchResult]:
    """The `search` of an informed engine: queries outside of trajectories, each a draw of its own."""
    asked = (SearchRequest(query, identity=(query,)) for query in queries)
    return list(await asyncio.gather(*(engine.answer(one, k) for one in asked)))
