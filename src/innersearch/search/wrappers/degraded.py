"""A degraded engine: any engine, some of whose results are replaced by distractors.

The dial of ZeroSearch without a language model, so that a curriculum of noise works on BM25 or the web.
A noisy result holds no gold answer, as far as documents show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from innersearch.random_draws import number
from innersearch.search.base import Engine, SearchRequest, SearchResult, answer_each
from innersearch.search.curriculum import Curriculum
from innersearch.search.evidence import is_evidence

_DEEPER = 8
"""How many times more documents are asked for, to find some that are of no use."""


class DegradedEngine:
    """Answers as another engine does, except for the queries that the curriculum makes noisy."""

    def __init__(self, engine: Engine, curriculum: Curriculum, others: Sequence[str] = ()) -> None:
        """`others` are the queries or questions whose results stand for another question's."""
        self.name, self.source = engine.name, engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = (
            dict(engine.identity) | curriculum.identity
        )
        self.curriculum = curriculum
        self._engine = engine
        self._distractors = curriculum.settings.distractors
        self._others = others

    @property
    def inner(self) -> Engine:
        """The engine that is degraded."""
        return self._engine

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """As `answer`, for queries that belong to no question."""
        return await answer_each(self, queries, k)

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        """The engine's result, or distractors, labelled as such."""
        label = self.curriculum.label(asked)
        if label == "useful":
            [result] = await self._engine.search([asked.query], k)
            return replace(result, label=label)
        query = self._other(asked) if self._distractors == "other" and self._others else asked.query
        [result] = await self._engine.search([query], _DEEPER * k)
        useless = [d for d in result.documents if not is_evidence(d, asked.question)]
        if self._distractors == "lower":
            useless = [document for document in useless if document not in result.documents[:k]]
        return replace(result, documents=tuple(useless[:k]), label=label)

    def _other(self, asked: SearchRequest) -> str:
        return self._others[number("other", *asked.identity) % len(self._others)]

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
