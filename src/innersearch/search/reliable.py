"""What keeps a run going when calls fail: retries, deadlines, and waiting for the end of an outage.

An engine without `ask` (see `calls`) is wrapped as it is: its failed results are final, and only an
`OSError` or a missed deadline is tried again.

`Reliable` gives every call a deadline, the last byte of the body included, retries with jittered
exponential back-off, limits the calls in flight and knows outages: after `open_after` transient
failures in a row nobody calls, and one probe at a time, with a search that waits, finds out whether
the engine is back. Searches wait for that without any work, and failures of an outage do not count
against their tries, so an outage shorter than `max_outage_s` loses none. After a longer one all that
wait fail, and later searches get one try each until one succeeds. HTTP 500 is retried but is no
outage: it may be the query that breaks the server.

An engine belongs to the event loop it is first used in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential, wait_random

from innersearch.errors import ConfigError
from innersearch.search.base import Engine, SearchResult
from innersearch.search.calls import (
    CallError,
    CallingEngine,
    PermanentError,
    TransientError,
    failed,
    parts,
)
from innersearch.types import Source

_log = logging.getLogger(__name__)


class _Plain:
    """An engine without `ask`, asked through `search`."""

    price_usd: float = 0.0
    batch: int | None = None

    def __init__(self, engine: Engine) -> None:
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = engine.identity
        self._engine = engine

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return await self._engine.search(queries, k)

    async def close(self) -> None:
        await self._engine.close()

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        try:
            return await self.search(queries, k)
        except OSError as error:
            raise TransientError(f"{self.name} failed: {error}") from error


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How patiently an engine is called. Times are seconds.

    Raises:
        ConfigError: A number is not positive, or tries are fewer than failures make an outage.
    """

    deadline_s: float = 30.0
    """Longest call, from its start to the last byte of the answer."""
    tries: int = 5
    """Calls made for a search while the engine is up."""
    backoff_s: float = 0.5
    """First wait between tries; doubles each time, plus at random up to the first wait again."""
    backoff_max_s: float = 30.0
    """Longest wait between tries, jitter apart, unless the engine asks for a longer one."""
    in_flight: int = 32
    """Calls under way at once."""
    open_after: int = 5
    """Transient failures in a row, over all searches, that make an outage."""
    probe_s: float = 1.0
    """Wait before the first probe; doubles after each failed one."""
    probe_max_s: float = 15.0
    """Longest wait between probes."""
    max_outage_s: float = 600.0
    """Outage after which waiting searches fail."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.tries < self.open_after:
            raise ConfigError(
                f"tries {self.tries} is below open_after {self.open_after}: a search alone would give "
                "up before an outage is noticed; raise tries or lower open_after"
            )


@dataclass(slots=True)
class CallCounts:
    """What calling took so far, for the record of a run."""

    searches: int = 0
    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Failed calls by reason."""
    lost: int = 0
    """Searches that failed in the end."""
    retries: int = 0
    outages: int = 0
    waited_s: float = 0.0
    """Seconds spent between calls, summed over the searches that waited."""


