"""Pages of a corpus, pages that endpoints read, and what is kept of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from innersearch.assemble.pages import open_pages
from innersearch.config import SearchSettings
from innersearch.errors import ConfigError, SearchError
from innersearch.grammar import Action
from innersearch.net.patience import CallSettings
from innersearch.pages.base import MOST, Opened, Page, same
from innersearch.pages.cached import CachedPages
from innersearch.pages.corpus import CorpusPages
from innersearch.pages.remote import DIALECTS, RemotePages
from innersearch.search.index.bm25 import BM25Engine
from innersearch.search.wrappers.budget import Budget
from innersearch.search.wrappers.cached import CachedEngine
from innersearch.tools.base import State, ToolRequest
from innersearch.types import Document
from tests.pages.reading import Shelf, open_all
from tests.search_servers import Answer, Asked, LocalServer, ask

DOCUMENTS = (
    Document("Peru", "Peru", "Peru is a country."),
    Document("Chile/0", "Chile", "Chile is long."),
    Document("Peru/1", "Peru", "Its capital is Lima."),
    Document("a1", "Lima", "Lima is large.", "https://Example.org/wiki/Lima"),
    Document("a2", "Lima", "Lima is old.", "https://example.org/wiki/Lima#history"),
    Document("Chile/1", "Chile", "Its capital is Santiago."),
    Document("17", "A number", "By its id alone."),
)


def texts(opened: list[Opened]) -> list[str | None]:
    return [one.page.text if one.page else None for one in opened]


def test_a_page_is_the_documents_of_its_address_or_id_in_their_order() -> None:
    pages = CorpusPages(DOCUMENTS, {"documents_sha256": "x"})
    found = open_all(
        pages,
        *("Peru", " Peru/1 ", "Chile", "Chile/1", "https://example.org/wiki/Lima/"),
        *("https://EXAMPLE.org/wiki/Lima#geography", "a2", "17", "Bolivia", "", "Peru/7"),
    )
    peru, chile = (
        "Peru is a country.\n\nIts capital is Lima.",
        "Chile is long.\n\nIts capital is Santiago.",
    )
    lima = "Lima is large.\n\nLima is old."
    assert texts(found) == [peru, peru, chile, chile, lima, lima, lima, "By its id alone.", *[None] * 3]
    assert found[0].page == Page("Peru", "Peru", peru)
    assert all(one.missing and "no page of that address" in str(one.error) for one in found[-3:])
    assert pages.identity == {"pages": "corpus", "corpus_documents_sha256": "x"}


def test_a_page_is_cut_at_its_longest_text() -> None:
    pages = CorpusPages([Document("a", "A", "x" * (MOST + 9))], {})
    [opened] = open_all(pages, "a")
    assert opened.page is not None
    assert len(opened.page.text) == MOST


def test_the_corpus_of_an_engine_is_found_below_what_is_around_it(tmp_path: Path) -> None:
    async def run() -> list[Opened]:
        engine = CachedEngine(BM25Engine.from_documents(DOCUMENTS), tmp_path / "c.sqlite")
        pages = open_pages("corpus", SearchSettings(), engine)
        try:
            return await pages.open(["Chile"])
        finally:
            await pages.close()
            await engine.close()

    assert texts(asyncio.run(run())) == ["Chile is long.\n\nIts capital is Santiago."]


def test_the_corpus_may_be_a_file_or_an_index(tmp_path: Path) -> None:
    BM25Engine.build(DOCUMENTS, tmp_path / "index")
    (tmp_path / "corpus.jsonl").write_text('{"id": "x", "title": "X", "text": "Some text."}\n')
    for place, address, text in (
        ("index", "Chile", "Chile is long.\n\nIts capital is Santiago."),
        ("corpus.jsonl", "x", "Some text."),
    ):
        pages = open_pages(f"corpus:{tmp_path / place}", SearchSettings())
        assert pages.identity["corpus_documents_sha256"]
        assert texts(open_all(pages, address)) == [text]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", r"no pages 'nowhere'; known: corpus, exa"),
        ("webb", "did you mean 'web'"),
        ("remote", "lack their place: write remote:URL"),
        ("remote:ftp://x", "must begin with http"),
        ("remote:http://me:secret@host", "no user or password"),
        ("web:example.org", "write web"),
        ("web#alow=x", "did you mean 'allow'"),
        ("web#robots=maybe", "robots=no"),
        ("corpus:/no/such/file", "no/such/file"),
        ("tavily", "set the environment variable TAVILY_API_KEY"),
        ("remote:http://127.0.0.1:1#key=NO_SUCH_KEY", "NO_SUCH_KEY"),
        ("jina#kye=x", "key=VARIABLE"),
    ],
)
def test_pages_that_there_are_not_are_said_in_one_line(
    name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    with pytest.raises((ConfigError, SearchError), match=why) as caught:
        open_pages(name, SearchSettings())
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_engine_without_a_corpus_here_is_said() -> None:
    with pytest.raises(ConfigError, match="shelf has no corpus on this machine"):
        open_pages("corpus", SearchSettings(), Shelf({}))  # type: ignore[arg-type]


ANSWERS: dict[str, tuple[str, Any, Any]] = {
    "remote": ("/access", {"result": [{"contents": "Lima", "title": "Peru"}]}, {"result": [None]}),
    "jina": (
        "/",
        {"code": 200, "data": {"title": "Peru", "content": "Lima", "links": {"a": "b"}}},
        None,
    ),
    "firecrawl": ("/v2/scrape", {"data": {"markdown": "Lima", "metadata": {"title": "Peru"}}}, None),
    "tavily": ("/extract", {"results": [{"title": "Peru", "raw_content": "Lima"}]}, {"results": []}),
    "exa": ("/contents", {"results": [{"title": "Peru", "text": "Lima"}]}, {"results": []}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_endpoints_are_asked_and_read(name: str) -> None:
    path, answer, nothing = ANSWERS[name]
    given = [answer, nothing, {"odd": 1}, [], {"result": 5, "data": 5, "results": 5}]

    def served(asked: Asked) -> Answer:
        assert asked.path == path
        assert "http://a.example/x" in str(asked.values)
        return Answer(given[len(server.asked) - 1])

    with LocalServer(served) as server:
        calls = CallSettings(tries=5, backoff_s=0.001)
        pages = RemotePages(DIALECTS[name], server.url, calls=calls)
        address = "http://a.example/x"

        async def run() -> list[Opened]:
            found = [(await pages.open([address]))[0] for _ in given]
            await pages.close()
            return found

        first, second, *others = asyncio.run(run())
    assert first.page is not None
    assert (first.page.title, first.page.text, first.page.address) == ("Peru", "Lima", address)
    assert second.page is None
    assert all(one.page is None and one.error for one in others)
    if nothing is not None:
        assert second.missing
    assert not any(one.missing for one in others[1:])


def test_an_endpoint_that_fails_is_data_and_takes_from_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRECRAWL_API_KEY", "canary-key-of-the-reader")
    statuses = [503, 200, 404, 401]

    def served(asked: Asked) -> Answer:
        assert "authorization" not in asked.headers
        page = {"data": {"markdown": "Lima", "metadata": None}}
        return Answer(page, statuses[min(len(server.asked), 4) - 1])

    with LocalServer(served) as server:
        budget = Budget(calls=4)
        calls = CallSettings(tries=5, backoff_s=0.001)
        pages = RemotePages(DIALECTS["firecrawl"], server.url, calls=calls, budget=budget)

        async def run() -> list[Opened]:
            found = [(await pages.open([f"http://a.example/{n}"]))[0] for n in range(4)]
            await pages.close()
            return found

        good, gone, refused, _ = asyncio.run(run())
    assert texts([good]) == ["Lima"]
    assert gone.missing
    assert "401" in str(refused.error)
    assert not refused.missing
    assert "canary" not in str([gone, refused])


def test_pages_are_kept_beside_the_answers_of_an_engine_and_replayed(tmp_path: Path) -> None:
    cache = tmp_path / "cache.sqlite"
    shelf = Shelf({"a": "the page", "b": Opened(error="it is down"), "c": ""})
    engine = CachedEngine(BM25Engine.from_documents(DOCUMENTS), cache)
    [answered] = ask(engine, "a", k=1)

    first = open_all(CachedPages(shelf, cache), "a", "b", "none", "a ")
    assert texts(first) == ["the page", None, None, "the page"]
    assert [one.missing for one in first] == [False, False, True, False]
    again = open_all(CachedPages(shelf, cache), "a", "b")
    assert texts(again) == ["the page", None]
    assert shelf.asked == ["a", "b", "none", "b"]

    replayed = open_all(CachedPages(shelf, cache, "replay"), "a", "b")
    assert replayed[0] == first[0]
    assert "is missing: record it" in str(replayed[1].error)
    assert shelf.asked == ["a", "b", "none", "b"]
    assert ask(CachedEngine(None, cache, "replay"), "a", k=1) == [answered]


def test_a_page_that_cannot_be_read_any_more_does_not_replace_the_one_that_was(tmp_path: Path) -> None:
    cache = tmp_path / "cache.sqlite"
    good = Page("a", "A", "what stood there", ("http://x.example/",))
    open_all(CachedPages(Shelf({"a": Opened(good, latency_s=0.5)}), cache), "a")
    for later in (Opened(error="down"), Opened(error="the page has no text", missing=True)):
        open_all(CachedPages(Shelf({"a": later}), cache, "refresh"), "a")
        [kept] = open_all(CachedPages(Shelf({}), cache, "replay"), "a")
        assert kept == Opened(good, latency_s=0.5)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("https://a.example/x", "HTTPS://A.example/x/#y", True),
        ("https://a.example/x?q=1", "https://a.example/x?q=2", False),
        ("https://a.example/x", "https://a.example/X", False),
        ("http://a.example/x", "https://a.example/x", False),
        ("doc 1", " doc\n1 ", True),
        ("doc#1", "doc#2", False),
    ],
)
def test_which_addresses_are_the_same(one: str, other: str, alike: bool) -> None:
    assert (same(one) == same(other)) == alike


def test_the_pages_of_the_docs_are_opened() -> None:
    text = (Path(__file__).parents[2] / "docs" / "pages.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/pages.md", "exec"), names)

    async def run() -> Any:
        return await names["tool"].use(Action("open", ("Peru", "x")), ToolRequest("Peru"), State())

    outcome = asyncio.run(run())
    assert outcome.results[0].documents[0].text == "Peru is a country. Its capital is Lima."
    assert outcome.calls[1].error == "no note"
