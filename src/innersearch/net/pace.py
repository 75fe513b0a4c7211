"""How many calls are under way, and how fast they begin: as many as allowed, and as the server takes.

A server that turns calls away for coming too often is up, so those calls are not failures but a sign to
be slower: the calls at once are halved (and grow again by one per round of answers), and their begins
are spread over time by what was answered lately. Refusals of calls that began before the last cut say
nothing new. Spreading shrinks by a twentieth with each answer, so that a limit is felt for again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from innersearch.net.patience import CallSettings

_WINDOW_S = 10.0
"""How far back answers are counted."""
_SLOWER, _FASTER = 0.85, 0.95


class Pace:
    """The door through which calls go out, first come, first served."""

    def __init__(self, settings: CallSettings) -> None:
        self._settings = settings
        self._floor_s = 1 / settings.per_second if settings.per_second else 0.0
        self._gap_s = self._floor_s
        self._at_once = float(settings.in_flight)
        self._under_way = 0
        self._next_at = self._cut_at = float("-inf")
        self._answers: deque[float] = deque(maxlen=10_000)
        self._silent_cuts = 0
        self._door = asyncio.Lock()
        self._room = asyncio.Event()

    async def enter(self, closed: Callable[[], bool]) -> float | None:
        """Wait for a place; when the call begins, or None if the door was `closed` meanwhile.

        Whoever got a place gives it back by `leave`.
        """
        async with self._door:
            while not closed():
                now = asyncio.get_running_loop().time()
                if self._under_way >= int(self._at_once):
                    self._room.clear()
                    await self._room.wait()
                elif self._next_at > now:
                    await asyncio.sleep(self._next_at - now)
                else:
                    self._under_way += 1
                    self._next_at = now + self._gap_s
                    return now
        return None

    def leave(self) -> None:
        """Make room for the next call."""
        self._under_way -= 1
        self._room.set()

    def answered(self) -> None:
        """A call was answered."""
        self._answers.append(asyncio.get_running_loop().time())
        self._silent_cuts = 0
        self._at_once = min(self._settings.in_flight, self._at_once + 1 / self._at_once)
        self._gap_s = max(self._floor_s, _FASTER * self._gap_s)

    def refused(self, began: float, asked_s: float) -> bool:
        """A call was turned away; whether that says anything new.

        Args:
            began: When the call began.
            asked_s: How long the server asked to wait.
        """
        now = asyncio.get_running_loop().time()
        fresh = began > self._cut_at
        if fresh:
            self._cut_at = now
            self._at_once = max(1.0, self._at_once / 2)
            self._gap_s = self._slower(now)
            self._silent_cuts += 1
        self._next_at = max(self._next_at, now + max(asked_s, self._gap_s))
        return fresh

    def _slower(self, now: float) -> float:
        """Seconds between begins, from what was answered lately; doubled while nothing is."""
        lately = [at for at in self._answers if at > now - _WINDOW_S]
        settings, gap = self._settings, self._gap_s
        if self._silent_cuts:
            gap = max(2 * gap, settings.backoff_s)
        if lately:
            gap = max(gap, max(now - lately[0], 1.0) / len(lately) / _SLOWER)
        return max(self._floor_s, min(gap or settings.backoff_s, settings.backoff_max_s))
