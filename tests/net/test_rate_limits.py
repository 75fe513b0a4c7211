"""APIs that allow so many calls a second, on the wire and on a clock of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from innersearch.config import SearchSettings
from innersearch.net.calls import TransientError
from innersearch.net.patience import CallSettings
from innersearch.search.base import SearchResult
from innersearch.search.curriculum import Curriculum
from innersearch.search.kinds import Opening
from innersearch.search.remote.dialects import SERPER
from innersearch.search.remote.web import WebEngine
from innersearch.search.wrappers.budget import Budget, Budgeted, Spent
from innersearch.search.wrappers.reliable import Reliable
from tests.search.test_reliable import Index
from tests.search_servers import KEY, Answer, Asked, LocalServer, api
from tests.virtual_time import VirtualLoop, WireLoop

T = TypeVar("T")


def run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(coroutine)


class Window:
    """Lets so many calls through in each second of a clock."""

    def __init__(self, clock: Callable[[], float], per_second: int, refusal: Answer) -> None:
        self._clock, self._per_second, self._refusal = clock, per_second, refusal
        self._lock = threading.Lock()
        self.taken: dict[int, int] = {}
        self.refused = 0

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            second = int(self._clock())
            if self.taken.get(second, 0) >= self._per_second:
                self.refused += 1
                return self._refusal
            self.taken[second] = self.taken.get(second, 0) + 1
        return api("serper")(asked)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", KEY)


def searched(
    per_second: int,
    refusal: Answer,
    searches: int,
    settings: CallSettings | None = None,
    limited: Callable[[int, str], bool] | None = None,
) -> tuple[list[SearchResult], Spent, Reliable, Window, float]:
    """Many searches at once against a limited API."""
    loop, budget = WireLoop(), Budget(calls=searches, usd=1)
    window = Window(loop.time, per_second, refusal)
    dialect = replace(SERPER, limited=limited) if limited else SERPER

    async def search() -> tuple[list[SearchResult], Reliable]:
        engine = Reliable(Budgeted(WebEngine(dialect, base_url=server.url), budget), settings)
        try:
            return await engine.search([f"q{n}" for n in range(searches)], 3), engine
        finally:
            await engine.close()

    with LocalServer(window) as server:
        results, engine = run(loop, search())
    return results, budget.spent, engine, window, loop.time()


@pytest.mark.parametrize(
    ("refusal", "limited"),
    [
        (Answer({}, 429), None),
        (Answer(b"slow down", 429, {"Retry-After": "1"}), None),
        (Answer({}, 429, {"X-RateLimit-Remaining": "0, 900", "X-RateLimit-Reset": "1, 1419704"}), None),
        (Answer({"error": "rate limit"}, 403), lambda status, text: "rate limit" in text),
        (Answer({"message": "Too many requests"}, 200), lambda status, text: "Too many" in text),
        (Answer(b"busy: QPS exceeded", 503), lambda status, text: "QPS" in text),
    ],
    ids=["bare", "retry-after", "brave", "403", "200", "503"],
)
def test_an_api_that_allows_one_call_a_second_answers_all_and_is_paid_for_answers(
    refusal: Answer, limited: Callable[[int, str], bool] | None
) -> None:
    """60 searches at once."""
    results, spent, engine, window, _ = searched(1, refusal, 60, limited=limited)
    assert [result.error for result in results] == [None] * 60
    assert spent == Spent(60, 0.06)
    assert sum(result.cost_usd for result in results) == pytest.approx(0.06)
    assert engine.counts.lost == engine.counts.retries == engine.counts.outages == 0
    assert engine.counts.refusals == window.refused < 120


def test_what_the_api_allows_is_used() -> None:
    results, _, engine, window, seconds = searched(20, Answer({}, 429), 400)
    assert not [result for result in results if result.error]
    # Twenty seconds is the least there is.
    assert seconds < 60
    assert window.refused < 200
    assert engine.counts.lost == 0


def test_calls_per_second_are_a_setting() -> None:
    results, _, _, window, seconds = searched(5, Answer({}, 429), 40, CallSettings(per_second=4.0))
    assert not [result for result in results if result.error]
    assert window.refused == 0
    assert max(window.taken.values()) <= 5
    assert 39 / 4 <= seconds < 12


def test_settings_of_a_recipe_limit_calls() -> None:
    def calls(settings: SearchSettings) -> CallSettings:
        return Opening(settings, Budget(), Curriculum(settings.noise), 60.0).calls()

    told = calls(SearchSettings(in_flight=3, per_second=0.5, deadline_s=7))
    assert (told.in_flight, told.per_second, told.deadline_s, told.max_outage_s) == (3, 0.5, 7, 60)
    by_default = calls(SearchSettings())
    assert (by_default.in_flight, by_default.per_second, by_default.deadline_s) == (32, 0, 30)


def limiting(until: float, loop: VirtualLoop, asked_s: float = 0.0) -> Index:
    async def behave(query: str, call: int) -> None:
        if loop.time() < until:
            raise TransientError("too often", reason="http 429", limited=True, retry_after_s=asked_s)

    return Index(behave)


def alone(index: Index, loop: VirtualLoop, settings: CallSettings) -> tuple[SearchResult, Reliable]:
    reliable = Reliable(index, settings)
    [result] = run(loop, reliable.search(["a"], 3))
    return result, reliable


def test_a_search_alone_outlasts_a_limit_as_it_does_an_outage() -> None:
    loop = VirtualLoop()
    result, reliable = alone(limiting(300.0, loop), loop, CallSettings())
    assert result.error is None
    assert result.cost_usd == 0.001
    assert reliable.counts.calls < 60


def test_a_limit_without_end_is_given_up_and_costs_nothing() -> None:
    loop = VirtualLoop()
    index = limiting(1e9, loop)
    result, _ = alone(index, loop, CallSettings(max_outage_s=100.0))
    assert "down for more than 100 s (too often)" in (result.error or "")
    assert result.cost_usd == 0
    assert loop.time() < 200


def test_no_wait_that_is_asked_for_is_longer_than_an_outage_may_be() -> None:
    loop = VirtualLoop()
    result, _ = alone(limiting(1e9, loop, 86_400.0), loop, CallSettings())
    assert result.error == "too often; that is too long to wait"
    assert loop.time() < 1


def test_refusals_at_once_count_as_one_and_calls_at_once_grow_again() -> None:
    loop = VirtualLoop()
    most: list[int] = []

    async def behave(query: str, call: int) -> None:
        most.append(index.at_once)
        await asyncio.sleep(0.1)
        if loop.time() < 1.0:
            raise TransientError("too often", reason="http 429", limited=True)

    index = Index(behave)
    reliable = Reliable(index, CallSettings(in_flight=64))
    results: Sequence[SearchResult] = run(loop, reliable.search([str(n) for n in range(3_000)], 3))
    assert not [result for result in results if result.error]
    assert reliable.counts.outages == 0
    assert max(most[:64]) == 64
    assert max(most[64:164]) < 10 < max(most[-500:])
