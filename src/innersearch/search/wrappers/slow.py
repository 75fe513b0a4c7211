"""A slow engine: any engine, whose answers take as long as those of a search API would.

    Slow(engine, Latency.parse("web"), seed=1)
    Slow(engine, Latency.parse("0.5"))

How long a search takes is drawn by who asks and for what, so that it is the same each time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from innersearch.errors import ConfigError
from innersearch.random_draws import draw
from innersearch.search.base import Engine, InformedEngine, SearchRequest, SearchResult, answer_each, ask
from innersearch.search.curriculum import Curriculum
from innersearch.types import Source

_LONGEST_S = 60.0
"""No draw is longer: a log-normal distribution has no end."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of a search: log-normal by two quantiles, or always the same where they are equal.

    >>> Latency.parse("web")
    Latency(p50_s=0.4, p99_s=3.0)
    >>> [round(Latency.parse("web").at(share), 2) for share in (0.5, 0.9, 0.99)]
    [0.4, 1.21, 3.0]

    Raises:
        ConfigError: They are no seconds in that order.
    """

    p50_s: float
    p99_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.p50_s <= self.p99_s <= _LONGEST_S:
            raise ConfigError(
                f"a latency of {self.p50_s:g} s (p50) and {self.p99_s:g} s (p99) is impossible: give "
                f"seconds from 0 to {_LONGEST_S:g}"
            )

    @classmethod
    def parse(cls, text: str) -> Latency:
        """The distribution that a text names: `web`, or seconds.

        Raises:
            ConfigError: It names none.
        """
        if text == "web":
            return WEB
        try:
            seconds = float(text)
        except ValueError:
            raise ConfigError(f"no latency {text!r}: write web, or seconds such as 0.5") from None
        return cls(seconds, seconds)

    def at(self, share: float) -> float:
        """The seconds within which a share of all searches is answered."""
        if self.p50_s == self.p99_s or not self.p50_s:
            return self.p50_s
        normal = NormalDist()
        sigma = math.log(self.p99_s / self.p50_s) / normal.inv_cdf(0.99)
        within = min(max(share, 1e-9), 1 - 1e-9)
        return min(_LONGEST_S, self.p50_s * math.exp(sigma * normal.inv_cdf(within)))


WEB = Latency(0.4, 3.0)
"""As search APIs are."""


class Slow:
    """Answers as another engine does, later."""

    def __init__(self, engine: Engine, latency: Latency, seed: int = 0) -> None:
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = engine.identity
        self.latency, self.seed = latency, seed
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
        """The engine's result, after a while."""
        seconds = self.latency.at(draw("latency", self.seed, *asked.identity))
        result, _ = await asyncio.gather(ask(self._engine, asked, k), asyncio.sleep(seconds))
        return replace(result, latency_s=max(result.latency_s, seconds))

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
