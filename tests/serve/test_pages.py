"""Pages as APIs answer them, and MCP, over real connections; what is written is read back."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters

from innersearch.assemble.pages import open_pages, pages_beside
from innersearch.config import SearchSettings
from innersearch.errors import ConfigError
from innersearch.pages.base import Opened
from innersearch.pages.remote import DIALECTS, RemotePages
from innersearch.search.base import SearchResult
from innersearch.search.index.bm25 import BM25Engine
from innersearch.serve.pages import PART
from innersearch.serve.serving import Serving
from innersearch.testing import ScriptedEngine
from innersearch.types import Document, Source
from tests.pages.reading import Shelf, open_all
from tests.serve.gateways import CUSCO, LIMA, gateway, limited

PAGE = "https://a.example/lima"


def shelf() -> Shelf:
    return Shelf(
        {PAGE: "All of Lima. 利马", "cusco": "All of Cusco.", "down": Opened(error="it is down")}
    )


@pytest.fixture
def served() -> Iterator[httpx2.Client]:
    engine = ScriptedEngine({"Peru": SearchResult((LIMA, CUSCO)), "down": SearchResult(error="down")})
    with gateway(Serving(engine, parts={PART: shelf()})) as client:
        yield client


@pytest.mark.parametrize("name", ["remote", "tavily", "exa", "firecrawl"])
def test_our_own_pages_read_what_is_served(name: str, served: httpx2.Client) -> None:
    for start in ("", "/tavily") if name == "tavily" else ("",):
        pages = RemotePages(DIALECTS[name], f"{served.base_url}".rstrip("/") + start)
        found = open_all(pages, PAGE, "https://a.example/none", "https://document.invalid/cusco")
        texts = [one.page.text if one.page else None for one in found]
        assert texts == ["All of Lima. 利马", None, "All of Cusco."]
        assert found[0].page is not None
        assert found[0].page.title == f"About {PAGE}"
        assert found[1].missing


def post(client: httpx2.Client, path: str, body: Any) -> tuple[int, Any]:
    answer = client.post(path, json=body)
    return answer.status_code, answer.json()


def test_each_api_says_in_its_own_form_what_could_not_be_read(served: httpx2.Client) -> None:
    status, tavily = post(served, "/extract", {"urls": [PAGE, "none", "down"]})
    assert status == 200
    assert [row["url"] for row in tavily["results"]] == [PAGE]
    assert tavily["failed_results"] == [
        {"url": "none", "error": "no such page"},
        {"url": "down", "error": "it is down"},
    ]
    status, exa = post(served, "/contents", {"ids": [PAGE, "none"], "text": {"maxCharacters": 3}})
    assert [row["text"] for row in exa["results"]] == ["All"]
    assert [one["status"] for one in exa["statuses"]] == ["success", "error"]
    assert exa["statuses"][1]["error"] == {"tag": "CRAWL_NOT_FOUND", "httpStatusCode": 404}
    status, access = post(served, "/access", {"urls": ["none", PAGE]})
    assert access["result"][0] is None
    assert access["result"][1]["contents"] == "All of Lima. 利马"
    assert post(served, "/v1/scrape", {"url": "none"}) == (
        *(404, {"success": False, "error": "no such page"}),
    )
    assert served.post("/access", json={"urls": [PAGE]}).headers["X-Innersearch-Pages"] == "shelf"


@pytest.mark.parametrize("path", ["/extract", "/contents", "/access", "/v2/scrape"])
@pytest.mark.parametrize(
    "body", ["{}", "[]", "nonsense", '{"urls": 5}', '{"urls": [""]}', '{"url": ""}', '{"urls": []}']
)
def test_what_is_wrong_with_a_request_is_said_in_the_form_of_its_api(
    path: str, body: str, served: httpx2.Client
) -> None:
    answer = served.post(path, content=body)
    assert answer.status_code in (400, 422)
    assert isinstance(answer.json(), dict)


def test_more_pages_than_an_api_takes_are_refused(served: httpx2.Client) -> None:
    assert post(served, "/extract", {"urls": ["x"] * 21})[0] in (400, 422)
    assert post(served, "/access", {"urls": ["x"] * 101})[0] in (400, 422)


def test_there_are_no_routes_without_pages_and_pages_that_raise_are_failed_results() -> None:
    with gateway(ScriptedEngine({})) as client:
        assert client.post("/access", json={"urls": ["x"]}).status_code == 404

    class Broken(Shelf):
        async def open(self, addresses: Any) -> list[Opened]:
            raise RuntimeError("canary")

    broken = Broken({})
    with gateway(Serving(ScriptedEngine({}), parts={PART: broken})) as client:
        status, answer = post(client, "/extract", {"urls": ["x"]})
        assert (status, answer["results"]) == (200, [])
        assert "canary" not in str(answer)
    assert broken.closed


def test_pages_need_the_token_that_searches_need() -> None:
    serving = Serving(ScriptedEngine({}), token="the-token-of-a-test", parts={PART: shelf()})
    with gateway(serving) as client:
        for path in ("/access", "/extract", "/contents", "/v2/scrape", "/mcp"):
            assert client.post(path, json={"urls": [PAGE]}).status_code == 401
        bearer = {"Authorization": "Bearer the-token-of-a-test"}
        answer = client.post("/access", json={"urls": [PAGE]}, headers=bearer)
        assert answer.status_code == 200
        assert client.post(
            "/contents", json={"urls": [PAGE]}, headers={"x-api-key": serving.token or ""}
        )


def at(client: httpx2.Client, path: str) -> str:
    return str(client.base_url).rstrip("/") + path


def called(client: Client, name: str, **arguments: str) -> Any:
    return client.call_tool(name, arguments)


def test_mcp_over_http_finds_and_fetches(
    served: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with Client(at(served, "/mcp")) as client:
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == ["search", "fetch"]
            assert [list(tool.input_schema["properties"]) for tool in listed.tools] == [
                ["query"],
                ["id"],
            ]
            found = await called(client, "search", query="Peru")
            [text] = found.content
            assert json.loads(text.text) == found.structured_content
            first, second = found.structured_content["results"]
            assert (first["id"], first["url"], first["title"]) == ("lima", LIMA.url, "Lima")
            assert second["url"] == "https://document.invalid/cusco"
            # The page where there is one, else the document.
            page = (await called(client, "fetch", id="cusco")).structured_content
            assert (page["text"], page["metadata"]) == ("All of Cusco.", {"pages": "shelf"})
            assert (await called(client, "fetch", id=PAGE)).structured_content["url"] == PAGE
            document = (await called(client, "fetch", id="lima")).structured_content
            assert document["text"] == LIMA.text
            assert document["metadata"]["pages"].startswith("none")
            for name, arguments in (
                ("fetch", {"id": "secret-id"}),
                ("fetch", {"id": " "}),
                ("search", {"query": ""}),
                ("search", {"query": "down"}),
                ("search", {"query": "x" * 20_000}),
            ):
                assert (await client.call_tool(name, arguments)).is_error

    with caplog.at_level(logging.DEBUG, "innersearch"):
        asyncio.run(run())
    assert "secret-id" not in caplog.text


def test_mcp_answers_names_of_this_machine_only_unless_there_is_a_token(
    served: httpx2.Client,
) -> None:
    """A page in a browser could reach a server of this machine by a name that it points here."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    kinds = {"Accept": "application/json, text/event-stream"}
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"):
        answer = served.post("/mcp", json=body, headers={**kinds, "Host": host})
        # The guard of the whole server refuses it before MCP's own check would.
        assert answer.status_code == 403, host
    for origin in ("http://evil.example", "null"):
        answer = served.post("/mcp", json=body, headers={**kinds, "Origin": origin})
        assert answer.status_code == 403
    assert served.post("/mcp", json=body, headers=kinds).status_code == 200


