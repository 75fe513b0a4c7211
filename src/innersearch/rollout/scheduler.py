"""The scheduler: many coroutines in flight, bounded, with their results in order.

Nothing waits for a turn of anybody else: a coroutine that finished is replaced by the next task at
once, and while one waits for a search the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 4
"""Results begun and not yet handed over, per task at work."""


async def in_order(
    tasks: Iterable[T], work: Callable[[T], Awaitable[R]], limit: int
) -> AsyncGenerator[R]:
    """Yield `work(task)` of all tasks in their order, with at most `limit` at work at once.

    Tasks are taken from the iterable as places become free. What finished early is held back until its
    turn; none is begun that is further ahead of the next result than `AHEAD` times the limit, so that
    neither one slow task nor a slow consumer fills the memory. The first exception of any task ends the
    others and is raised; closing the iterator early cancels what is in flight and waits until it has
    ended.
    """
    source = enumerate(tasks)
    results: dict[int, R] = {}
    news = asyncio.Event()
    # First come, first served: the tasks with a place are always the next ones in order.
    places = asyncio.Semaphore(AHEAD * limit)

    async def worker(entries: Iterator[tuple[int, T]]) -> None:
        for index, task in entries:
            await places.acquire()
            results[index] = await work(task)
            news.set()

    async def crew() -> None:
        async with asyncio.TaskGroup() as group:
            # One worker per task, as long as there are some: idle ones would only cost memory.
            for _ in range(limit):
                entry = next(source, None)
                if entry is None:
                    return
                group.create_task(worker(_then(entry, source)))

    supervisor = asyncio.create_task(crew())
    supervisor.add_done_callback(lambda _: news.set())
    try:
        turn = 0
        while True:
            while turn in results:
                yield results.pop(turn)
                turn += 1
                places.release()
            if supervisor.done():
                _raise_first(supervisor)
                return
            news.clear()
            await news.wait()
    finally:
        supervisor.cancel()
        # Nobody is left at work when the iterator is closed.
        await asyncio.wait([supervisor])


def _then(first: tuple[int, T], rest: Iterator[tuple[int, T]]) -> Iterator[tuple[int, T]]:
    yield first
    yield from rest


def _raise_first(supervisor: asyncio.Task[None]) -> None:
    try:
        supervisor.result()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
