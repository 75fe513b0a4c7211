"""What a run may spend on calls, and what it is going to.

`Budget` is asked before each call and told what came of it. `Budgeted(engine, budget)` does that for
an engine that makes calls, and belongs inside `Reliable`, so that every retry takes from the budget too:
`Reliable(Budgeted(WebEngine("serper"), budget))`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from innersearch.errors import ConfigError, SearchError
from innersearch.locks import in_turn
from innersearch.net.calls import CallError, PermanentError
from innersearch.records import write_json
from innersearch.search.base import SearchResult, used_up
from innersearch.search.remote.calls import CallingEngine, once
from innersearch.stored import read_json
from innersearch.types import Source

# Money is counted in whole billionths of a dollar: a thousand times $0.001 is exactly $1.
_NANO = 1_000_000_000
_AHEAD = 100
_ABSURD_USD = 1e6
_MOST = 1e15


@dataclass(frozen=True, slots=True)
class Spent:
    """What was taken from a budget."""

    calls: int
    usd: float


class Budget:
    """A number of calls and a sum of money that are never exceeded, by tasks and threads of one process,
    nor by several processes that count on one file.

    A call takes its list price before it is made. What it then turns out to have cost replaces that: a
    request that never left or was turned away costs nothing, and one that was broken off stays paid. An
    API that charges more than its list price can take the sum over the limit by the difference of the
    calls under way.

    Args:
        calls: Most calls; None for any number.
        usd: Most US dollars; None for any sum.
        path: JSON file to count on in; made if it is missing. It runs ahead of what is spent by up to a
            hundredth of the limits (100 calls and $0.10 where there are none), so that after a kill a
            resumed run never counts too little, and that far each process may spend before it looks what
            the others spent. `save` writes the exact figures.

    Raises:
        ConfigError: A limit is negative or not a number.
        SearchError: The file is no budget.
    """

    def __init__(
        self, calls: int | None = None, usd: float | None = None, *, path: Path | None = None
    ) -> None:
        for name, limit in (("calls", calls), ("usd", usd)):
            if limit is not None and not 0 <= limit <= _MOST:
                raise ConfigError(f"a budget of {limit} {name} is impossible: give 0 or more")
        self.calls, self.usd = calls, usd
        self._path = path
        self._limit_nano = None if usd is None else _nano(usd)
        self._lock = threading.Lock()
        self._calls, self._nano = _read(path) if path is not None and path.exists() else (0, 0)
        self._written = (self._calls, self._nano)

    @property
    def spent(self) -> Spent:
        """What was taken so far, calls under way included."""
        with self._lock:
            return Spent(self._calls, self._nano / _NANO)

    def reserve(self, usd: float = 0.0) -> None:
        """Take one call of that price.

        Raises:
            PermanentError: That is more than is left; then nothing is taken.
        """
        nano = _nano(usd)
        with self._lock, self._counting(1, nano):
            if self.calls is not None and self._calls + 1 > self.calls:
                raise _used_up(f"{self.calls:,} calls")
            if self._limit_nano is not None and self._nano + nano > self._limit_nano:
                raise _used_up(f"${self.usd:,.2f}")
            self._calls += 1
            self._nano += nano

    def settle(self, reserved_usd: float, paid_usd: float, *, sent: bool = True) -> None:
        """Replace the price taken before a call by what it cost; one not `sent` is given back.

        A price that is none, or over $1,000,000, is an error of the API: the list price stands.
        """
        nano = _nano(paid_usd, instead=reserved_usd) - _nano(reserved_usd)
        with self._lock, self._counting(0, nano):
            self._nano += nano
            self._calls -= 0 if sent else 1

    def save(self) -> None:
        """Write the exact figures, if there is a file."""
        with self._lock, self._shared():
            self._write(self._calls, self._nano)

    @contextmanager
    def _counting(self, calls: int, nano: int) -> Iterator[None]:
        """Around taking so much: where the file does not hold it yet, it is read before and written."""
        known = self._calls + calls <= self._written[0] and self._nano + nano <= self._written[1]
        if self._path is None or known:
            yield
            return
        with self._shared():
            yield
            self._write_ahead()

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Be the only process that counts on the file, with what others counted since the last look."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with in_turn(self._path.parent):
            if self._path.exists():
                calls, nano = _read(self._path)
                self._calls += calls - self._written[0]
                self._nano += nano - self._written[1]
                self._written = (calls, nano)
            yield

    def _write_ahead(self) -> None:
        calls = self._calls + (_AHEAD if self.calls is None else self.calls // 100)
        limit = self._limit_nano
        nano = self._nano + (_NANO // 10 if limit is None else limit // 100)
        self._write(
            calls if self.calls is None else max(self._calls, min(calls, self.calls)),
            nano if limit is None else max(self._nano, min(nano, limit)),
        )

    def _write(self, calls: int, nano: int) -> None:
        if self._path is not None:
            write_json(self._path, {"calls": calls, "usd": nano / _NANO})
            self._written = (calls, nano)


def _nano(usd: float, *, instead: float | None = None) -> int:
    """Billionths of a dollar."""
    if instead is not None and not 0 <= usd <= _ABSURD_USD:
        usd = instead
    return round(usd * _NANO)


def _used_up(limit: str) -> PermanentError:
    return PermanentError(used_up(limit), reason="budget", sent=False)


def _read(path: Path) -> tuple[int, int]:
    try:
        state = read_json(path)
        calls, nano = int(state["calls"]), round(float(state["usd"]) * _NANO)
    except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise SearchError(
            f"{path} holds no budget ({type(error).__name__}): correct its calls and usd, or move it "
            "away to count from zero"
        ) from error
    if calls < 0 or nano < 0:
        raise SearchError(
            f"{path} holds a negative budget: correct it, or move it away to count from zero"
        )
    return calls, nano


class Budgeted:
    """An engine that takes every call from a budget; a call over the budget fails and is not made.

    Raises:
        SearchError: The engine does not make calls itself, for example because it is `Reliable` already:
            its retries would escape the budget.
    """

    def __init__(self, engine: CallingEngine, budget: Budget) -> None:
        if not isinstance(engine, CallingEngine):
            raise SearchError(
                f"{type(engine).__name__} makes no calls of its own: put the budget inside, as in "
                "Reliable(Budgeted(engine, budget))"
            )
        self.name: str = engine.name
        self.source: Source = engine.source
        self.identity: Mapping[str, str | int | float | bool | None] = engine.identity
        self.price_usd: float = engine.price_usd
        self.batch: int | None = engine.batch
        self.budget = budget
        self._engine = engine

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order, without retries."""
        return await once(self, queries, k)

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One call, if the budget allows it.

        Raises:
            TransientError: The call failed, and another try may succeed.
            PermanentError: The budget is used up, or the call failed and would again.
        """
        self.budget.reserve(self.price_usd)
        try:
            results = await self._engine.ask(queries, k)
        except CallError as error:
            if not error.paid:
                self.budget.settle(self.price_usd, 0.0, sent=False)
            raise
        self.budget.settle(self.price_usd, sum(result.cost_usd for result in results))
        return results

    async def close(self) -> None:
        """Close the engine and save the budget."""
        await self._engine.close()
        self.budget.save()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run is going to spend if every search takes one call."""

    calls: int
    usd: float
    seconds: float | None
    """How long the calls take; None without a rate."""

    def __str__(self) -> str:
        time = "" if self.seconds is None else f", {self.seconds / 3600:,.1f} h"
        return f"{self.calls:,} calls, ${self.usd:,.2f}{time}"


def forecast(price_usd: float, searches: int, *, per_second: float | None = None) -> Forecast:
    """What `searches` cost at `price_usd` for each, answered at `per_second` altogether.

    >>> print(forecast(0.001, 64_000, per_second=1.5))
    64,000 calls, $64.00, 11.9 h
    """
    seconds = None if per_second is None else searches / per_second
    return Forecast(searches, searches * price_usd, seconds)
