"""What is written as an API answers is read as what it was."""

from __future__ import annotations

import asyncio
import json
import math
import string
from collections.abc import AsyncIterator

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innersearch.search.addresses import address_of, identity_of
from innersearch.search.base import SearchResult
from innersearch.search.index.corpus import title_and_text
from innersearch.search.remote.apis import APIS
from innersearch.search.remote.dialects import document, read_answer
from innersearch.search.remote.requests import RetrieveQuery
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.types import Document, Source

REQUESTS = {
    "serper": {"q": "q", "num": 100},
    "serpapi": {"q": "q", "num": 100},
    "tavily": {"query": "q", "max_results": 20},
    "brave": {"q": "q"},
    "exa": {"query": "q", "numResults": 100, "contents": {"text": {"maxCharacters": 2_000}}},
    "perplexity": {"query": "q", "max_results": 20},
    "searxng": {"q": "q", "format": "json"},
}
SCORED = {"tavily": 0.0, "exa": None, "searxng": 0.0}
"""APIs with scores, and what they have for a document without one."""

text = st.text(max_size=60) | st.sampled_from(
    ["<b>&amp;amp;</b>", 'He said "hi"', "a\nb", "\\", "日本 \U0001f5fe"]
)
documents = st.lists(
    st.builds(
        Document,
        id=st.text(min_size=1, max_size=20).filter(str.strip),
        title=text,
        text=text,
        url=st.none()
        | st.text(min_size=1, max_size=30).filter(str.strip).map("https://example.org/{}".format),
        score=st.none() | st.floats(allow_infinity=True, allow_nan=True),
    ),
    max_size=8,
)


def over_the_wire(value: object) -> object:
    return json.loads(json.dumps(value, allow_nan=False).encode())


async def sent(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


def known_to(name: str, found: Document, source: Source) -> Document:
    """A document as far as an API has fields for it; whoever reads takes blanks off its ends."""
    address = address_of(found, source)
    score = found.score if found.score is not None and math.isfinite(found.score) else None
    if name not in SCORED:
        score = None
    elif score is None:
        score = SCORED[name]
    return document(address, found.title, found.text, address, score)


@pytest.mark.parametrize("name", REQUESTS)
@given(found=documents, source=st.sampled_from([Source.RETRIEVER, Source.SIMULATOR]))
@settings(max_examples=25, deadline=None)
def test_an_answer_is_read_as_it_was_written(name: str, found: list[Document], source: Source) -> None:
    api = APIS[name]
    assert api.dialect is not None
    asking = api.query.model_validate(REQUESTS[name]).asking()
    answer = over_the_wire(api.answers(asking, [SearchResult(tuple(found))], source))
    expected = [known_to(name, one, source) for one in found]
    assert read_answer(api.dialect, answer, 100) == expected


@given(found=st.lists(documents, min_size=1, max_size=4), singular=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_retrieve_answer_is_read_as_it_was_written(
    found: list[list[Document]], singular: bool
) -> None:
    found = found[:1] if singular else found
    queries = [f"q{n}" for n in range(len(found))]

    def answer(request: httpx2.Request) -> httpx2.Response:
        asking = RetrieveQuery.model_validate_json(request.content).asking()
        assert list(asking.queries) == queries
        results = [SearchResult(tuple(one)) for one in found]
        written = APIS["retrieve"].answers(asking, results, Source.RETRIEVER)
        return httpx2.Response(200, content=sent(json.dumps(written, allow_nan=False)))

    async def ask() -> list[SearchResult]:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
            engine = RemoteEngine("http://127.0.0.1:1", client=client, singular=singular)
            return await engine.search(queries, 8)

    expected = [
        [
            document(
                one.id,
                one.title,
                one.text,
                one.url,
                one.score if one.score is not None and math.isfinite(one.score) else None,
            )
            for one in part
        ]
        for part in found
    ]
    assert [list(result.documents) for result in asyncio.run(ask())] == expected


@given(
    title=st.text(string.ascii_letters + string.digits + ' "()', max_size=20),
    body=st.text(min_size=1, max_size=40),
)
@settings(max_examples=50, deadline=None)
def test_contents_hold_title_and_text_as_wiki_18_has_them(title: str, body: str) -> None:
    asking = RetrieveQuery(queries=["q"], topk=1, return_scores=False).asking()
    result = SearchResult((Document("7", title, body),))
    answer = APIS["retrieve"].answers(asking, [result], Source.RETRIEVER)
    [[row]] = answer["result"]
    assert title_and_text({"contents": row["contents"]}) == (" ".join(title.split()), body)


@pytest.mark.parametrize(
    ("request_", "shape"),
    [
        ({"queries": ["a", "b"], "topk": 1, "return_scores": True}, "wrapped"),
        ({"queries": ["a", "b"], "topk": 1, "return_scores": False}, "bare"),
        ({"queries": ["a", "b"], "topk": 1}, "bare"),
        ({"queries": ["a", "b"]}, "wrapped"),
        (
            {"queries": ["a", "b"], "topk_retrieval": 10, "topk_rerank": 1, "return_scores": True},
            "wrapped",
        ),
        ({"query": "a", "topk": 1, "return_scores": True}, "wrapped"),
        ({"query": "a", "top_k": 1}, "texts"),
    ],
)
def test_the_retrieve_variants_are_told_apart_by_their_keys(
    request_: dict[str, object], shape: str
) -> None:
    asking = RetrieveQuery.model_validate(request_).asking()
    assert asking.k == (3 if request_ == {"queries": ["a", "b"]} else 1)
    results = [SearchResult((Document("7", "Lima", "In Peru.", score=2.0),)) for _ in asking.queries]
    answer = APIS["retrieve"].answers(asking, results, Source.RETRIEVER)
    if shape == "texts":
        assert answer == [{"text": '"Lima"\nIn Peru.'}]
        return
    assert len(answer["result"]) == len(asking.queries)
    [row] = answer["result"][0]
    if shape == "wrapped":
        assert row["score"] == 2.0
        row = row["document"]
    assert row["contents"] == '"Lima"\nIn Peru.'
    assert row["id"] == "7"


@given(name=st.text(min_size=1, max_size=30))
def test_the_address_of_an_indexed_document_says_which_it_is(name: str) -> None:
    address = address_of(Document(name, "", ""))
    assert httpx2.URL(address).host == "document.invalid"
    assert identity_of(address) == name


def test_what_a_model_made_up_has_an_address_of_its_own() -> None:
    one, other = Document("1", "Lima", "It is in Peru."), Document("1", "Lima", "It is a bean.")
    assert address_of(one, Source.SIMULATOR) != address_of(other, Source.SIMULATOR)
    assert address_of(one, Source.SIMULATOR) == address_of(one, Source.SIMULATOR)
    assert httpx2.URL(address_of(one, Source.SIMULATOR)).host == "simulated.invalid"
    assert identity_of(address_of(one, Source.SIMULATOR)) is None
