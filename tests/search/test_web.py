from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import TypeAdapter

from innersearch.assemble.engines import open_engine
from innersearch.config import SearchSettings
from innersearch.errors import SearchError
from innersearch.net.calls import PermanentError, TransientError
from innersearch.net.fetching import MAX_BODY
from innersearch.net.patience import CallSettings
from innersearch.records import to_json
from innersearch.search.base import SearchResult
from innersearch.search.remote.dialects import DIALECTS, MAX_TEXT, cut_query, read_answer
from innersearch.search.remote.web import WebEngine
from innersearch.search.wrappers.reliable import Reliable
from innersearch.types import Source
from tests.search_servers import APIS, KEY, Answer, Asked, LocalServer, api, ask, page

KEYED = sorted(name for name in APIS if DIALECTS[name].key_variable)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYED:
        monkeypatch.setenv(DIALECTS[name].key_variable, KEY)


def answering(answer: Answer | Any) -> LocalServer:
    return LocalServer(lambda asked: answer if isinstance(answer, Answer) else Answer(answer))


def test_every_api_has_a_server_to_be_tested_with() -> None:
    assert set(APIS) == set(DIALECTS)


@pytest.mark.parametrize("name", APIS)
def test_every_dialect_asks_and_reads_as_documented(name: str) -> None:
    with LocalServer(api(name)) as server:
        engine = WebEngine(name, base_url=server.url)
        results = ask(engine, "who founded Coltek", "naïve 漢字", k=3)
    assert [len(result.documents) for result in results] == [3, 3]
    for result, query in zip(results, ("who founded Coltek", "naïve 漢字"), strict=True):
        address, _, snippet = page(query, 2)
        document = result.documents[1]
        assert (document.id, document.url, document.text) == (address, address, snippet)
        assert result.error is None
        assert result.latency_s > 0
    assert engine.source is Source.WEB
    assert engine.name == name
    assert results[0].documents[1].title == ("It's" if name == "brave" else "Page 2")
    assert results[0].cost_usd == (0.005 if name == "exa" else DIALECTS[name].price.usd_per_1000 / 1000)


@pytest.mark.parametrize("name", KEYED)
def test_a_missing_key_names_its_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = DIALECTS[name].key_variable
    monkeypatch.delenv(variable)
    with pytest.raises(SearchError, match=variable):
        WebEngine(name)
    monkeypatch.setenv(variable, "with\nline breaks")
    with pytest.raises(SearchError, match=variable) as caught:
        WebEngine(name)
    assert "breaks" not in str(caught.value)


def test_a_replay_needs_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with LocalServer(api("serper")) as server:
        asked = SearchSettings(engine=f"serper:{server.url}", cache=str(tmp_path / "cache.sqlite"))
        recorded = ask(open_engine(asked), "who founded Coltek")
    monkeypatch.delenv("SERPER_API_KEY")
    replayed = ask(open_engine(asked.model_copy(update={"offline": True})), "who founded Coltek")
    assert [r.documents for r in replayed] == [r.documents for r in recorded]
    assert replayed[0].documents


