"""A failing engine: any engine, some of whose searches fail on purpose.

    Failing(engine, rate=0.05, seed=1)

Which ones fail is drawn by who asks and for what, so that it is the same each time; whoever asks again
after a failure draws again, as a retry may succeed.
"""

from __future__ import annotations

from collections import Counter

from innersearch.errors import ConfigError
from innersearch.random_draws import draw
from innersearch.search.base import Engine, SearchRequest, SearchResult
from innersearch.search.wrappers.around import Around

FAILED = "the search failed, as a share of all searches was made to"


class Failing(Around):
    """Answers as another engine does, or not at all.

    Raises:
        ConfigError: The rate is no share.
    """

    def __init__(self, engine: Engine, rate: float, seed: int = 0) -> None:
        if not 0 <= rate <= 1:
            raise ConfigError(f"a rate of failures is from 0 to 1, given {rate:g}")
        super().__init__(engine)
        self.identity = {**engine.identity, "failing": rate, "failing_seed": seed}
        self.rate, self.seed = rate, seed
        self._failed: Counter[tuple[str | int, ...]] = Counter()

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        """The engine's result, or a failure that the engine is not asked for."""
        tried = self._failed.get(asked.identity, 0)
        if draw("failing", self.seed, tried, *asked.identity) < self.rate:
            self._failed[asked.identity] += 1
            return SearchResult(error=FAILED)
        return await super().answer(asked, k)
