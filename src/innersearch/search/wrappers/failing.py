"""A failing engine: any engine, some of whose searches fail on purpose.

    Failing(engine, rate=0.05, seed=1)

Which ones fail is drawn by who asks and for what, so that it is the same each time; whoever asks again
after a failure draws again, as a retry may succeed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from innersearch.errors import ConfigError
from innersearch.random_draws import draw
from innersearch.search.base import Engine, InformedEngine, SearchRequest, SearchResult, answer_each, ask
from innersearch.search.curriculum import Curriculum
from innersearch.types import Source

FAILED = "the search failed, as a share of all searches was made to"


class Failing:
    """Answers as another engine does, or not at all.

    Raises:
        ConfigError: The rate is no share.
    """

    def __init__(self, engine: Engine, rate: float, seed: int = 0) -> None:
        if not 0 <= rate <= 1:
            raise ConfigError(f"a rate of failures is from 0 to 1, given {rate:g}")
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = {
            **engine.identity,
            "failing": rate,
            "failing_seed": seed,
        }
        self.rate, self.seed = rate, seed
        self._engine = engine
        self._failed: Counter[tuple[str | int, ...]] = Counter()

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
        """The engine's result, or a failure that the engine is not asked for."""
        tried = self._failed.get(asked.identity, 0)
        if draw("failing", self.seed, tried, *asked.identity) < self.rate:
            self._failed[asked.identity] += 1
            return SearchResult(error=FAILED)
        return await ask(self._engine, asked, k)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
