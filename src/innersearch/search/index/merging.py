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
    results: asyncio.Future[list[SearchResult]]


@dataclass(slots=True)
class _Line:
    """The calls of one event loop that wait, and the task that answers them."""

    waiting: list[_Call] = field(default_factory=list)
    answering: asyncio.Task[None] | None = None


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
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault(loop, _Line())
        call = _Call(queries, k, loop.create_future())
        line.waiting.append(call)
        if line.answering is None or line.answering.done():
            line.answering = asyncio.create_task(self._answer_all(line))
        results = await call.results
        latency = time.perf_counter() - started
        return [replace(result, latency_s=latency) for result in results]

    async def _answer_all(self, line: _Line) -> None:
        while line.waiting:
            # Whoever was cancelled has left.
            calls = [call for call in line.waiting if not call.results.done()]
            line.waiting = []
            if not calls:
                return
            try:
                await self._answer_together(calls)
            except Exception as error:
                for call in calls:
                    if not call.results.done():
                        call.results.set_exception(error)

    async def _answer_together(self, calls: Sequence[_Call]) -> None:
        """Answer in one batch. All who asked go on at once: were they let go one after the other, each
        would wait for a turn of the event loop, in which a policy in this process computes a token.
        """
        every = [query for call in calls for query in call.queries]
        found = iter(await self._answer(every, max(call.k for call in calls)))
        for call in calls:
            results = [next(found) for _ in call.queries]
            if not call.results.done():
                limit = max(call.k, 0)
                call.results.set_result([replace(r, documents=r.documents[:limit]) for r in results])
