from __future__ import annotations

from typing import Any

import pytest

from innersearch.errors import SearchError
from innersearch.search.base import SearchResult
from innersearch.search.remote.dialects import MAX_TEXT
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.wrappers.reliable import Reliable
from innersearch.types import Document, Source
from tests.search_servers import KEY, Answer, LocalServer, ask, retrieve


def ask_rows(rows: Any, *, singular: bool = False) -> SearchResult:
    with LocalServer(lambda asked: Answer(rows)) as server:
        (result,) = ask(RemoteEngine(server.url, singular=singular), "q")
    return result


def test_search_r1() -> None:
    queries = [f"query {n}" for n in range(150)]
    with LocalServer(retrieve) as server:
        engine = RemoteEngine(server.url, batch=64)
        results = ask(engine, *queries)
    assert [r.documents[1].text for r in results] == [f"About {q}\nline 2" for q in queries]
    assert results[0].documents[0] == Document("1", "Title 1", "About query 0\nline 1", score=1.0)
    assert sorted(len(asked.values["queries"]) for asked in server.asked) == [22, 64, 64]
    assert all(asked.values["return_scores"] is True for asked in server.asked)
    assert engine.source is Source.RETRIEVER
    assert all(r.cost_usd == 0 and r.latency_s > 0 for r in results)


DOCUMENT = {"id": 7, "contents": '"Coltek"\nA firm.'}


@pytest.mark.parametrize(
    ("rows", "singular", "expected"),
    [
        ({"result": [[{"document": DOCUMENT, "score": 0.5}]]}, False, ("7", "Coltek", "A firm.")),
        ({"result": [[DOCUMENT]]}, False, ("7", "Coltek", "A firm.")),
        ({"result": [[{"document": {"contents": '"T"\nb'}}]]}, False, (None, "T", "b")),
        ({"result": [[{"document": '"T"\nb', "score": 1}]]}, False, (None, "T", "b")),
        ({"result": [[{"document": DOCUMENT, "score": 0.5}]]}, True, ("7", "Coltek", "A firm.")),
        ([{"text": "only text"}], True, (None, "", "only text")),
        ({"result": [[{"contents": "x\ny", "url": "https://u"}]]}, False, ("https://u", "x", "y")),
        (
            {"result": [[{"id": "a", "title": "T", "text": "b", "contents": "c"}]]},
            False,
            ("a", "T", "b"),
        ),
        ({"result": [[{"contents": "one line"}]]}, False, (None, "", "one line")),
        (
            {"result": [[{"contents": '"""Weird Al"" Yankovic"\nA singer.'}]]},
            False,
            (None, '"Weird Al" Yankovic', "A singer."),
        ),
        ({"result": [[{"id": 1, "title": 1984, "text": "b"}]]}, False, ("1", "1984", "b")),
    ],
    ids="wrapped bare web-server rerank skyrl zerosearch asearcher bm25 untitled quoted number".split(),
)
def test_rows_of_the_family(rows: Any, *, singular: bool, expected: tuple[str | None, str, str]) -> None:
    (document,) = ask_rows(rows, singular=singular).documents
    identity, title, text = expected
    assert (document.title, document.text) == (title, text)
    assert document.id == identity or (identity is None and len(document.id) == 16)


def test_singular_servers_get_one_query_and_both_names_of_k() -> None:
    with LocalServer(lambda asked: Answer([])) as server:
        ask(RemoteEngine(f"{server.url}/wiki", singular=True), "a", "b", k=5)
    assert {asked.path for asked in server.asked} == {"/wiki"}
    assert server.asked[0].values | {"query": ""} == {
        "query": "",
        "topk": 5,
        "top_k": 5,
        "return_scores": True,
    }


