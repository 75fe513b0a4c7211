from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from innersearch.errors import ConfigError
from innersearch.net.calls import PermanentError, TransientError
from innersearch.net.patience import CallSettings, as_record
from innersearch.search.base import SearchResult
from innersearch.search.remote.calls import once
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.wrappers.reliable import Reliable
from innersearch.types import Document, Source
from tests.search_servers import Answer, Asked, LocalServer, retrieve

QUICK = CallSettings(
    deadline_s=60.0,
    backoff_s=0.002,
    backoff_max_s=0.01,
    probe_s=0.01,
    probe_max_s=0.05,
    max_outage_s=60.0,
)


class Index:
    """An engine in memory that counts, waits and fails as told."""

    name = "index"
    source = Source.RETRIEVER
    price_usd = 0.001
    batch: int | None = 1

    def __init__(self, behave: Callable[[str, int], Awaitable[None]] | None = None) -> None:
        self.identity: dict[str, Any] = {"engine": "index"}
        self.calls: list[str] = []
        self.at_once = self.most_at_once = 0
        self.closed = False
        self._behave = behave

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return await once(self, queries, k)

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.calls += queries
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self._behave is not None:
                await self._behave(queries[0], len(self.calls))
            await asyncio.sleep(0.001)
        finally:
            self.at_once -= 1
        return [SearchResult((Document(q, q, q),), cost_usd=0.001) for q in queries]

    async def close(self) -> None:
        self.closed = True


def failing(times: int, error: Exception) -> Callable[[str, int], Awaitable[None]]:
    async def behave(query: str, call: int) -> None:
        if call <= times:
            raise error

    return behave


def texts(results: Sequence[SearchResult]) -> list[str]:
    return [result.documents[0].text if result.documents else f"! {result.error}" for result in results]


def test_it_is_transparent_while_all_is_well() -> None:
    index = Index()
    reliable = Reliable(index, QUICK)
    assert (reliable.name, reliable.source, reliable.identity) == (
        "index",
        Source.RETRIEVER,
        index.identity,
    )

    async def run() -> list[SearchResult]:
        results = await reliable.search(["a", "b"], 3)
        await reliable.close()
        return results

    assert texts(asyncio.run(run())) == ["a", "b"]
    assert index.closed
    assert as_record(reliable.counts) == {
        "searches": 2,
        "calls": 2,
        "failures": {},
        "lost": 0,
        "retries": 0,
        "refusals": 0,
        "outages": 0,
        "waited_s": 0.0,
    }


@pytest.mark.usefixtures("virtual_time")
def test_transient_failures_are_retried_and_paid_for() -> None:
    index = Index(failing(3, TransientError("away", reason="http 503")))
    reliable = Reliable(index, QUICK)
    (result,) = asyncio.run(reliable.search(["a"], 3))
    assert result.error is None
    assert result.cost_usd == pytest.approx(0.004)
    assert reliable.counts.failures == {"http 503": 3}
    assert reliable.counts.retries == 3
    assert reliable.counts.waited_s >= 0.002 + 0.004 + 0.008


def test_a_permanent_failure_is_final() -> None:
    index = Index(failing(99, PermanentError("no such key", reason="http 401")))
    reliable = Reliable(index, QUICK)
    (result,) = asyncio.run(reliable.search(["a"], 3))
    assert (result.error, result.documents, len(index.calls)) == ("no such key", (), 1)
    assert result.cost_usd == 0.001
    assert reliable.counts.lost == 1


def test_a_query_that_breaks_the_server_is_given_up_and_is_no_outage() -> None:
    async def behave(query: str, call: int) -> None:
        if query == "bad":
            raise TransientError("HTTP 500", reason="http 500", down=False)

    reliable = Reliable(Index(behave), QUICK)
    results = asyncio.run(reliable.search(["good", "bad", "fine"], 3))
    assert texts(results) == ["good", "! HTTP 500, in 5 tries", "fine"]
    assert reliable.counts.outages == 0


