"""A simulator behind an address: what it is sent, and what comes of its answers."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from dataclasses import replace

import pytest

from innersearch.config import SimulatorSettings
from innersearch.errors import SearchError
from innersearch.search.base import SearchRequest, SearchResult
from innersearch.simulator.engine import SimulatedEngine
from innersearch.simulator.writers import KEY_VARIABLE, ChatWriter
from tests.search_servers import KEY, Answer, LocalServer
from tests.search_servers import Asked as Arrived
from tests.simulator.writing import (
    QUICK,
    after,
    ask_at,
    asked,
    at,
    chat,
    completion,
    engine,
    prompt_of,
    said,
    texts,
)

DOCUMENTS = ["Useful q", "What is number 1? gold 1"]


def test_what_is_sent_to_a_chat_endpoint() -> None:
    settings = SimulatorSettings(temperature=0.3, max_new_tokens=77)
    with LocalServer(chat) as server:
        for url in (
            server.url,
            server.url + "/",
            server.url + "/v1",
            server.url + "/v1/chat/completions",
        ):
            [result] = ask_at(at(url, settings=settings), asked())
            assert texts(result) == DOCUMENTS
            assert (result.error, result.faults, result.label) == (None, (), "useful")
    sent = [request.values for request in server.asked]
    assert len(sent) == 4
    assert sent[0] == sent[1] == sent[2] == sent[3]
    assert 0 <= sent[0].pop("seed") < 2**31
    assert "gold 1" in sent[0].pop("messages")[0]["content"]
    assert sent[0] == {
        "model": "sim-14b",
        "temperature": 0.3,
        "max_tokens": 77,
        "stop": ["</information>"],
    }
    assert "authorization" not in server.asked[0].headers


def test_a_completion_that_was_cut_off_says_so() -> None:
    with LocalServer(lambda request: completion("Doc 1: a\nDoc 2: b", "length")) as server:
        [result] = ask_at(at(server.url), asked())
    assert (texts(result), result.faults) == (["a", "b"], ("cut",))


@pytest.mark.parametrize(
    "trouble",
    [Answer({"error": "boom"}, 500), Answer(b"", 503), Answer({}, 429), Answer({}, 408)],
    ids=["500", "503", "429", "408"],
)
def test_trouble_that_passes_is_outlasted(trouble: Answer) -> None:
    with LocalServer(after(trouble, trouble)) as server:
        simulator = at(server.url)
        [result] = ask_at(simulator, asked())
    assert (texts(result), result.error) == (DOCUMENTS, None)
    assert len(server.asked) == 3
    assert {request.values["seed"] for request in server.asked} == {server.asked[0].values["seed"]}


def test_a_retry_after_is_waited_for() -> None:
    busy = Answer({"error": {"message": "rate limit"}}, 429, {"retry-after": "1"})
    with LocalServer(after(busy)) as server:
        [result] = ask_at(at(server.url), asked())
    assert texts(result) == DOCUMENTS
    assert result.latency_s >= 1
    assert len(server.asked) == 2


def test_a_slow_answer_is_asked_for_again() -> None:
    slow = replace(completion("Doc 1: late"), delay_s=0.5)
    with LocalServer(after(slow)) as server:
        simulator = at(server.url, replace(QUICK, deadline_s=0.15))
        [result] = ask_at(simulator, asked())
    assert texts(result) == DOCUMENTS


BAD_ANSWERS = {
    "no JSON": (Answer(b'{"choices": [{"mess'), "sent no JSON"),
    "HTML": (Answer(b"<html>"), "sent no JSON"),
    "not UTF-8": (Answer(b"\xff\xfe"), "sent no JSON"),
    "an array": (Answer([1]), "sent no completion"),
    "a number": (Answer(7), "sent no completion"),
    "no choices": (Answer({"choices": []}), "sent no completion"),
    "choices null": (Answer({"choices": None}), "sent no completion"),
    "no message": (Answer({"choices": [{"text": "x"}]}), "sent no completion"),
    "content null": (completion(None), "sent no text, and 'stop' as the reason"),
    "content a number": (completion(7), "sent no text, but a int"),
    "content in empty parts": (completion([{"type": "text"}]), "wrote no document"),
    "content empty": (completion(""), "wrote no document"),
    "content blank": (completion(" \n"), "wrote no document"),
    "too long a prompt": (
        Answer({"message": "maximum context length"}, 400),
        "HTTP 400.*context length",
    ),
    "a redirect": (Answer(b"", 307, {"location": "/elsewhere"}), "HTTP 307"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answers_are_failed_searches_and_not_asked_for_again(name: str) -> None:
    answer, message = BAD_ANSWERS[name]
    with LocalServer(lambda request: answer) as server:
        [result] = ask_at(at(server.url), asked())
    assert result.documents == ()
    assert re.search(message, result.error)
    assert len(server.asked) == 1


def test_a_wrong_path_is_said_at_once() -> None:
    with LocalServer(chat) as server:
        [result] = ask_at(at(server.url + "/v2"), asked())
    assert re.search(r"sim-14b answered HTTP 404.*no such route", result.error)
    assert len(server.asked) == 1


def test_a_query_that_breaks_the_server_is_given_up_alone() -> None:
    def answer(request: Arrived) -> Answer:
        return Answer({}, 500) if "Query: bad" in prompt_of(request).message else chat(request)

    with LocalServer(answer) as server:
        good, bad = ask_at(at(server.url), asked(), asked("bad"))
    assert texts(good) == DOCUMENTS
    assert bad.error == "the simulator sim-14b answered HTTP 500, in 5 tries"


def test_half_a_character_from_the_server_can_be_written_to_a_file() -> None:
    body = rb'{"choices": [{"message": {"content": "Doc 1: \ud83d x"}, "finish_reason": "stop"}]}'
    with LocalServer(lambda request: Answer(body)) as server:
        [result] = ask_at(at(server.url), asked("\ud800"), k=1)
    assert texts(result) == ["? x"]
    assert result.error is None


@pytest.mark.parametrize("max_batch", [7, 60])
def test_as_many_calls_are_under_way_as_the_settings_allow(max_batch: int) -> None:
    """The released code has ten threads, whatever the server can take."""
    full = threading.Event()

    def answer(request: Arrived) -> Answer:
        if server.most_at_once >= max_batch:
            full.set()
        full.wait(5)
        return chat(request)

    with LocalServer(answer) as server:
        simulator = at(server.url, replace(QUICK, deadline_s=9), SimulatorSettings(max_batch=max_batch))
        results = ask_at(simulator, *(asked(f"q{n}", n) for n in range(3 * max_batch)))
        assert server.most_at_once == max_batch
    assert [texts(result)[0] for result in results] == [f"Useful q{n}" for n in range(3 * max_batch)]


def test_a_server_that_goes_away_and_comes_back_loses_nothing_and_takes_no_work() -> None:
    """The released code asks again and again without a pause, for ever."""

    async def run(simulator: SimulatedEngine) -> tuple[list[SearchResult], float]:
        waiting = [simulator.answer(asked(f"q{n}", n), 2) for n in range(256)]
        searches = asyncio.gather(*waiting)
        while len(server.asked) < 60:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        arrived, worked = len(server.asked), time.process_time()
        await asyncio.sleep(1.0)
        worked = time.process_time() - worked
        assert len(server.asked) == arrived
        assert not searches.done()
        server.start()
        results = await searches
        await simulator.close()
        return results, worked

    with LocalServer(chat) as server:
        writer = ChatWriter(server.url, "sim", SimulatorSettings(max_batch=16), QUICK)
        results, worked = asyncio.run(run(engine(writer)))
    assert [texts(result) for result in results] == [
        [f"Useful q{n}", f"What is number {n}? gold {n}"] for n in range(256)
    ]
    assert worked < 0.25
    assert writer.calls.counts.outages >= 1
    assert writer.calls.counts.lost == 0


def test_a_server_that_stays_away_is_a_failed_search_that_can_be_asked_again() -> None:
    async def run(simulator: SimulatedEngine) -> list[SearchResult]:
        lost = await simulator.answer(asked(), 2)
        server.start()
        found = await simulator.answer(asked(), 2)
        await simulator.close()
        return [lost, found]

    server = LocalServer(chat)
    server.start()
    server.stop()
    lost, found = asyncio.run(run(at(server.url, replace(QUICK, max_outage_s=0.2))))
    server.stop()
    assert lost.error is not None
    assert lost.error.startswith("the simulator sim-14b has been down for more than 0.2 s (")
    assert server.url in lost.error
    assert "connection refused" in lost.error
    assert texts(found) == DOCUMENTS


def test_seeds_are_the_same_again_and_differ_between_searches() -> None:
    def seeds(*searches: SearchRequest, seed: int = 0, noise: float = 0.0, k: int = 2) -> list[int]:
        settings = SimulatorSettings(seed=seed)
        with LocalServer(chat) as server:
            writer = ChatWriter(server.url, "sim", settings, QUICK)
            ask_at(engine(writer, noise, settings), *searches, k=k)
        by_message = {prompt_of(request).message: request.values["seed"] for request in server.asked}
        return sorted(by_message.values())

    searches = [asked(f"q{n % 10}", n) for n in range(60)]
    once = seeds(*searches)
    assert once == seeds(*reversed(searches))
    assert len(set(once)) == 60
    one = seeds(searches[0])
    others = [
        seeds(searches[0], seed=1),
        seeds(searches[0], noise=1.0),
        seeds(searches[0], k=3),
        seeds(asked("q0", 0, "another gold")),
        seeds(asked("q1", 0)),
    ]
    assert len({tuple(drawn) for drawn in [one, *others]}) == 6


def test_the_key_goes_into_the_header_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)

    def answer(request: Arrived) -> Answer:
        """A server that says what it was sent, in all that it sends back."""
        headers = dict(request.headers)
        return {
            "q1": Answer({"error": headers}, 401),
            "q2": Answer({"error": headers}, 400),
            "q3": Answer({"error": headers}, 503),
            "q4": Answer({"headers": headers}),
            "q5": completion(f"Doc 1: {headers}"),
        }.get(said(prompt_of(request))["query"]) or chat(request)

    caplog.set_level("DEBUG")
    with LocalServer(answer) as server:
        writer = ChatWriter(server.url, "sim", SimulatorSettings(), replace(QUICK, max_outage_s=0.1))
        simulator = engine(writer)
        results = ask_at(simulator, *(asked(f"q{n}") for n in (0, 1, 2, 4, 5)))
        results += ask_at(at(server.url, replace(QUICK, max_outage_s=0.1)), asked("q3"))
    assert {request.headers["authorization"] for request in server.asked} == {f"Bearer {KEY}"}
    assert [result.error is None for result in results] == [True, False, False, False, True, False]
    assert KEY_VARIABLE in results[1].error
    completions = writer._completions
    shown = [results, simulator, vars(simulator), vars(writer), vars(completions), simulator.identity]
    shown += [completions.identity, completions._key, vars(completions._key), caplog.text]
    shown += [request.values for request in server.asked] + [request.path for request in server.asked]
    assert KEY not in repr(shown)


def test_a_key_that_is_none_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " ")
    with pytest.raises(SearchError, match=f"set the environment variable {KEY_VARIABLE}"):
        at("http://127.0.0.1:1")
    monkeypatch.setenv(KEY_VARIABLE, "schlüssel-1234")
    with pytest.raises(SearchError, match="holds no key") as refused:
        at("http://127.0.0.1:1")
    assert "1234" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://user:secret@127.0.0.1", "ftp://127.0.0.1", "http://", "127.0.0.1:80"]
)
def test_addresses_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SearchError, match="the address of the simulator sim-14b") as refused:
        at(url)
    assert "secret" not in str(refused.value)
