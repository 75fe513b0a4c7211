"""What wrappers around an engine have in common that change when or whether it answers, not what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from innersearch.search.base import Engine, InformedEngine, SearchRequest, SearchResult, answer_each, ask
from innersearch.search.curriculum import Curriculum
from innersearch.types import Source


class Around:
    """Answers as another engine does."""

    def __init__(self, engine: Engine) -> None:
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = engine.identity
        self._engine = engine

    @property
    def curriculum(self) -> Curriculum | None:
        """That of the engine, if it has one."""
        return self._engine.curriculum if isinstance(self._engine, InformedEngine) else None

    @property
    def inner(self) -> Engine:
        """The engine that is asked."""
        return self._engine

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """As `answer`, for queries that belong to no question."""
        return await answer_each(self, queries, k)

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        """The engine's result."""
        return await ask(self._engine, asked, k)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