@pytest.mark.parametrize(
    "body",
    [
        *(b"no", {}, [], None),
        *({"result": rows} for rows in ({}, [], [[], []], [{}], [[3]], [[{"id": "x"}]])),
        {"result": [[{"document": None}]]},
    ],
)
def test_malformed_answers_fail_the_search(body: Any) -> None:
    result = ask_rows(body)
    assert result.documents == ()
    assert result.error.startswith("remote sent ")


def test_empty_rows_are_no_error() -> None:
    result = ask_rows({"result": [[]]})
    assert (result.documents, result.error) == ((), None)


def test_more_rows_than_asked_for_are_cut_and_large_documents_too() -> None:
    result = ask_rows({"result": [[{"id": n, "contents": "x" * 1_000_000} for n in range(5)]]})
    assert [len(document.text) for document in result.documents] == [MAX_TEXT] * 2


def test_a_long_query_and_half_a_surrogate_arrive() -> None:
    with LocalServer(retrieve) as server:
        (result,) = ask(RemoteEngine(server.url), "x\ud800" + "y" * 20_000)
    assert result.error is None
    assert server.asked[0].values["queries"] == ["x?" + "y" * 9_998]


def test_a_failed_batch_fails_each_of_its_queries() -> None:
    with LocalServer(lambda asked: Answer({}, 404)) as server:
        results = ask(Reliable(RemoteEngine(server.url)), "a", "b")
    assert [result.error for result in results] == ["remote answered HTTP 404: {}"] * 2
    assert len(server.asked) == 1


def test_a_bearer_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SearchError, match="RETRIEVER_TOKEN"):
        RemoteEngine("http://127.0.0.1:1", key_variable="RETRIEVER_TOKEN")
    monkeypatch.setenv("RETRIEVER_TOKEN", KEY)
    with LocalServer(retrieve) as server:
        engine = RemoteEngine(server.url, key_variable="RETRIEVER_TOKEN")
        ask(engine, "q")
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in f"{engine} {engine.identity}"


def test_the_identity_has_the_address_and_the_users_version() -> None:
    engine = RemoteEngine("http://127.0.0.1:8000/", version="wiki-18 e5")
    assert engine.identity == {
        "engine": "remote",
        "url": "http://127.0.0.1:8000/retrieve",
        "version": "wiki-18 e5",
    }


def answered(body: Any, *queries: str, singular: bool = False) -> tuple[list[SearchResult], LocalServer]:
    with LocalServer(lambda asked: Answer(body)) as server:
        return ask(RemoteEngine(server.url, singular=singular), *queries, k=3), server


def test_a_document_without_a_text_takes_no_other_with_it() -> None:
    good, null = {"id": "a", "contents": "x"}, {"id": "b", "contents": None}
    rows = [[good, null], [good], [null], None, [None, good], [{"document": None}, {"document": good}]]
    results, _ = answered({"result": rows}, *"abcdef")
    assert [len(result.documents) for result in results] == [1, 1, 0, 0, 1, 1]
    assert [result.error is not None for result in results] == [False, False, True, False, False, False]
    assert [result.partial is not None for result in results] == [True, False, False, False, True, True]
    assert "'contents' is null" in str(results[0].partial)
    assert "'contents' is null" in str(results[2].error)


@pytest.mark.parametrize("singular", [False, True])
def test_a_query_without_words_is_not_sent_and_fails_alone(singular: bool) -> None:
    with LocalServer(lambda asked: retrieve(asked) if not singular else Answer([])) as server:
        results = ask(RemoteEngine(server.url, singular=singular), "a", " \n ", "", "b")
    assert [result.error for result in results] == [
        None,
        "the query is empty",
        "the query is empty",
        None,
    ]
    sent = [asked.values.get("queries", asked.values.get("query")) for asked in server.asked]
    assert sorted(map(str, sent)) == (["a", "b"] if singular else ["['a', 'b']"])


def test_nothing_is_sent_for_blank_queries_alone() -> None:
    results, server = answered({"result": []}, " ", "")
    assert [result.error for result in results] == ["the query is empty"] * 2
    assert not server.asked
