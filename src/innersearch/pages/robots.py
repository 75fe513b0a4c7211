"""What a host lets programs read: its robots.txt, as RFC 9309 says.

A host without the file (HTTP 4xx) lets everything be read; one that cannot be asked for it, nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from innersearch.net.calls import CallError

AGENT = "innersearch"
"""The name under which rules are looked for."""
_KEPT_S = 3_600.0
_LOST_S = 60.0
_MOST_HOSTS = 10_000
LONGEST = 512_000
"""Bytes of a robots.txt that are read at most."""

Fetch = Callable[[httpx2.URL], Awaitable[tuple[int, bytes]]]
"""Status and body of an address; redirects are followed."""


class Robots:
    """The rules of hosts, asked for once an hour. `clock` tells seconds."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._rules: OrderedDict[str, tuple[float, asyncio.Task[tuple[Any, float]]]] = OrderedDict()

    async def allow(self, url: httpx2.URL) -> bool:
        """Whether a page may be read."""
        origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        begun, task = self._rules.get(origin, (0.0, None))
        if task is None or (task.done() and self._clock() - begun > _kept(task)):
            task = asyncio.create_task(self._read(url.copy_with(raw_path=b"/robots.txt")))
            self._rules[origin] = self._clock(), task
            while len(self._rules) > _MOST_HOSTS:
                self._rules.popitem(last=False)[1][1].cancel()
        # Others may wait for the same rules; none of them is cancelled with this one.
        rules, _ = await asyncio.shield(task)
        return rules is not None and rules.can_fetch(str(url), AGENT)

    async def _read(self, url: httpx2.URL) -> tuple[Any, float]:
        """The rules, None where nothing may be read, and how long that holds."""
        from protego import Protego

        try:
            status, body = await self._fetch(url)
        except (CallError, TimeoutError):
            return None, _LOST_S
        if status >= 500:
            return None, _LOST_S
        text = body.decode("utf-8", "replace") if status < 400 else ""
        return Protego.parse(text), _KEPT_S

    async def close(self) -> None:
        """Ask for no more rules."""
        tasks = [task for _, task in self._rules.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _kept(task: asyncio.Task[tuple[Any, float]]) -> float:
    return 0.0 if task.cancelled() or task.exception() else task.result()[1]
