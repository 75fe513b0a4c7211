"""How many calls are under way, and how fast they begin: as many as allowed, and as the server takes.

A server that turns calls away for coming too often is up, so those calls are not failures but a sign to
be slower: nobody calls for a moment, the calls at once are halved (and grow again by one per round of
answers), and their begins are spread over time, at first by what was answered lately, then ever more.
Refusals of calls that began before the last cut say nothing new. The spreading shrinks again, quickly
where it is far from what was refused and by a twentieth per second near it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from innersearch.net.patience import CallSettings

_WINDOW_S = 10.0
"""How far back answers are counted."""
_SLOWER, _FASTER = 0.85, 0.95
_NEAR = 1.3
"""Times the spreading that was refused."""


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
        self._refused_gap_s = 0.0
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
        now = asyncio.get_running_loop().time()
        near = self._gap_s < _NEAR * self._refused_gap_s
        passed_s = min(1.0, now - self._answers[-1]) if near and self._answers else 1.0
        self._answers.append(now)
        self._silent_cuts = 0
        self._at_once = min(self._settings.in_flight, self._at_once + 1 / self._at_once)
        self._gap_s = max(self._floor_s, _FASTER**passed_s * self._gap_s)

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
            self._slow_down(now)
        self._next_at = max(self._next_at, now + max(asked_s, self._pause_s()))
        return fresh

    def _slow_down(self, now: float) -> None:
        """Spread the begins further: by what was answered lately, or by more than before."""
        lately = [at for at in self._answers if at > now - _WINDOW_S]
        if self._gap_s > self._floor_s:
            gap = self._gap_s
        else:
            spread = max(now - lately[0], 1.0) / len(lately) if lately else self._settings.backoff_s
            gap = max(self._floor_s, spread)
        self._refused_gap_s = gap
        self._gap_s = max(self._floor_s, min(gap / _SLOWER, self._settings.backoff_max_s))
        self._silent_cuts += 1

    def _pause_s(self) -> float:
        """How long nobody calls: doubled for each refusal since the last answer."""
        doubled = self._settings.backoff_s * 2.0 ** min(self._silent_cuts - 1, 30)
        return max(self._gap_s, min(doubled, self._settings.backoff_max_s))
