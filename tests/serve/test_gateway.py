"""One engine behind every search API, over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import httpx2
import pytest

from innersearch.search.base import SearchRequest, SearchResult
from innersearch.search.curriculum import Curriculum
from innersearch.search.remote.dialects import DIALECTS
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.remote.web import WebEngine
from innersearch.serve.serving import Serving
from innersearch.testing import ScriptedEngine
from innersearch.types import Document, Source
from tests.serve.gateways import CUSCO, LIMA, gateway

FOUND = SearchResult((LIMA, CUSCO))


def engine() -> ScriptedEngine:
    return ScriptedEngine({"capital of Peru": FOUND, "broken": SearchResult(error="the index is gone")})


@pytest.mark.parametrize("name", DIALECTS)
def test_our_own_engines_read_what_is_served(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = DIALECTS[name]
    if dialect.key_variable:
        monkeypatch.setenv(dialect.key_variable, "any-key-at-all")
    with gateway(engine()) as client:
        web = WebEngine(name, base_url=f"{client.base_url}/{name}")
        [found, none, failed] = asyncio.run(_ask(web, "capital of Peru", "nothing known", "broken"))
    assert [document.title for document in found.documents] == ["Lima", "Cusco"]
    assert [document.text for document in found.documents] == [LIMA.text, CUSCO.text]
    urls = ["https://example.org/lima", "https://document.invalid/cusco"]
    assert [document.url for document in found.documents] == urls
    assert none == SearchResult(latency_s=none.latency_s, cost_usd=none.cost_usd)
    assert failed.error is not None
    assert not failed.documents


async def _ask(web: WebEngine | RemoteEngine, *queries: str) -> list[SearchResult]:
    try:
        return await web.search(queries, 3)
    finally:
        await web.close()


@pytest.mark.parametrize("singular", [False, True])
def test_our_own_retrieve_engine_reads_what_is_served(singular: bool) -> None:
    with gateway(engine()) as client:
        remote = RemoteEngine(str(client.base_url), singular=singular)
        found, none, failed = asyncio.run(_ask(remote, "capital of Peru", "nothing known", "broken"))
    assert found.documents == (LIMA, CUSCO)
    assert none.documents == ()
    assert none.error is None
    assert failed.error is not None
    if not singular:
        assert "the index is gone" in failed.error


def test_requests_that_are_wrong_get_the_error_of_their_api() -> None:
    wrong = [
        ("POST", "/serper/search", {}, 400, "message"),
        ("POST", "/serper/search", {"q": "x", "num": 0}, 400, "message"),
        ("GET", "/serpapi/search", {}, 400, "error"),
        ("POST", "/tavily/search", {"query": "x" * 401}, 400, "detail"),
        ("POST", "/tavily/search", {"query": "x", "max_results": 21}, 400, "detail"),
        ("GET", "/brave/res/v1/web/search", {"q": "x " * 51}, 422, "error"),
        ("GET", "/res/v1/web/search", {"q": "x", "count": "21"}, 422, "error"),
        ("POST", "/exa/search", {"query": ""}, 400, "error"),
        ("POST", "/perplexity/search", {"query": []}, 400, "error"),
        ("POST", "/v1/search", {"query": ["x"] * 6}, 400, "error"),
        ("GET", "/search", {"q": "x"}, 403, "error"),
        ("GET", "/searxng/search", {"format": "json"}, 400, "error"),
        ("POST", "/openwebui", {"count": 3}, 422, "detail"),
        ("POST", "/retrieve", {"topk": 3}, 422, "detail"),
        ("POST", "/retrieve", {"queries": ["x"], "topk": 101}, 422, "detail"),
        ("POST", "/retrieve", {"queries": ["x"] * 513}, 422, "detail"),
        ("POST", "/retrieve", {"queries": ["x" * 10_001]}, 422, "detail"),
        ("POST", "/retrieve", {"queries": ["x", 7]}, 422, "detail"),
    ]
    with gateway(engine()) as client:
        for method, path, values, status, field in wrong:
            sent = {"params": values} if method == "GET" else {"json": values}
            answer = client.request(method, path, **sent)
            assert (path, answer.status_code) == (path, status)
            assert answer.json()[field]
        assert client.post("/tavily/search", content=b"{").status_code == 400
        assert client.post("/retrieve", content=b"[" * 100_000).status_code == 422
        too_long = client.post("/tavily/search", json={"query": "x" * 401}).json()
    assert too_long["detail"]["error"] == "Query is too long. Max query length is 400 characters."


def test_a_failed_search_is_the_error_of_the_api_and_never_nothing_found() -> None:
    with gateway(engine()) as client:
        tavily = client.post("/tavily/search", json={"query": "broken"})
        searxng = client.get("/search", params={"q": "broken", "format": "json"})
        several = client.post("/retrieve", json={"queries": ["broken", "capital of Peru"], "topk": 1})
        metrics = client.get("/metrics").text
    assert (tavily.status_code, tavily.json()) == (502, {"detail": {"error": "the index is gone"}})
    assert searxng.json()["unresponsive_engines"] == [["innersearch", "the index is gone"]]
    assert several.json()["errors"] == ["the index is gone", None]
    assert 'innersearch_searches_total{outcome="failed"} 3.0' in metrics
    assert 'innersearch_requests_total{route="/tavily/search",status="502"} 1.0' in metrics


def test_who_wrote_an_answer_is_said() -> None:
    simulated = ScriptedEngine(
        {"x": ["made up"]},
        name="simulated",
        source=Source.SIMULATOR,
        identity={"engine": "simulated", "writer": "/models/qwen/", "seed": 7},
    )
    with gateway(simulated) as client:
        answer = client.post("/openwebui", json={"query": "x"})
    told = answer.headers["X-Innersearch-Engine"]
    assert told == "simulated; source=simulator; writer=qwen; seed=7"
    assert httpx2.URL(answer.json()[0]["link"]).host == "simulated.invalid"


def test_pages_of_results() -> None:
    many = ScriptedEngine({"x": [f"text {n}" for n in range(100)]})
    with gateway(many) as client:
        one = client.post("/serper/search", json={"q": "x", "num": 10, "page": 3}).json()
        brave = client.get("/res/v1/web/search", params={"q": "x", "count": 20, "offset": 1}).json()
        searxng = client.get("/search", params={"q": "x", "format": "json", "pageno": 2}).json()
        behind = client.get("/res/v1/web/search", params={"q": "x", "count": 20, "offset": 9})
    assert [row["snippet"] for row in one["organic"]] == [f"text {n}" for n in range(20, 30)]
    assert brave["web"]["results"][0]["description"] == "text 20"
    assert searxng["results"][0]["content"] == "text 10"
    assert "web" not in behind.json()


def test_lists_and_forms_and_bodies_without_a_type() -> None:
    with gateway(engine()) as client:
        listed = client.post("/serper/search", json=[{"q": "capital of Peru"}, {"q": "nothing known"}])
        form = client.post("/search", data={"q": "capital of Peru", "format": "json"})
        bare = client.post("/tavily/search", content=json.dumps({"query": "capital of Peru"}))
        several = client.post("/v1/search/any", json={"query": ["capital of Peru", "nothing known"]})
    assert [len(answer["organic"]) for answer in listed.json()] == [2, 0]
    for answer in (form, bare, several):
        assert len(answer.json()["results"]) == 2


class Told:
    """An engine that notes who asks."""

    name, source = "told", Source.SIMULATOR
    curriculum: Curriculum | None = None

    def __init__(self) -> None:
        self.identity = {"engine": "told"}
        self.asked: list[SearchRequest] = []

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        raise AssertionError("it wants to know who asks")

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        self.asked.append(asked)
        return SearchResult((Document("1", "", asked.query),))

    async def close(self) -> None:
        pass


def test_engines_are_told_question_and_step_and_draws_do_not_depend_on_the_order() -> None:
    session = {
        "question": "Who?",
        "golden_answers": ["Belira"],
        "group": "g",
        "repetition": 2,
        "step": 9,
    }
    names = []
    for queries in (["a", "b", "a"], ["b", "a", "a"]):
        told = Told()
        with gateway(told) as client:
            begun = client.post("/sessions", json=session).json()
            for query in queries:
                client.post(f"{begun['url']}/tavily/search", json={"query": query})
            by_header = {"X-Innersearch-Session": begun["id"]}
            client.post("/exa/search", json={"query": "c"}, headers=by_header)
            assert client.get(f"/sessions/{begun['id']}").json()["searches"] == 4
            client.post("/tavily/search", json={"query": "a"})
        *inside, outside = told.asked
        assert all(one.question and one.question.golden_answers == ("Belira",) for one in inside)
        assert {one.step for one in inside} == {9}
        assert outside == SearchRequest("a", identity=("a",))
        names.append({one.identity for one in inside})
    assert names[0] == names[1]
    assert len(names[0]) == 4


def test_an_engine_is_chosen_by_a_word_of_the_address() -> None:
    other = ScriptedEngine({"capital of Peru": ["from another"]}, name="other")
    with gateway(Serving(engine(), engines={"real": other})) as client:
        session = client.post("/sessions", json={"question": "Who?"}).json()["url"]
        for start in ("", session):
            query = {"query": "capital of Peru"}
            usual = client.post(f"{start}/tavily/search", json=query)
            chosen = client.post(f"{start}/with/real/tavily/search", json=query)
            assert len(usual.json()["results"]) == 2
            assert [row["content"] for row in chosen.json()["results"]] == ["from another"]
            assert chosen.headers["X-Innersearch-Engine"].startswith("other;")
        unknown = client.post("/with/rael/exa/search", json={"query": "x"})
    assert unknown.status_code == 404
    assert "known: real" in unknown.json()["error"]


def test_an_unknown_session_is_an_error_of_the_api() -> None:
    with gateway(engine()) as client:
        answer = client.post("/s/none/tavily/search", json={"query": "x"})
    assert answer.status_code == 404
    assert "POST /sessions" in answer.json()["detail"]["error"]


def test_an_engine_that_raises_is_a_failed_search() -> None:
    def fail(query: str) -> list[str]:
        raise OSError(f"secret {query}")

    with gateway(ScriptedEngine(fail)) as client:
        answer = client.post("/exa/search", json={"query": "x"})
    assert (answer.status_code, answer.json()["error"]) == (502, "scripted failed: OSError")


def test_the_routes_are_documented() -> None:
    with gateway(Serving(engine())) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert client.get("/docs").status_code == 200
    body = paths["/tavily/search"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["max_results"]["maximum"] == 20
    assert paths["/search"]["get"]["parameters"][0]["name"] == "q"
