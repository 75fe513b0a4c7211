"""Who may call: everybody while a server is up, one probe at a time while it is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.patience import CallCounts, CallSettings

_log = logging.getLogger(__name__)


class Outage:
    """Counts failures in a row, and knows when they are too many."""

    def __init__(self, name: str, settings: CallSettings, counts: CallCounts) -> None:
        self._name, self._settings, self._counts = name, settings, counts
        self._failures = 0
        self._give_up_at = self._probe_at = self._wait_s = 0.0
        self._why = ""
        self._up = asyncio.Event()
        self._up.set()
        self._turn = asyncio.Lock()
        self.seen = False
        """Whether the server has ever answered anything."""

    @property
    def open(self) -> bool:
        """Whether there is an outage."""
        return not self._up.is_set()

    @property
    def longest_s(self) -> float:
        """How long the server is waited for."""
        longest = self._settings.max_outage_s
        return longest if self.seen else min(longest, self._settings.first_s)

    def answered(self) -> None:
        """The server is up."""
        self._failures = 0
        self.seen = True
        self._up.set()

    def failed(self, error: TransientError, *, probe: bool) -> bool:
        """Count a failure; whether it belongs to an outage.

        Raises:
            PermanentError: The outage has lasted too long.
        """
        now = asyncio.get_running_loop().time()
        self._failures += 1
        self._why = str(error)
        self.seen = self.seen or error.limited or error.reason.startswith("http")
        if not self.open:
            if self._failures < self._settings.open_after:
                return False
            self._begin(now)
        elif probe:
            self._wait_s = min(2 * self._wait_s, self._settings.probe_max_s)
        else:
            return True
        self._probe_at = now + max(self._wait_s, error.retry_after_s)
        if now >= self._give_up_at:
            raise self._lost()
        return True

    def _begin(self, now: float) -> None:
        self._up.clear()
        self._counts.outages += 1
        limit = self.longest_s
        _log.warning("%s; trying again, for up to %g seconds", self._why, limit)
        self._give_up_at = now + limit
        self._wait_s = self._settings.probe_s

    def _lost(self) -> PermanentError:
        limit = self.longest_s
        advice = "check it, then resume" if self.seen else "start it, or correct the address"
        message = f"{self._name} has been down for more than {limit:g} s ({self._why}): {advice}"
        if not limit:
            message = f"{self._why}: {advice}"
        return PermanentError(message, reason="outage", sent=False)

    def demand_short(self, error: TransientError) -> None:
        """Refuse a wait that is longer than any outage may be.

        Raises:
            PermanentError: It is.
        """
        limit = self._settings.max_outage_s
        if error.retry_after_s > limit:
            raise PermanentError(
                f"{error}; that is too long to wait", reason=error.reason, refused=error.refused
            ) from None

    def demand_possible(self, error: CallError) -> None:
        """Refuse to try again what speaks of a wrong address, unless the server has answered before.

        Raises:
            PermanentError: It does.
        """
        if isinstance(error, TransientError) and error.setup and not self.seen:
            raise PermanentError(str(error), reason=error.reason, sent=error.sent) from None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Wait until the outage ends or it is time to probe; whether there is still an outage.

        Raises:
            PermanentError: The outage has lasted too long.
        """
        started = perf_counter()
        try:
            async with asyncio.timeout_at(self._give_up_at):
                await self._turn.acquire()
        except TimeoutError:
            raise self._lost() from None
        finally:
            self._counts.waited_s += perf_counter() - started
        try:
            await self._until_due()
            yield self.open
        finally:
            self._turn.release()

    async def _until_due(self) -> None:
        """Sleep until the next probe is due, or until a call that was already under way succeeds."""
        started = perf_counter()
        due = min(self._probe_at, self._give_up_at)
        try:
            if self.open and due > asyncio.get_running_loop().time():
                async with asyncio.timeout_at(due):
                    await self._up.wait()
        except TimeoutError:
            pass
        finally:
            self._counts.waited_s += perf_counter() - started