def test_mcp_belongs_to_a_session_below_its_address() -> None:
    engine = ScriptedEngine({"Peru": SearchResult((LIMA,))})
    serving = Serving(engine)
    with gateway(serving) as client:
        session = client.post("/sessions", json={"question": "Where?"}).json()["id"]

        async def run() -> None:
            async with Client(at(client, f"/s/{session}/mcp")) as mcp:
                assert not (await called(mcp, "search", query="Peru")).is_error

        asyncio.run(run())
        assert serving.sessions.get(session).searches == 1
        assert client.post("/s/no-such-session/access", json={"urls": ["x"]}).status_code == 404


def test_mcp_takes_no_body_that_is_too_large() -> None:
    with gateway(Serving(ScriptedEngine({}), limits=limited(body_bytes=2_000))) as client:
        answer = client.post("/mcp", content=b"x" * 3_000)
        assert answer.status_code == 413


def test_what_a_model_made_up_is_fetched_by_its_address() -> None:
    engine = ScriptedEngine({"a": SearchResult((Document("1", "A", "Of a."),))})
    engine.source = Source.SIMULATOR

    async def run(url: str) -> None:
        async with Client(url) as client:
            [row] = (await called(client, "search", query="a")).structured_content["results"]
            assert row["id"] == row["url"]
            assert row["id"].startswith("https://simulated.invalid/")
            assert (await called(client, "fetch", id=row["id"])).structured_content["text"] == "Of a."

    with gateway(engine) as client:
        asyncio.run(run(at(client, "/mcp")))


def test_mcp_over_stdio_finds_and_fetches(tmp_path: Path) -> None:
    parts = [Document("Peru", "Peru", "A country."), Document("Peru/1", "Peru", "Lima.")]
    BM25Engine.build(parts, tmp_path / "i")
    words = ["-m", "innersearch", "mcp", f"bm25:{tmp_path / 'i'}"]
    command = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))

    async def run() -> None:
        async with Client(command) as client:
            found = await called(client, "search", query="country")
            [row] = found.structured_content["results"]
            page = (await called(client, "fetch", id=row["id"])).structured_content
            assert page["text"] == "A country.\n\nLima."

    asyncio.run(run())


def test_which_pages_stand_beside_an_engine_by_default() -> None:
    settings = SearchSettings(router="always", engine="x")
    documents = [Document("Peru", "Peru", "A country.")]
    corpus = pages_beside("", settings, BM25Engine.from_documents(documents))
    assert corpus is not None
    assert corpus.name == "corpus"
    engine = ScriptedEngine({})
    assert pages_beside("", settings, engine) is None
    engine.source = Source.WEB
    web = pages_beside("", settings, engine)
    assert web is not None
    assert web.name == "web"
    assert pages_beside("none", settings, engine) is None
    asyncio.run(web.close())
    with pytest.raises(ConfigError, match="no corpus"):
        pages_beside("corpus", settings, engine)
    assert open_pages("web", settings).name == "web"
