"""Work with an event loop of its own, where one is running: its order, its errors, its end."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from innersearch.assemble.anywhere import anywhere, streams_anywhere

ENDED: list[str] = []


@streams_anywhere
def counted(most: int) -> Iterator[tuple[int, str]]:
    """Runs a loop for each number, as rollouts do."""
    try:
        with asyncio.Runner() as runner:
            for number in range(most):
                yield runner.run(asyncio.sleep(0, number)), threading.current_thread().name
    finally:
        ENDED.append(threading.current_thread().name)


def inside(work: Callable[[], object]) -> object:
    async def runs() -> object:
        return work()

    return asyncio.run(runs())


def test_a_stream_is_the_same_inside_of_a_loop() -> None:
    here = threading.current_thread().name
    assert list(counted(3)) == [(0, here), (1, here), (2, here)]
    there = inside(lambda: list(counted(3)))
    assert [number for number, _ in there] == [0, 1, 2]  # type: ignore[attr-defined]
    assert len({name for _, name in there} - {here}) == 1  # type: ignore[attr-defined]


def test_a_stream_that_nobody_reads_on_is_closed_where_it_ran() -> None:
    ENDED.clear()

    def first() -> str:
        stream = counted(3)
        _, name = next(stream)
        stream.close()  # type: ignore[attr-defined]
        return name

    assert [inside(first)] == ENDED


def test_an_error_is_the_one_that_was_raised() -> None:
    @anywhere
    def fails() -> None:
        asyncio.run(asyncio.sleep(0))
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        inside(fails)


def test_an_interrupt_ends_the_work() -> None:
    said: list[str] = []

    @anywhere
    def waits() -> None:
        signal.pthread_kill(MAIN.ident or 0, signal.SIGINT)
        try:
            for _ in range(20_000):
                time.sleep(0.001)
        except KeyboardInterrupt:
            said.append("interrupted")
            raise

    with pytest.raises(KeyboardInterrupt):
        asyncio.Runner().run(_calls(waits))
    assert said == ["interrupted"]


MAIN = threading.main_thread()


async def _calls(work: Callable[[], object]) -> object:
    # As a notebook's kernel: nobody takes signals over.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return work()
