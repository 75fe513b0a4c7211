"""An event loop whose clock stands still while anybody works, and jumps when all are asleep.

A sleep or a deadline of an hour takes no time, and one of a millisecond is never missed because the
machine was busy: time passes only when every coroutine waits for time. Work in threads counts as work,
and so does input that is ready to be read. What waits for another process or for a server must not be
tested on this clock: nothing in it knows that an answer is on its way. `WireLoop` is for servers of the
test itself.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Waits for input as long as threads work, and passes time otherwise."""

    working = 0
    """Calls under way in threads."""
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.working:
            return super().select(None)
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._virtual.working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: asyncio.Future[Any]) -> None:
        self._virtual.working -= 1


class _Wire(selectors.DefaultSelector):
    """Passes time only when nobody waits for a server: a socket that is read from is work under way."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        # One is how the loop itself is woken.
        if timeout is None or len(self.get_map()) > 1:
            return super().select(None if timeout is None else 5.0)
        self.now += timeout
        return []


class WireLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps while nothing is on its way to or from a local server."""

    def __init__(self) -> None:
        self.wire = _Wire()
        super().__init__(self.wire)

    def time(self) -> float:
        return self.wire.now
