"""A slow engine: any engine, whose answers take as long as those of a search API would.

    Slow(engine, Latency.parse("web"), seed=1)
    Slow(engine, Latency.parse("0.5"))

How long a search takes is drawn by who asks and for what, so that it is the same each time.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from statistics import NormalDist

from innersearch.errors import ConfigError
from innersearch.random_draws import draw
from innersearch.search.base import Engine, SearchRequest, SearchResult
from innersearch.search.wrappers.around import Around

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


class Slow(Around):
    """Answers as another engine does, later."""

    def __init__(self, engine: Engine, latency: Latency, seed: int = 0) -> None:
        super().__init__(engine)
        self.latency, self.seed = latency, seed

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        """The engine's result, after a while."""
        seconds = self.latency.at(draw("latency", self.seed, *asked.identity))
        result, _ = await asyncio.gather(super().answer(asked, k), asyncio.sleep(seconds))
        return replace(result, latency_s=max(result.latency_s, seconds))