@pytest.mark.parametrize("name", sorted({*KEYED} - {"brave"}))
def test_a_wrong_key_fails_at_once_and_names_its_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIALECTS[name].key_variable, "another-canary-key")
    with LocalServer(api(name)) as server:
        (result,) = ask(Reliable(WebEngine(name, base_url=server.url)), "q")
    assert DIALECTS[name].key_variable in result.error
    assert "another-canary-key" not in result.error
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, None) for name in KEYED),
        ("serpapi", Answer({"error": f"bad key {KEY}"}, 400)),
        ("serpapi", Answer({"error": f"bad key {KEY}"}, 401)),
        ("serpapi", Answer({"error": KEY}, 429)),
        ("serpapi", Answer({"error": KEY})),
        ("tavily", Answer(KEY.encode())),
        ("tavily", Answer({"location": KEY}, 302)),
    ],
)
def test_keys_appear_nowhere(
    name: str, answer: Answer | None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The server even sends them back; None is a good answer that holds the key in a document."""

    def reply(asked: Asked) -> Answer:
        if answer is not None:
            return answer
        good = api(name)(asked)
        return Answer(json.loads(json.dumps(good.body).replace("part 1", KEY)))

    settings = CallSettings(tries=2, open_after=2, backoff_s=0.001, probe_s=0.001, max_outage_s=0.002)
    with caplog.at_level(logging.DEBUG), LocalServer(reply) as server:
        engine = WebEngine(name, base_url=server.url)
        reliable = Reliable(engine, settings)
        (result,) = ask(reliable, "q")
    assert (result.error is None) == (answer is None)
    assert "HTTP Request" in caplog.text
    seen = [caplog.text, repr(result), str(result), to_json(TypeAdapter(SearchResult), result)]
    for thing in (engine, reliable, engine._key, reliable.counts, vars(engine), engine.identity):
        seen += [repr(thing), str(thing)]
    assert not [text for text in seen if KEY in text]


def test_addresses_are_checked() -> None:
    with pytest.raises(SearchError, match="base_url"):
        WebEngine("searxng")
    for bad in ("127.0.0.1:8888", "ftp://host", "http://"):
        with pytest.raises(SearchError, match="http"):
            WebEngine("searxng", base_url=bad)
    for bad in (f"http://user:{KEY}@host", f"http://host/?token={KEY}", f"http://host/#{KEY}"):
        with pytest.raises(SearchError, match="no user or password") as caught:
            WebEngine("searxng", base_url=bad)
        assert KEY not in str(caught.value)
    with pytest.raises(SearchError, match="did you mean 'serper'"):
        WebEngine("serpr")


def test_the_identity_holds_what_decides_the_results() -> None:
    plain = WebEngine("serper")
    assert plain.identity["url"] == "https://google.serper.dev/search"
    assert WebEngine("serper").identity == plain.identity
    assert WebEngine("serper", parameters={"gl": "us"}).identity != plain.identity
    assert WebEngine("serper", base_url="http://127.0.0.1:1/x/").identity["url"] == (
        "http://127.0.0.1:1/x/search"
    )


def test_parameters_are_sent() -> None:
    with LocalServer(api("serper")) as server:
        ask(WebEngine("serper", base_url=server.url, parameters={"gl": "us"}), "q", k=99)
    assert server.asked[0].values == {"gl": "us", "q": "q", "num": 10}


@pytest.mark.parametrize("name", APIS)
def test_a_query_of_ten_thousand_characters_is_cut_between_words(name: str) -> None:
    with LocalServer(api(name)) as server:
        (result,) = ask(WebEngine(name, base_url=server.url), "w€rd " * 2_000)
    assert result.error is None
    sent = server.asked[0].values[DIALECTS[name].query]
    assert set(sent.split()) == {"w€rd"}
    assert len(sent) >= 0.9 * min(DIALECTS[name].max_chars, 5 * (DIALECTS[name].max_words or 999))


def test_cut_query() -> None:
    assert cut_query("a" * 500, 400) == "a" * 400
    assert cut_query("ab cd", 5) == "ab cd"
    assert cut_query("ab cd", 4) == "ab"
    assert cut_query("  a \ud800\n b ", 99) == "a ? b"


@pytest.mark.parametrize("query", ["", " \n "])
def test_an_empty_query_fails_without_a_call(query: str) -> None:
    with LocalServer(api("serper")) as server:
        (result,) = ask(WebEngine("serper", base_url=server.url), query)
    assert result.error == "the query is empty"
    assert result.cost_usd == 0
    assert not server.asked


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b'{"results": [', b"[]", b"{}", b"null", b"\xff\xfe", b'"results"'),
        *({"results": {"a": 1}}, {"results": [1]}, {"answers": [{"url": "https://a"}]}),
        b"[" * 100_000,
    ],
)
def test_malformed_answers_are_failed_searches(body: Any) -> None:
    with answering(body) as server:
        (result,) = ask(Reliable(WebEngine("tavily", base_url=server.url)), "q")
    assert result.documents == ()
    assert result.error.startswith("tavily sent ")
    assert "\n" not in result.error
    assert len(server.asked) == 1


@pytest.mark.parametrize("name", ["serper", "serpapi", "brave"])
def test_an_error_with_status_200_is_a_failed_search(name: str) -> None:
    with answering({"error": "Search broke", "type": "ErrorResponse"}) as server:
        (result,) = ask(WebEngine(name, base_url=server.url), "q")
    assert "Search broke" in result.error


@pytest.mark.parametrize("name", ["serpapi", "brave"])
def test_no_results_are_no_error(name: str) -> None:
    with LocalServer(api(name)) as server:
        (result,) = ask(WebEngine(name, base_url=server.url), "nothing")
    assert (result.documents, result.error) == ((), None)


def test_odd_fields_do_not_hurt() -> None:
    rows = [
        {"url": "https://a", "title": None, "content": "\ud800half", "score": "high"},
        {"title": "no address", "content": "x"},
        {"url": "https://b", "title": ["x"], "content": 3, "score": True},
        {"url": "https://c", "score": float("inf")},
    ]
    documents = read_answer(DIALECTS["tavily"], {"results": rows}, 9)
    assert [d.id for d in documents] == ["https://a", "https://b", "https://c"]
    assert [d.score for d in documents] == [None] * 3
    assert documents[0].text == "?half"
    assert (documents[1].title, documents[1].text) == ("", "")


def test_documents_of_a_megabyte_are_cut() -> None:
    rows = [{"url": "https://a", "title": "t" * 1_000_000, "content": "x" * 1_000_000}] * 3
    with answering({"results": rows}) as server:
        (result,) = ask(WebEngine("tavily", base_url=server.url), "q", k=3)
    assert [len(document.text) for document in result.documents] == [MAX_TEXT] * 3


def test_endless_bodies_are_given_up() -> None:
    with answering(Answer(b"x" * (MAX_BODY + 1))) as server:
        (result,) = ask(WebEngine("tavily", base_url=server.url), "q")
    assert "more than 10,000,000 bytes" in result.error


def raised(answer: Answer, name: str = "tavily") -> Exception:
    with answering(answer) as server:

        async def run() -> Exception:
            engine = WebEngine(name, base_url=server.url)
            try:
                await engine.ask(["q"], 3)
            except (TransientError, PermanentError) as error:
                return error
            finally:
                await engine.close()
            raise AssertionError("it did not fail")

        return asyncio.run(run())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_transient_statuses(status: int) -> None:
    error = raised(Answer({}, status, {"retry-after": "7"}))
    assert isinstance(error, TransientError)
    assert error.reason == f"http {status}"
    assert error.retry_after_s == 7
    assert error.down == (status != 500)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422, 432, 433])
def test_permanent_statuses(status: int) -> None:
    error = raised(Answer({"detail": "because"}, status))
    assert isinstance(error, PermanentError)
    assert str(status) in str(error)
    assert status in (401, 403) or "because" in str(error)


@pytest.mark.parametrize("header", ["soon", "", "-3", "1e3", "Mon, 99 Foo"])
def test_an_unreadable_retry_after_is_none(header: str) -> None:
    assert raised(Answer({}, 429, {"retry-after": header})).retry_after_s == 0


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < raised(Answer({}, 429, {"retry-after": date})).retry_after_s <= 30


def test_a_used_up_plan_is_not_waited_for() -> None:
    spent = Answer({"error": "Your account has run out of searches."}, 429)
    error = raised(spent, "serpapi")
    assert isinstance(error, PermanentError)
    assert "SERPAPI_API_KEY" in str(error)


def test_a_searxng_without_json_says_what_to_switch_on() -> None:
    assert "settings.yml" in str(raised(Answer(b"", 403), "searxng"))


def test_a_refused_connection_was_not_sent_and_costs_nothing() -> None:
    with answering({}) as server:
        url = server.url
    (result,) = ask(WebEngine("serper", base_url=url), "q")
    assert (
        result.error
        == f"serper cannot be reached at {url}/search: connection refused, nothing listens there"
    )
    assert result.cost_usd == 0


def test_retry_after_is_honoured() -> None:
    times: list[float] = []

    def reply(asked: Asked) -> Answer:
        times.append(time.monotonic())
        return Answer({}, 429, {"retry-after": "1"}) if len(times) == 1 else api("serper")(asked)

    with LocalServer(reply) as server:
        settings = CallSettings(backoff_s=0.001)
        (result,) = ask(Reliable(WebEngine("serper", base_url=server.url), settings), "q")
    assert result.error is None
    assert times[1] - times[0] >= 1


def test_a_given_client_stays_open() -> None:
    async def run() -> bool:
        async with httpx2.AsyncClient() as client:
            await WebEngine("serper", client=client).close()
            return client.is_closed

    assert asyncio.run(run()) is False
