"""Status 200 with nothing in it: nothing was found, or something is wrong, in every API's own words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.complaints import complaint
from innersearch.net.patience import CallSettings
from innersearch.search.base import SearchResult
from innersearch.search.remote.dialects import DIALECTS, read_answer, stated_cost
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.remote.web import WebEngine
from innersearch.search.wrappers.reliable import Reliable
from tests.search_servers import APIS, KEY, Answer, LocalServer, api, ask

QUICK = CallSettings(tries=3, open_after=3, backoff_s=0.001, backoff_max_s=0.001)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for dialect in DIALECTS.values():
        if dialect.key_variable:
            monkeypatch.setenv(dialect.key_variable, KEY)


def raised(name: str, body: Any) -> CallError | SearchResult:
    """What an engine makes of an answer with status 200."""

    async def run(url: str) -> CallError | SearchResult:
        engine = RemoteEngine(url) if name == "remote" else WebEngine(name, base_url=url)
        try:
            [result] = await engine.ask(["q"], 3)
        except CallError as error:
            return error
        finally:
            await engine.close()
        return result

    with LocalServer(lambda asked: Answer(body)) as server:
        return asyncio.run(run(server.url))


BLOCKED: dict[str, list[dict[str, Any]]] = {
    "searxng": [
        {"results": [], "unresponsive_engines": [["google", "CAPTCHA"]]},
        {"results": [], "unresponsive_engines": [["brave", "Suspended: too many requests"]]},
        {"query": "q", "unresponsive_engines": [["a", "timeout"], ["b", "access denied"]]},
        {"results": None, "unresponsive_engines": ["google"]},
        {"results": [], "unresponsive_engines": "google"},
        {"results": [], "unresponsive_engines": {"google": "unexpected crash"}},
    ],
    "serpapi": [
        {"search_metadata": {"status": "Processing"}},
        {"search_metadata": {"status": "Queued"}, "organic_results": []},
        {"search_metadata": {"status": "Error"}, "error": "We could not reach Google."},
        {"error": "Something went wrong"},
    ],
    "serper": [
        {"message": "Internal error", "statusCode": 500},
        {"message": "Something is wrong"},
        {"organic": [], "message": "Request blocked"},
        {"organic": [], "message": "Доступ временно заблокирован"},
        {"organic": {"error": "blocked"}},
        {"organic": [{"message": "upstream failed"}]},
        {"organic": [], "captcha": True},
        {"organic": [], "note": "Our systems have detected unusual traffic."},
    ],
    "tavily": [
        {"detail": {"error": "Your request was blocked due to excessive requests."}},
        {"results": [], "error": "upstream timed out"},
        {"results": [], "timed_out": "true"},
        {"detail": [{"loc": ["body"], "msg": "broken"}]},
    ],
    "brave": [
        {"type": "ErrorResponse", "error": {"status": 500, "code": "INTERNAL", "detail": "oops"}},
        {"type": "ErrorResponse"},
        {"type": "search", "web": {"results": []}, "errors": ["shard 3 is down"]},
    ],
    "exa": [
        {"requestId": "r", "error": "The search failed", "tag": "DEFAULT_ERROR"},
        {"results": [], "success": False},
        {"results": [], "success": "false"},
    ],
    "perplexity": [
        {"error": {"message": "The service is unavailable", "type": "internal", "code": 503}},
        {"results": [], "status": "error"},
    ],
    "remote": [
        {"error": "index not loaded"},
        {"result": [[]], "error": "index not loaded"},
        {"detail": "the encoder crashed"},
        {"result": None, "message": "CUDA out of memory"},
    ],
}


@pytest.mark.parametrize(
    ("name", "body"), [(n, body) for n, bodies in BLOCKED.items() for body in bodies]
)
def test_blocked_is_not_nothing_found(name: str, body: dict[str, Any]) -> None:
    error = raised(name, body)
    assert isinstance(error, TransientError)
    assert not error.down, "it may be the query"
    assert not error.paid


def test_a_complaint_is_asked_again_and_an_answer_ends_that() -> None:
    blocked = [Answer(body) for body in BLOCKED["searxng"][:2]]
    with LocalServer(lambda asked: blocked.pop() if blocked else api("searxng")(asked)) as server:
        [result] = ask(Reliable(WebEngine("searxng", base_url=server.url), QUICK), "q")
    assert len(result.documents) == 2
    assert (result.error, result.partial) == (None, None)
    assert len(server.asked) == 3


def test_a_complaint_that_does_not_end_is_a_failed_search_in_its_words() -> None:
    with LocalServer(lambda asked: Answer(BLOCKED["searxng"][0])) as server:
        [result] = ask(Reliable(WebEngine("searxng", base_url=server.url), QUICK), "q")
    assert result.error == "searxng has no results and says why: google: CAPTCHA, in 3 tries"
    assert result.documents == ()


def test_some_engines_that_were_blocked_are_named_beside_the_results() -> None:
    body = {
        "results": [{"url": "https://a", "content": "x"}],
        "unresponsive_engines": [["b", "timeout"]],
    }
    result = raised("searxng", body)
    assert isinstance(result, SearchResult)
    assert len(result.documents) == 1
    assert "did not answer: b: timeout" in str(result.partial)


LIMITED = [
    {"error": "Rate limit exceeded"},
    {"message": "Too many requests", "statusCode": 429},
    {"type": "ErrorResponse", "error": {"status": 429, "code": "RATE_LIMITED"}},
    {"detail": {"error": "Please slow down."}},
    {"errors": [{"message": "you may send 1 request per second"}]},
    {"code": "429"},
    {"message": "您的请求过于频繁，请稍后再试"},
    {"message": "Слишком много запросов"},
    {"rateLimited": True},
]
SPENT = [
    {"error": "Your account has run out of searches."},
    {"message": "Not enough credits", "statusCode": 400},
    {"detail": {"error": "This request exceeds your plan's set usage limit."}},
    {"error": {"code": 402, "message": "x"}},
    {"error": "Monthly quota exceeded", "status": 429},
    {"error": {"type": "insufficient_quota"}},
]
WRONG_KEY = [
    {"message": "Unauthorized.", "statusCode": 403},
    {"error": "Invalid API key. Your API key should be here: …"},
    {"error": {"message": "x", "code": 401}},
    {"type": "ErrorResponse", "error": {"code": "SUBSCRIPTION_TOKEN_INVALID"}},
]


@pytest.mark.parametrize("name", sorted({*APIS} - {"searxng"}))
def test_limits_plans_and_keys_are_told_apart_with_status_200_too(name: str) -> None:
    variable = DIALECTS[name].key_variable
    for body in LIMITED:
        error = raised(name, body)
        assert isinstance(error, TransientError)
        assert error.limited
    for body in SPENT:
        error = raised(name, body)
        assert isinstance(error, PermanentError)
        assert f"{variable} is used up" in str(error)
    for body in WRONG_KEY:
        error = raised(name, body)
        assert isinstance(error, PermanentError)
        assert f"check {variable}" in str(error)


@pytest.mark.parametrize(
    "value", ["gone", ["gone"], {"message": "gone"}, [{"detail": {"error": "gone"}}]]
)
@pytest.mark.parametrize("name", ["error", "errors", "message", "detail", "reason", "warnings", "ERROR"])
def test_a_reason_may_be_a_text_a_list_or_an_object(name: str, value: Any) -> None:
    found = complaint({"results": [], name: value})
    assert found is not None
    assert found.text == "gone"


@pytest.mark.parametrize(
    "value",
    [
        "",
        [],
        {},
        None,
        False,
        0,
        "OK",
        "success",
        "No results found.",
        [None],
        "Keine Ergebnisse",
        "没有找到结果",
    ],
)
def test_no_reason_is_none(value: Any) -> None:
    assert complaint({"results": [], "message": value, "status": "OK", "type": "search"}) is None


def test_reasons_of_any_size_and_depth_are_cut() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = {"error": [deep]}
    for value in ("x" * 10**6, ["x" * 300] * 10**5, {str(n): "x" for n in range(10**5)}, deep, 10**400):
        found = complaint({"error": value})
        assert found is None or len(found.text) <= 200


EMPTY: dict[str, list[dict[str, Any]]] = {
    "serper": [
        {
            "searchParameters": {"q": "q", "type": "search"},
            "answerBox": {"answer": "Lima"},
            "credits": 1,
        },
        {"searchParameters": {}, "organic": None, "peopleAlsoAsk": None},
        {"organic": []},
        {"organic": [None]},
        {"organic": {}},
        {"organic": [], "note": "Prices are in dollars.", "captcha": False},
    ],
    "serpapi": [
        {
            "search_metadata": {"status": "Success"},
            "error": "Google hasn't returned any results for this query.",
        },
        {"search_metadata": {"status": "Success"}, "organic_results": None},
        {"search_metadata": {"status": "Success"}, "answer_box": {"answer": "Lima"}},
        {"search_metadata": {"status": "Cached"}, "organic_results": []},
    ],
    "tavily": [{"query": "q", "answer": "Lima"}, {"results": None}, {"results": [], "images": []}],
    "brave": [
        {"type": "search", "query": {}},
        {"type": "search", "web": None},
        {"type": "search", "web": []},
        {"type": "search", "web": {"results": {}}},
        {"type": "search", "web": {"type": "search", "results": None}},
        {"type": "search", "infobox": {}, "web": {}},
    ],
    "exa": [{"requestId": "r"}, {"requestId": "r", "results": None}, {"results": []}],
    "searxng": [
        {"query": "q", "answers": ["Lima"], "unresponsive_engines": []},
        {"results": None, "unresponsive_engines": None},
        {"results": []},
    ],
    "perplexity": [{"id": "s", "results": None}, {"results": []}],
    "remote": [{"result": [[]]}, {"result": [None]}],
}


@pytest.mark.parametrize(("name", "body"), [(n, body) for n, bodies in EMPTY.items() for body in bodies])
def test_no_list_of_results_is_an_answer_without_documents(name: str, body: dict[str, Any]) -> None:
    result = raised(name, body)
    assert isinstance(result, SearchResult)
    assert (result.documents, result.error, result.partial) == ((), None, None)


def test_every_dialect_is_tried() -> None:
    assert {*BLOCKED} == {*EMPTY} == {*DIALECTS, "remote"}


def test_an_answer_box_is_paid_for_once() -> None:
    with LocalServer(lambda asked: Answer(EMPTY["serper"][0])) as server:
        [result] = ask(Reliable(WebEngine("serper", base_url=server.url), QUICK), "q")
    assert result.cost_usd == DIALECTS["serper"].price.usd
    assert len(server.asked) == 1


@pytest.mark.parametrize("name", DIALECTS)
def test_results_of_which_none_has_an_address_are_not_nothing_found(name: str) -> None:
    dialect = DIALECTS[name]
    for url in (None, "", 7):
        answer: Any = [{"title": "t", dialect.text: "x", dialect.url: url}]
        for part in reversed(dialect.rows):
            answer = {part: answer}
        error = raised(name, answer)
        assert isinstance(error, PermanentError)
        assert "no result has an address" in str(error)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("body", [{}, {"hello": "world"}, {"0": []}])
def test_an_answer_of_somebody_else_is_malformed(name: str, body: dict[str, Any]) -> None:
    error = raised(name, body)
    assert isinstance(error, PermanentError)
    assert error.reason == "malformed"


NUMBERS = ["1e999", "-1e999", "NaN", "9" * 400, "-" + "9" * 400, '"9"', "true", "[1]", "{}", "null"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:9])
def test_impossible_scores_and_prices_are_ignored(number: str) -> None:
    for dialect in DIALECTS.values():
        row: dict[str, Any] = {dialect.url: "https://a", "title": "t", "score": json.loads(number)}
        answer: dict[str, Any] = {"results": [row]}
        for name in reversed(dialect.rows):
            answer = {name: [row] if name == dialect.rows[-1] else answer}
        answer["costDollars"] = {"total": json.loads(number)}
        [document] = read_answer(dialect, answer, 3)
        assert document.score is None
        assert stated_cost(dialect, answer) == dialect.price.usd
    body = f'{{"result": [[{{"document": {{"contents": "x"}}, "score": {number}}}]]}}'.encode()
    result = raised("remote", body)
    assert isinstance(result, SearchResult)
    assert result.documents[0].score is None


def test_a_price_that_nobody_asks_is_not_believed() -> None:
    for total in (1e308, 10**30, -0.01):
        assert stated_cost(DIALECTS["exa"], {"costDollars": {"total": total}}) == 0.007
    assert stated_cost(DIALECTS["exa"], {"costDollars": {"total": 0.5}}) == 0.5
