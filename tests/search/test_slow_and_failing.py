"""Latency and failures on purpose."""

from __future__ import annotations

import asyncio

import pytest

from innersearch.errors import ConfigError
from innersearch.search.base import SearchRequest, SearchResult, ask
from innersearch.search.wrappers.failing import FAILED, Failing
from innersearch.search.wrappers.slow import WEB, Latency, Slow
from innersearch.testing import ScriptedEngine, check_engine

ASKED = [SearchRequest(f"q{n}", identity=("g", 0, f"q{n}", 1)) for n in range(400)]


def scripted() -> ScriptedEngine:
    return ScriptedEngine(lambda query: [query])


def test_both_are_engines() -> None:
    check_engine(Slow(scripted(), Latency(0.001, 0.001)))
    check_engine(Failing(scripted(), 0.0))


@pytest.mark.usefixtures("virtual_time")
def test_searches_take_as_long_as_their_names_draw() -> None:
    async def timed(asked: SearchRequest, seed: int) -> float:
        started = asyncio.get_running_loop().time()
        result = await ask(Slow(scripted(), WEB, seed), asked, 1)
        assert [document.text for document in result.documents] == [asked.query]
        assert result.latency_s == pytest.approx(asyncio.get_running_loop().time() - started, abs=1e-3)
        return result.latency_s

    async def run(seed: int) -> list[float]:
        return await asyncio.gather(*(timed(one, seed) for one in ASKED))

    first, again, other = asyncio.run(run(0)), asyncio.run(run(0)), asyncio.run(run(1))
    assert first == again
    assert first != other
    ordered = sorted(first)
    assert ordered[200] == pytest.approx(0.4, rel=0.2)
    assert ordered[396] == pytest.approx(3.0, rel=0.5)


@pytest.mark.usefixtures("virtual_time")
def test_what_is_asked_at_once_waits_at_once() -> None:
    async def run() -> float:
        started = asyncio.get_running_loop().time()
        await Slow(scripted(), Latency(2.0, 2.0)).search([f"q{n}" for n in range(50)], 1)
        return asyncio.get_running_loop().time() - started

    assert asyncio.run(run()) == pytest.approx(2.0, abs=0.01)


def test_a_share_of_searches_fails_and_a_retry_draws_again() -> None:
    engine = scripted()
    failing = Failing(engine, 0.25)

    async def run() -> tuple[list[SearchResult], list[SearchResult]]:
        first = [await failing.answer(one, 1) for one in ASKED]
        return first, [await failing.answer(one, 1) for one in ASKED]

    first, again = asyncio.run(run())
    failed = [number for number, result in enumerate(first) if result.error]
    assert len(failed) == pytest.approx(100, abs=26)
    assert {result.error for result in first} == {None, FAILED}
    assert len(engine.asked) == sum(result.error is None for result in first + again)
    retried = [again[number].error is None for number in failed]
    assert sum(retried) == pytest.approx(0.75 * len(failed), abs=0.15 * len(failed))
    assert all(again[n] == first[n] for n in range(400) if n not in failed)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        Failing(scripted(), 1.5)
    with pytest.raises(ConfigError, match="'fast'"):
        Latency.parse("fast")
    with pytest.raises(ConfigError, match="impossible"):
        Latency.parse("-1")