def test_a_query_that_looks_like_an_outage_does_not_hold_up_the_others() -> None:
    async def behave(query: str, call: int) -> None:
        if query == "bad":
            raise TransientError("HTTP 503", reason="http 503")

    async def run(reliable: Reliable) -> list[SearchResult]:
        bad = asyncio.create_task(reliable.search(["bad"], 3))
        results = []
        while not bad.done():
            results += await reliable.search(["good"], 3)
        assert all(result.error is None for result in results)
        return await bad

    (result,) = asyncio.run(run(Reliable(Index(behave), QUICK)))
    assert result.error == "HTTP 503, in 5 tries"


@pytest.mark.usefixtures("virtual_time")
def test_the_deadline_covers_slow_answers() -> None:
    async def behave(query: str, call: int) -> None:
        if query == "slow":
            await asyncio.sleep(9)

    settings = replace(QUICK, deadline_s=0.03, tries=2, open_after=2, max_outage_s=0.05)
    reliable = Reliable(Index(behave), settings)
    (result,) = asyncio.run(reliable.search(["slow"], 3))
    assert "down for more than 0.05 s" in result.error
    assert reliable.counts.failures["timeout"] >= 2
    assert result.cost_usd >= 0.002


@pytest.mark.parametrize("answer", [{"delay_s": 3.0}, {"trickle_s": 0.05}], ids=["silent", "trickling"])
def test_the_deadline_holds_on_the_network(answer: dict[str, float]) -> None:
    def reply(asked: Asked) -> Answer:
        slow = len(server.asked) == 1
        return replace(retrieve(asked), **answer) if slow else retrieve(asked)

    async def run() -> list[SearchResult]:
        engine = Reliable(RemoteEngine(server.url), replace(QUICK, deadline_s=0.3))
        try:
            return await engine.search(["a"], 1)
        finally:
            await engine.close()

    with LocalServer(reply) as server:
        (result,) = asyncio.run(run())
    assert result.error is None
    assert result.latency_s > 0.3


@pytest.mark.usefixtures("virtual_time")
def test_calls_in_flight_are_limited() -> None:
    index = Index()
    reliable = Reliable(index, replace(QUICK, in_flight=7))
    results = asyncio.run(reliable.search([str(n) for n in range(200)], 3))
    assert texts(results) == [str(n) for n in range(200)]
    assert index.most_at_once == 7


def test_an_outage_in_mid_run_loses_no_search_and_takes_no_work() -> None:
    """256 searches at a time, and the server is gone for a second."""

    async def run() -> tuple[list[SearchResult], float]:
        reliable = Reliable(RemoteEngine(server.url, batch=1), replace(QUICK, in_flight=16))
        searches = asyncio.create_task(reliable.search([f"q{n}" for n in range(256)], 1))
        while len(server.asked) < 60:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.2)
        arrived = len(server.asked)
        worked = time.process_time()
        await asyncio.sleep(0.8)
        worked = time.process_time() - worked
        assert not searches.done()
        assert len(server.asked) == arrived
        failed = sum(reliable.counts.failures.values())
        assert failed < 16 + 5 + 40, "one probe at a time, ever more slowly"
        server.start()
        results = await searches
        await reliable.close()
        assert reliable.counts.outages >= 1
        assert reliable.counts.lost == 0
        return results, worked

    with LocalServer(retrieve) as server:
        results, worked = asyncio.run(run())
    assert [r.documents[0].text.split("\n")[0] for r in results] == [f"About q{n}" for n in range(256)]
    assert worked < 0.8 * 0.25


@pytest.mark.usefixtures("virtual_time")
def test_during_an_outage_one_call_at_a_time_goes_out() -> None:
    async def behave(query: str, call: int) -> None:
        assert not 40 < call <= 50 or index.at_once == 1
        if call <= 50:
            await asyncio.sleep(0.005)
            raise TransientError("away")

    index = Index(behave)
    reliable = Reliable(index, replace(QUICK, in_flight=40, probe_s=0.03, probe_max_s=0.03))
    results = asyncio.run(reliable.search([str(n) for n in range(100)], 3))
    assert [result.error for result in results] == [None] * 100
    assert reliable.counts.outages == 1
    assert reliable.counts.calls == 150


@pytest.mark.usefixtures("virtual_time")
def test_a_search_alone_outlasts_an_outage() -> None:
    index = Index(failing(30, TransientError("away")))
    reliable = Reliable(index, replace(QUICK, probe_s=0.001, probe_max_s=0.002))
    (result,) = asyncio.run(reliable.search(["a"], 3))
    assert result.error is None
    assert len(index.calls) == 31


