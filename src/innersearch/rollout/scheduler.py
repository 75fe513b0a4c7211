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
    places = asyncio.Semaphore(AHEAD * limit)

    async def worker(entry: tuple[int, T] | None) -> None:
        while entry is not None:
            index, task = entry
            results[index] = await work(task)
            news.set()
            entry = await _next(source, places)

    async def crew() -> None:
        async with asyncio.TaskGroup() as group:
            # One worker per task, as long as there are some: idle ones would only cost memory.
            for _ in range(limit):
                entry = await _next(source, places)
                if entry is None:
                    return
                group.create_task(worker(entry))

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


async def _next(source: Iterator[tuple[int, T]], places: asyncio.Semaphore) -> tuple[int, T] | None:
    """The next task, once there is a place for it; None at the end.

    The place comes first: those who have one are always the next tasks in order, so that the result
    whose turn it is never waits for a place itself.
    """
    await places.acquire()
    entry = next(source, None)
    if entry is None:
        places.release()
    return entry


def _raise_first(supervisor: asyncio.Task[None]) -> None:
    try:
        supervisor.result()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def is_cancelled() -> bool:
    """Whether somebody wants the task that runs to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
