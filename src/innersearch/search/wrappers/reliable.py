"""An engine whose calls are retried, paced and waited for, as `net.caller` does it.

An engine without `ask` (see `calls`) is wrapped as it is: its failed results are final, and only an
`OSError` or a missed deadline is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter

from innersearch.net.caller import Caller
from innersearch.net.calls import CallError, TransientError
from innersearch.net.patience import CallSettings
from innersearch.search.base import Engine, SearchResult
from innersearch.search.remote.calls import CallingEngine, failed, parts
from innersearch.types import Source


class _Plain:
    """An engine without `ask`, asked through `search`."""

    price_usd: float = 0.0
    batch: int | None = None

    def __init__(self, engine: Engine) -> None:
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = engine.identity
        self._engine = engine

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return await self._engine.search(queries, k)

    async def close(self) -> None:
        await self._engine.close()

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        try:
            return await self.search(queries, k)
        except OSError as error:
            # Its text may hold what was sent.
            raise TransientError(f"{self.name} failed: {type(error).__name__}") from None


class Reliable:
    """An engine whose calls have deadlines, retries, a limit in flight and patience with outages.

    `search` raises nothing for a call that failed: the last reason stands in the result, with the
    seconds of all tries and waiting, and with the price of every request that may have to be paid for.
    """

    def __init__(self, engine: Engine, settings: CallSettings | None = None) -> None:
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = engine.identity
        url = engine.identity.get("url")
        self._caller = Caller(engine.name, settings, place=url if isinstance(url, str) else None)
        self.settings, self.counts = self._caller.settings, self._caller.counts
        self._engine: CallingEngine = engine if isinstance(engine, CallingEngine) else _Plain(engine)

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order."""
        self.counts.searches += len(queries)
        calls = parts(queries, self._engine.batch)
        answered = await asyncio.gather(*(self._answer(part, k) for part in calls))
        return [result for results in answered for result in results]

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()

    async def _answer(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        started = perf_counter()
        wasted = 0.0

        def waste(error: CallError) -> None:
            nonlocal wasted
            wasted += self._engine.price_usd if error.paid else 0.0

        try:
            results = await self._caller.call(lambda: self._engine.ask(queries, k), waste)
        except CallError as error:
            self.counts.lost += len(queries)
            return failed(queries, str(error), perf_counter() - started, wasted)
        latency = perf_counter() - started
        return [
            replace(result, latency_s=latency, cost_usd=result.cost_usd + (0.0 if i else wasted))
            for i, result in enumerate(results)
        ]