class _Wait(wait_base):
    """Exponential with jitter, and never shorter than the engine asked for."""

    def __init__(self, settings: CallSettings) -> None:
        self._doubling = wait_exponential(multiplier=settings.backoff_s, max=settings.backoff_max_s)
        self._jitter = wait_random(0, settings.backoff_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after_s if isinstance(error, TransientError) else 0.0
        return max(self._doubling(retry_state), asked) + self._jitter(retry_state)


class _Breaker:
    """Who may call: everybody while the engine is up, one probe at a time while it is down."""

    def __init__(self, name: str, settings: CallSettings, counts: CallCounts) -> None:
        self._name, self._settings, self._counts = name, settings, counts
        self._failures = 0
        self._give_up_at = self._probe_at = self._wait_s = 0.0
        self._up = asyncio.Event()
        self._up.set()
        self._turn = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether there is an outage."""
        return not self._up.is_set()

    def answered(self) -> None:
        """The engine is up."""
        self._failures = 0
        self._up.set()

    def failed(self, retry_after_s: float, *, probe: bool) -> bool:
        """Count a failure; whether it belongs to an outage.

        Raises:
            PermanentError: The outage has lasted too long.
        """
        now = asyncio.get_running_loop().time()
        self._failures += 1
        if not self.open:
            if self._failures < self._settings.open_after:
                return False
            self._up.clear()
            self._counts.outages += 1
            limit = self._settings.max_outage_s
            _log.warning("%s does not answer: waiting for it, up to %g seconds", self._name, limit)
            self._give_up_at = now + self._settings.max_outage_s
            self._wait_s = self._settings.probe_s
        elif probe:
            self._wait_s = min(2 * self._wait_s, self._settings.probe_max_s)
        else:
            return True
        self._probe_at = now + max(self._wait_s, retry_after_s)
        if now >= self._give_up_at:
            raise self._lost()
        return True

    def _lost(self) -> PermanentError:
        limit = self._settings.max_outage_s
        message = f"{self._name} has been down for more than {limit:g} s: check it, then resume"
        return PermanentError(message, reason="outage", sent=False)

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


class Reliable:
    """An engine whose calls have deadlines, retries, a limit in flight and patience with outages.

    `search` raises nothing for a call that failed: the last reason stands in the result, with the
    seconds of all tries and waiting, and with the price of every request that may have arrived.
    """

    def __init__(self, engine: Engine, settings: CallSettings | None = None) -> None:
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = engine.identity
        self.settings = settings or CallSettings()
        self.counts = CallCounts()
        self._engine: CallingEngine = engine if isinstance(engine, CallingEngine) else _Plain(engine)
        self._slots = asyncio.Semaphore(self.settings.in_flight)
        self._breaker = _Breaker(self.name, self.settings, self.counts)

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order."""
        self.counts.searches += len(queries)
        calls = parts(queries, self._engine.batch)
        answered = await asyncio.gather(*(self._answer(part, k) for part in calls))
        return [result for results in answered for result in results]

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()

    async def _answer(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        started = perf_counter()
        wasted: list[float] = []
        # A fresh one each time: tenacity keeps the state of a retry in the object, per thread.
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.settings.tries),
            wait=_Wait(self.settings),
            retry=retry_if_exception_type(TransientError),
            before_sleep=self._count_retry,
            reraise=True,
        )
        try:
            results: list[SearchResult] = await retrying(self._try, queries, k, wasted)
        except CallError as error:
            self.counts.lost += len(queries)
            tries = f", in {self.settings.tries} tries" if isinstance(error, TransientError) else ""
            return failed(queries, f"{error}{tries}", perf_counter() - started, sum(wasted))
        latency = perf_counter() - started
        return [
            replace(result, latency_s=latency, cost_usd=result.cost_usd + (0.0 if i else sum(wasted)))
            for i, result in enumerate(results)
        ]

    def _count_retry(self, state: RetryCallState) -> None:
        self.counts.retries += 1
        self.counts.waited_s += state.upcoming_sleep

    async def _try(self, queries: Sequence[str], k: int, wasted: list[float]) -> list[SearchResult]:
        """One try: a call, and during an outage as many as it takes to find its end."""
        while True:
            results: list[SearchResult] | None = None
            async with self._slots:
                # An outage may have begun while this search waited for its place.
                if not self._breaker.open:
                    results = await self._call(queries, k, wasted, probe=False)
            if results is None and self._breaker.open:
                async with self._breaker.turn() as due:
                    if due:
                        async with self._slots:
                            results = await self._call(queries, k, wasted, probe=True)
            if results is not None:
                return results

    async def _call(
        self, queries: Sequence[str], k: int, wasted: list[float], *, probe: bool
    ) -> list[SearchResult] | None:
        """The results of one call, or None if an outage made it fail."""
        try:
            results = await self._timed(queries, k)
        except CallError as error:
            self.counts.failures[error.reason] += 1
            wasted.append(self._engine.price_usd if error.sent else 0.0)
            if not isinstance(error, TransientError) or not error.down:
                if error.sent:
                    self._breaker.answered()
                raise
            if error.retry_after_s > self.settings.max_outage_s:
                raise PermanentError(
                    f"{error}; that is too long to wait", reason=error.reason
                ) from error
            if self._breaker.failed(error.retry_after_s, probe=probe):
                return None
            raise
        self._breaker.answered()
        return results

    async def _timed(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.counts.calls += 1
        try:
            async with asyncio.timeout(self.settings.deadline_s):
                return await self._engine.ask(queries, k)
        except TimeoutError:
            message = f"{self.name} did not answer within {self.settings.deadline_s:g} s"
            raise TransientError(message, reason="timeout") from None


def as_record(counts: CallCounts) -> dict[str, Any]:
    """The counts as JSON can hold them."""
    return {name: getattr(counts, name) for name in CallCounts.__slots__} | {
        "failures": dict(sorted(counts.failures.items()))
    }