@pytest.mark.usefixtures("virtual_time")
def test_after_too_long_an_outage_all_fail_and_one_success_ends_it() -> None:
    broken = True

    async def behave(query: str, call: int) -> None:
        if broken:
            raise TransientError("away")

    async def run() -> None:
        nonlocal broken
        started = asyncio.get_running_loop().time()
        results = await reliable.search([str(n) for n in range(50)], 3)
        assert 0.15 < asyncio.get_running_loop().time() - started < 0.4
        assert {result.error for result in results} == {
            "index has been down for more than 0.2 s (away): start it, or correct the address"
        }
        calls = len(index.calls)
        assert (await reliable.search(["later"], 3))[0].error is not None
        assert len(index.calls) == calls + 1
        broken = False
        assert texts(await reliable.search(["a", "b", "c"], 3))[0] == "a"
        assert texts(await reliable.search(["a", "b", "c"], 3)) == ["a", "b", "c"]

    index = Index(behave)
    reliable = Reliable(index, replace(QUICK, max_outage_s=0.2))
    asyncio.run(run())
    assert reliable.counts.outages == 1
    assert reliable.counts.lost >= 51


@pytest.mark.usefixtures("virtual_time")
def test_retry_after_holds_for_all_and_may_be_too_long() -> None:
    limit = TransientError("wait", reason="http 429", retry_after_s=0.1)
    reliable = Reliable(Index(failing(6, limit)), QUICK)

    async def run() -> tuple[list[SearchResult], float]:
        results = await reliable.search([str(n) for n in range(20)], 3)
        return results, asyncio.get_running_loop().time()

    results, took = asyncio.run(run())
    assert [result.error for result in results] == [None] * 20
    assert 0.1 <= took < 2
    endless = TransientError("wait", reason="http 429", retry_after_s=3600)
    (result,) = asyncio.run(Reliable(Index(failing(9, endless)), QUICK).search(["a"], 3))
    assert result.error == "wait; that is too long to wait"


@pytest.mark.usefixtures("virtual_time")
def test_a_cancelled_search_leaves_the_others_alone() -> None:
    async def run() -> None:
        reliable = Reliable(index, replace(QUICK, probe_s=0.02))
        doomed = [asyncio.create_task(reliable.search([f"d{n}"], 3)) for n in range(8)]
        others = asyncio.create_task(reliable.search(["a", "b"], 3))
        await asyncio.sleep(0.01)
        for task in doomed:
            task.cancel()
        assert texts(await others) == ["a", "b"]
        assert texts(await reliable.search(["c"], 3)) == ["c"]

    index = Index(failing(12, TransientError("away")))
    asyncio.run(run())


class Plain:
    """An engine without `ask`."""

    name, source = "plain", Source.RETRIEVER

    def __init__(self, *answers: Any) -> None:
        self.identity: dict[str, Any] = {}
        self.answers = list(answers)
        self.batches: list[int] = []

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.batches.append(len(queries))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [answer] * len(queries)

    async def close(self) -> None:
        self.answers.clear()


def test_any_engine_can_be_wrapped() -> None:
    good = SearchResult((Document("1", "t", "x"),))
    plain = Plain(ConnectionResetError("gone"), good, SearchResult(error="final"))
    reliable = Reliable(plain, QUICK)
    assert texts(asyncio.run(reliable.search(["a", "b"], 3))) == ["x", "x"]
    assert texts(asyncio.run(reliable.search(["a"], 3))) == ["! final"]
    assert plain.batches == [2, 2, 1]
    assert asyncio.run(reliable.search([], 3)) == []


def test_a_bug_in_an_engine_is_not_swallowed() -> None:
    with pytest.raises(KeyError):
        asyncio.run(Reliable(Plain(KeyError("bug")), QUICK).search(["a"], 3))


@pytest.mark.parametrize(
    ("change", "named"),
    [({"deadline_s": 0}, "deadline_s"), ({"in_flight": -1}, "in_flight"), ({"tries": 2}, "open_after")],
)
def test_impossible_settings_are_refused(change: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        replace(QUICK, **change)


def test_the_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(TransientError("x", reason="http 429", retry_after_s=3)))
    assert (str(error), error.reason, error.retry_after_s) == ("x", "http 429", 3)
