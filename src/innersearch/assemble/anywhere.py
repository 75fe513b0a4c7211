"""Work that runs an event loop of its own, done wherever it is asked for: in a script, and in a notebook
or an async function, where one is running already.

There a thread of its own does the work, and whoever asked waits for it. Interrupting the cell interrupts
the work; of a stream it ends with the item that is under way.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_WAIT_S = 0.5


def anywhere(work: Callable[P, T]) -> Callable[P, T]:
    """The same function, in another thread where an event loop is running in this one.

    >>> async def inside():
    ...     return anywhere(lambda: asyncio.run(asyncio.sleep(0, "done")))()
    >>> asyncio.run(inside())
    'done'
    """

    @functools.wraps(work)
    def does(*args: P.args, **given: P.kwargs) -> T:
        if not _loop_runs():
            return work(*args, **given)
        with _Thread() as thread:
            try:
                return thread.do(lambda: work(*args, **given))
            except KeyboardInterrupt:
                thread.interrupt()
                raise

    return does


def streams_anywhere(work: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """The same generator function, in another thread where an event loop is running in this one."""

    @functools.wraps(work)
    def streams(*args: P.args, **given: P.kwargs) -> Iterator[T]:
        if not _loop_runs():
            yield from work(*args, **given)
            return
        with _Thread() as thread:
            stream = thread.do(lambda: iter(work(*args, **given)))
            try:
                while found := thread.do(lambda: list(islice(stream, 1))):
                    yield from found
            finally:
                thread.do(lambda: _close(stream))

    return streams


def _close(stream: Iterator[T]) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()


def _loop_runs() -> bool:
    with suppress(RuntimeError):
        return asyncio.get_running_loop() is not None
    return False


class _Thread:
    """One thread, in which everything is done while this one waits."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "innersearch")
        self._id = self._pool.submit(threading.get_ident).result()

    def do(self, work: Callable[[], T]) -> T:
        """What it returns."""
        asked = self._pool.submit(contextvars.copy_context().run, work)
        # An interrupt that comes just before a wait begins is seen only after it: so none is long.
        while not wait([asked], _LONGEST_WAIT_S).done:
            pass
        return asked.result()

    def interrupt(self) -> None:
        """Interrupt the work where it stands, as Ctrl-C interrupts it in a script."""
        raised = ctypes.py_object(KeyboardInterrupt)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._id), raised)

    def __enter__(self) -> _Thread:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
