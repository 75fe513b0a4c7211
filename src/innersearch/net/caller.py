"""What keeps a run going when calls fail: deadlines, retries, waiting for outages, and being slower.

A `Caller` gives every call a deadline, the last byte of the body included, retries with jittered
exponential back-off, limits the calls in flight and per second, and knows outages: after `open_after`
transient failures in a row nobody calls, and one probe at a time, with a call that waits, finds out
whether the server is back. Calls wait for that without any work, and failures of an outage do not count
against their tries, so an outage shorter than `max_outage_s` loses none. After a longer one all that
wait fail, and later calls get one try each until one succeeds. HTTP 500 is retried but is no outage: it
may be the request that breaks the server. A server that wants fewer calls gets fewer (see `pace`), and
what it turned away neither costs a try nor counts as a failure while others are answered.

A caller belongs to the event loop it is first used in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential, wait_random

from innersearch.net.calls import CallError, TransientError
from innersearch.net.outage import Outage
from innersearch.net.pace import Pace
from innersearch.net.patience import CallCounts, CallSettings

T = TypeVar("T")


class _Wait(wait_base):
    """Exponential with jitter, and never shorter than the server asked for."""

    def __init__(self, settings: CallSettings) -> None:
        self._doubling = wait_exponential(multiplier=settings.backoff_s, max=settings.backoff_max_s)
        self._jitter = wait_random(0, settings.backoff_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after_s if isinstance(error, TransientError) else 0.0
        return max(self._doubling(retry_state), asked) + self._jitter(retry_state)


class Caller:
    """Calls one server, or several that answer alike, for everybody who needs it."""

    def __init__(
        self, name: str, settings: CallSettings | None = None, *, place: str | None = None
    ) -> None:
        """`name` and `place` say in errors who is called, and at which address."""
        self.name, self.settings = name, settings or CallSettings()
        self.counts = CallCounts()
        self._place = f" at {place}" if place else ""
        self._pace = Pace(self.settings)
        self._outage = Outage(name, self.settings, self.counts)

    async def call(
        self, once: Callable[[], Awaitable[T]], failed: Callable[[CallError], None] | None = None
    ) -> T:
        """What `once` returns, called as often as it takes.

        Args:
            once: Makes one call.
            failed: Told of each call that failed.

        Raises:
            TransientError: It failed in all tries.
            PermanentError: It failed for good, or the server was down for too long.
        """
        # A fresh one each time: tenacity keeps the state of a retry in the object, per thread.
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.settings.tries),
            wait=_Wait(self.settings),
            retry=retry_if_exception_type(TransientError),
            before_sleep=self._count_retry,
            reraise=True,
        )
        try:
            return await retrying(self._try, once, failed or _nothing)
        except CallError as error:
            if isinstance(error, TransientError):
                error.args = (f"{error}, in {self.settings.tries} tries",)
            raise

    def _count_retry(self, state: RetryCallState) -> None:
        self.counts.retries += 1
        self.counts.waited_s += state.upcoming_sleep

    async def _try(self, once: Callable[[], Awaitable[T]], failed: Callable[[CallError], None]) -> T:
        """One try: a call, and as many as it takes while the server is down or wants fewer."""
        while True:
            answer = await self._paced(once, failed, probe=False)
            if answer is None and self._outage.open:
                async with self._outage.turn() as due:
                    if due:
                        answer = await self._paced(once, failed, probe=True)
            if answer is not None:
                return answer[0]

    async def _paced(
        self, once: Callable[[], Awaitable[T]], failed: Callable[[CallError], None], *, probe: bool
    ) -> tuple[T] | None:
        # An outage may have begun while this call waited for its place.
        began = await self._pace.enter((lambda: False) if probe else (lambda: self._outage.open))
        if began is None:
            return None
        try:
            return await self._call(once, failed, began, probe=probe)
        finally:
            self._pace.leave()

    async def _call(
        self,
        once: Callable[[], Awaitable[T]],
        failed: Callable[[CallError], None],
        began: float,
        *,
        probe: bool,
    ) -> tuple[T] | None:
        """The answer of one call, or None if an outage or a limit made it fail."""
        try:
            answer = await self._timed(once)
        except CallError as error:
            self.counts.failures[error.reason] += 1
            failed(error)
            if isinstance(error, TransientError) and error.limited:
                self._outage.demand_short(error)
                self._slow_down(error, began, probe=probe)
                return None
            if not isinstance(error, TransientError) or not error.down:
                if error.sent:
                    self._outage.answered()
                raise
            self._outage.demand_possible(error)
            self._outage.demand_short(error)
            if self._outage.failed(error, probe=probe):
                return None
            raise
        self._outage.answered()
        self._pace.answered()
        return (answer,)

    def _slow_down(self, error: TransientError, began: float, *, probe: bool) -> None:
        self.counts.refusals += 1
        # Refusals in a row, with no answer between them, are as good as an outage.
        if self._pace.refused(began, error.retry_after_s) or probe:
            self._outage.failed(error, probe=probe)

    async def _timed(self, once: Callable[[], Awaitable[T]]) -> T:
        self.counts.calls += 1
        limit = self.settings.deadline_s
        try:
            async with asyncio.timeout(limit):
                return await once()
        except TimeoutError:
            message = f"{self.name} did not answer within {limit:g} s{self._place}"
            raise TransientError(message, reason="timeout") from None


def _nothing(error: CallError) -> None:
    """Nobody keeps count of what failed calls cost."""
