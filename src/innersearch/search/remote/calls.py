"""Engines that make calls, and how failed calls become results.

Besides `search`, such an engine has an `ask` that makes exactly one call and raises: `TransientError`
when another try may succeed, `PermanentError` when it cannot. `once` turns both into failed results;
`reliable` retries first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Protocol, runtime_checkable

from innersearch.net.calls import CallError
from innersearch.search.base import Engine, SearchResult


@runtime_checkable
class CallingEngine(Engine, Protocol):
    """An engine that makes calls which can fail, and may cost."""

    price_usd: float
    """List price of one call in US dollars."""
    batch: int | None
    """Most queries of one call; None for any number."""

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """Make one call for at most `batch` queries.

        Raises:
            TransientError: It failed, and another try may succeed.
            PermanentError: It failed, and would again.
        """


def parts(queries: Sequence[str], batch: int | None) -> list[Sequence[str]]:
    """The queries, cut into calls."""
    size = batch or max(1, len(queries))
    return [queries[start : start + size] for start in range(0, len(queries), size)]


def failed(
    queries: Sequence[str], message: str, latency_s: float, cost_usd: float
) -> list[SearchResult]:
    """A failed call as a result for each of its queries; its price is counted once."""
    first = SearchResult(error=message, latency_s=latency_s, cost_usd=cost_usd)
    return [first, *[replace(first, cost_usd=0.0)] * (len(queries) - 1)]


async def once(engine: CallingEngine, queries: Sequence[str], k: int) -> list[SearchResult]:
    """Ask without retries, all calls at once; a failed call fails each of its queries."""

    async def part(queries: Sequence[str]) -> list[SearchResult]:
        started = perf_counter()
        try:
            return await engine.ask(queries, k)
        except CallError as error:
            cost = engine.price_usd if error.paid else 0.0
            return failed(queries, str(error), perf_counter() - started, cost)

    answered = await asyncio.gather(*map(part, parts(queries, engine.batch)))
    return [result for results in answered for result in results]
