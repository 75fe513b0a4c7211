"""Public clients of the search APIs, from PyPI as they are, at our address: `make test-clients`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from innersearch.search.base import SearchResult
from innersearch.serve.serving import Serving
from innersearch.testing import ScriptedEngine
from tests.serve.gateways import CUSCO, LIMA, gateway

pytestmark = pytest.mark.clients

TOKEN = "canary-90cc1d"
QUERY = "capital of Peru"


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a gateway that wants a token."""
    engine = ScriptedEngine({QUERY: SearchResult((LIMA, CUSCO)), "broken": SearchResult(error="gone")})
    with gateway(Serving(engine, token=TOKEN)) as client:
        yield str(client.base_url).rstrip("/")


def test_tavily(url: str) -> None:
    from tavily import TavilyClient
    from tavily.errors import BadRequestError, InvalidAPIKeyError

    client = TavilyClient(api_key=TOKEN, api_base_url=f"{url}/tavily")
    found = client.search(QUERY, max_results=2, include_raw_content=True)
    assert [row["content"] for row in found["results"]] == [LIMA.text, CUSCO.text]
    assert found["results"][0]["raw_content"] == LIMA.text
    with pytest.raises(BadRequestError, match="too long"):
        client.search("x" * 401)
    with pytest.raises(InvalidAPIKeyError):
        TavilyClient(api_key="another-key", api_base_url=f"{url}/tavily").search(QUERY)


def test_exa(url: str) -> None:
    from exa_py import Exa

    client = Exa(TOKEN, base_url=f"{url}/exa")
    found = client.search(QUERY, num_results=2, contents={"text": True})
    assert [(row.title, row.text) for row in found.results] == [
        ("Lima", LIMA.text),
        ("Cusco", CUSCO.text),
    ]
    assert found.results[0].score == 2.5
    with pytest.raises(ValueError, match="gone"):
        client.search("broken")


def test_serpapi(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import serpapi

    monkeypatch.setattr(serpapi.Client, "BASE_DOMAIN", f"{url}/serpapi")
    found = serpapi.Client(api_key=TOKEN).search(engine="google", q=QUERY)
    assert found["organic_results"][0]["link"] == LIMA.url
    with pytest.raises(serpapi.HTTPError):
        serpapi.Client(api_key="another-key").search(engine="google", q=QUERY)


def test_perplexity(url: str) -> None:
    from perplexity import AuthenticationError, Perplexity

    found = Perplexity(api_key=TOKEN, base_url=f"{url}/perplexity").search.create(query=QUERY)
    assert [row.snippet for row in found.results] == [LIMA.text, CUSCO.text]
    with pytest.raises(AuthenticationError):
        Perplexity(api_key="another-key", base_url=f"{url}/perplexity").search.create(query=QUERY)


def test_langchain_brave(url: str) -> None:
    from langchain_community.tools import BraveSearch
    from langchain_community.utilities import BraveSearchWrapper
    from pydantic import SecretStr

    wrapper = BraveSearchWrapper(api_key=SecretStr(TOKEN), base_url=f"{url}/brave/res/v1/web/search")
    found = json.loads(BraveSearch(search_wrapper=wrapper).run(QUERY))
    assert found[0] == {"title": "Lima", "link": LIMA.url, "snippet": LIMA.text}


def test_langchain_searxng(url: str) -> None:
    from langchain_community.tools import SearxSearchResults
    from langchain_community.utilities import SearxSearchWrapper

    bearer = {"Authorization": f"Bearer {TOKEN}"}
    wrapper = SearxSearchWrapper(searx_host=f"{url}/searxng", headers=bearer)
    assert wrapper.results(QUERY, num_results=2)[0]["link"] == LIMA.url
    assert LIMA.text in SearxSearchResults(wrapper=wrapper, num_results=2).run(QUERY)


def test_a_client_in_a_session(url: str) -> None:
    import httpx2
    from tavily import TavilyClient

    bearer = {"Authorization": f"Bearer {TOKEN}"}
    begun = httpx2.post(f"{url}/sessions", json={"question": "Who?"}, headers=bearer).json()
    client = TavilyClient(api_key=TOKEN, api_base_url=f"{begun['url']}/tavily")
    assert len(client.search(QUERY)["results"]) == 2
    looked = httpx2.get(f"{url}/sessions/{begun['id']}", headers=bearer).json()
    assert looked["searches"] == 1
