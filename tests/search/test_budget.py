from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from innersearch.errors import ConfigError, SearchError
from innersearch.net.calls import PermanentError
from innersearch.net.patience import CallSettings
from innersearch.search.base import SearchResult
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.remote.web import WebEngine
from innersearch.search.wrappers.budget import Budget, Budgeted, Spent, forecast
from innersearch.search.wrappers.reliable import Reliable
from tests.search_servers import KEY, Answer, Asked, LocalServer, api

SETTINGS = CallSettings(in_flight=256, backoff_s=0.001, probe_s=0.001)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", KEY)
    monkeypatch.setenv("EXA_API_KEY", KEY)


def search(
    server: LocalServer, budget: Budget, searches: int, name: str = "serper"
) -> list[SearchResult]:
    async def run() -> list[SearchResult]:
        engine = Reliable(Budgeted(WebEngine(name, base_url=server.url), budget), SETTINGS)
        try:
            return await engine.search([f"q{n}" for n in range(searches)], 3)
        finally:
            await engine.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("limit", "sent", "named"),
    [({"calls": 1_000}, 1_000, "1,000 calls"), ({"usd": 0.3}, 300, "$0.30")],
    ids=["calls", "currency"],
)
def test_exactly_what_the_budget_allows_is_sent(limit: dict[str, float], sent: int, named: str) -> None:
    """256 searches at a time."""
    budget = Budget(**limit)
    with LocalServer(api("serper")) as server:
        results = search(server, budget, sent + 200)
    assert len(server.asked) == sent
    assert sum(result.error is None for result in results) == sent
    assert budget.spent == Spent(sent, sent / 1_000)
    expected = f"the budget of {named} is used up, nothing was sent: raise it and resume"
    assert {result.error for result in results} == {None, expected}
    assert sum(result.cost_usd for result in results) == pytest.approx(sent / 1_000)


def test_retries_take_from_the_budget_too() -> None:
    """Every third request fails; none arrives beyond the limit."""

    def reply(asked: Asked) -> Answer:
        return Answer({}, 503) if len(server.asked) % 3 == 0 else api("serper")(asked)

    budget = Budget(calls=300)
    with LocalServer(reply) as server:
        results = search(server, budget, 256)
    assert len(server.asked) == 300
    assert budget.spent.calls == 300
    assert 180 <= sum(result.error is None for result in results) <= 220
    assert all("budget" in result.error for result in results if result.error)


def test_requests_that_never_left_are_given_back() -> None:
    with LocalServer(api("serper")) as server:
        pass
    budget = Budget(calls=10, usd=1)

    async def run() -> SearchResult:
        engine = Budgeted(WebEngine("serper", base_url=server.url), budget)
        (result,) = await engine.search(["q"], 3)
        await engine.close()
        return result

    assert "connection refused" in asyncio.run(run()).error
    assert budget.spent == Spent(0, 0.0)


def test_a_call_that_was_broken_off_stays_paid() -> None:
    budget = Budget()

    async def run() -> None:
        engine = Budgeted(WebEngine("serper", base_url=server.url), budget)
        search = asyncio.create_task(engine.search(["q"], 3))
        while not server.asked:
            await asyncio.sleep(0.001)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        broken_off.set()
        await engine.close()

    def answer(asked: Asked) -> Answer:
        broken_off.wait(60)
        return Answer({})

    broken_off = threading.Event()
    with LocalServer(answer) as server:
        asyncio.run(run())
    assert budget.spent == Spent(1, 0.001)


def test_what_an_answer_states_replaces_the_list_price() -> None:
    budget = Budget(usd=1)
    with LocalServer(api("exa")) as server:
        results = search(server, budget, 10, "exa")
    assert budget.spent == Spent(10, 0.05)
    assert sum(result.cost_usd for result in results) == pytest.approx(0.05)


def test_a_free_engine_counts_calls_not_queries() -> None:
    def reply(asked: Asked) -> Answer:
        return Answer({"result": [[]] * len(asked.values["queries"])})

    budget = Budget(calls=2)

    async def run() -> list[SearchResult]:
        engine = Budgeted(RemoteEngine(server.url, batch=4), budget)
        results = await engine.search(["q"] * 12, 3)
        await engine.close()
        return results

    with LocalServer(reply) as server:
        results = asyncio.run(run())
    assert [result.error is None for result in results].count(True) == 8


def test_threads_never_exceed_it() -> None:
    budget = Budget(calls=5_000, usd=3.0)
    taken: list[int] = []

    def take() -> None:
        count = 0
        try:
            while True:
                budget.reserve(0.0007)
                count += 1
        except PermanentError:
            taken.append(count)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 4_285 == int(3.0 / 0.0007)


def test_only_an_engine_that_makes_calls_can_be_budgeted() -> None:
    with pytest.raises(SearchError, match="put the budget inside"):
        Budgeted(Reliable(WebEngine("serper")), Budget())


def test_a_resumed_run_keeps_counting(tmp_path: Path) -> None:
    path = tmp_path / "run" / "budget.json"
    first = Budget(calls=1_000, usd=5, path=path)
    for _ in range(400):
        first.reserve(0.001)
    first.save()
    assert json.loads(path.read_text()) == {"calls": 400, "usd": 0.4}
    second = Budget(calls=1_000, usd=5, path=path)
    assert second.spent == Spent(400, 0.4)
    for _ in range(600):
        second.reserve(0.001)
    with pytest.raises(PermanentError):
        second.reserve(0.001)


def test_a_killed_run_has_never_counted_too_little(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    for limits in ({"calls": 1_000}, {"usd": 1.0}, {}):
        path.unlink(missing_ok=True)
        budget = Budget(**limits, path=path)
        for taken in range(1, 301):
            budget.reserve(0.001)
            written = json.loads(path.read_text())
            assert taken <= written["calls"] <= taken + 100
            assert taken * 0.001 - 1e-9 <= written["usd"] <= taken * 0.001 + 0.1 + 1e-9


def test_processes_that_count_on_one_file_never_exceed_it_together(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    both = [Budget(calls=1_000, usd=0.5, path=path) for _ in range(2)]
    taken = [0, 0]
    for turn in range(4_000):
        # One of them works three times as fast.
        at = int(turn % 4 == 0)
        with suppress(PermanentError):
            both[at].reserve(0.001)
            taken[at] += 1
    assert all(taken)
    assert 0.95 * 500 <= sum(taken) <= 500
    for budget in both:
        budget.save()
    assert json.loads(path.read_text()) == {"calls": sum(taken), "usd": sum(taken) / 1_000}


def test_what_costs_more_than_its_price_is_counted_beside_another_process(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    mine, other = Budget(path=path), Budget(path=path)
    other.reserve(0.25)
    mine.reserve(0.001)
    mine.settle(0.001, 0.75)
    path.unlink()
    mine.reserve(0.0)
    mine.settle(0.0, 1.0)
    other.save()
    mine.save()
    assert json.loads(path.read_text())["usd"] == pytest.approx(2.0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"calls": 1}', '{"calls": "x", "usd": 0}', "\xff"])
def test_a_file_that_is_no_budget_is_refused_and_left(text: str, tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SearchError, match="move it away"):
        Budget(path=path)
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("limit", [{"calls": -1}, {"usd": -0.01}, {"usd": float("nan")}])
def test_impossible_limits_are_refused(limit: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        Budget(**limit)


def test_a_forecast_is_one_line() -> None:
    assert str(forecast(0.015, 64_000)) == "64,000 calls, $960.00"
    assert forecast(0.001, 7_200, per_second=2).seconds == 3_600
