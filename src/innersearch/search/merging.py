"""Concurrent searches of one engine in one batch.

Calls that arrive while a batch is under way share the next one; nobody waits for a batch to fill. A
trajectory asks one query at a time, and hundreds of trajectories run at once, while an encoder or an
index does a batch in much less than the sum of its queries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from innersearch.search.base import SearchResult


@dataclass(slots=True, eq=False)
class _Call:
    queries: Sequence[str]
    k: int
    results: list[SearchResult] | None = None


@dataclass(slots=True)
class _Line:
    """The calls of one event loop that wait; whoever holds the lock answers them all."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[_Call] = field(default_factory=list)


class MergedCalls:
    """Puts the queries of concurrent calls into one call of `answer`, and the results back in place.

    `answer` is given queries and the largest `k` asked for. Its first `k` documents must not depend on
    how many more were asked for.
    """

    def __init__(self, answer: Callable[[Sequence[str], int], Awaitable[list[SearchResult]]]) -> None:
        self._answer = answer
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order, each with up to `k` documents and this call's latency."""
        started = time.perf_counter()
        line = self._lines.setdefault(asyncio.get_running_loop(), _Line())
        call = _Call(queries, k)
        line.waiting.append(call)
        try:
            async with line.lock:
                if call.results is None:
                    await self._lead(line)
        finally:
            if call in line.waiting:
                line.waiting.remove(call)
        latency = time.perf_counter() - started
        return [replace(result, latency_s=latency) for result in call.results or ()]

    async def _lead(self, line: _Line) -> None:
        calls, line.waiting = line.waiting, []
        try:
            every = [query for call in calls for query in call.queries]
            results = iter(await self._answer(every, max(call.k for call in calls)))
        except BaseException:
            # Whoever was cancelled or failed leaves; the next one in line leads for the rest.
            line.waiting = calls + line.waiting
            raise
        for call in calls:
            found = [next(results) for _ in call.queries]
            call.results = [replace(r, documents=r.documents[: max(call.k, 0)]) for r in found]
