"""Search APIs as data: where each is asked, how, what comes back, and what it costs.

A dialect says under which names an API takes the query and the number of results, what else is sent
with every request, where its key goes, and where titles, addresses and texts stand in its answer.
Nothing here talks to a network. Facts: the APIs' documentation as of November 2026.

Prices are list prices of one call at the smallest pay-as-you-go size. Where more results cost more
(Serper above 10, Exa above 10), no more are asked for.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from innersearch.types import Document

MAX_TEXT, MAX_TITLE, MAX_URL = 20_000, 1_000, 2_000
"""Longest text, title and address of a document from the network, in characters; the rest is cut off."""

MAX_PRICE_USD = 100.0
"""Highest price of one call that is believed."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Price:
    """What calls cost, as listed."""

    usd_per_1000: float
    listed: str
    """When and where."""

    @property
    def usd(self) -> float:
        """Of one call."""
        return self.usd_per_1000 / 1000


FREE = Price(0.0, "own instance")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One search API."""

    name: str
    path: str
    rows: tuple[str, ...]
    """Where the list of results stands in an answer; it may be missing or null if there are none."""
    marks: frozenset[str]
    """Fields, one of which stands in every answer of the API, results or not."""
    text: str
    """Name of the snippet in a result."""
    price: Price
    base_url: str | None = None
    """Public address; None where everybody runs their own."""
    method: Literal["GET", "POST"] = "POST"
    """GET sends parameters in the address, POST in a JSON body."""
    query: str = "query"
    count: str | None = None
    """Name of the number of results; None if it cannot be asked for."""
    url: str = "url"
    """Name of the address in a result, which becomes the id of the document."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Sent with every request."""
    key_variable: str | None = None
    """Environment variable that holds the key; None if the API has no keys."""
    key_header: str | None = "Authorization"
    """Header of the key; None sends it as the parameter `api_key`."""
    key_prefix: str = ""
    max_results: int = 10
    max_chars: int = 1_000
    """Longest query in characters: 400 is a limit of the API, 1,000 ours, as addresses have limits."""
    max_words: int | None = None
    cost: Callable[[Json], Any] | None = None
    """The price in US dollars that an answer itself states."""
    spent: str | None = None
    """Text of an HTTP 429 that means that the plan is used up, so that waiting is useless."""
    on_403: str | None = None
    """What to do about HTTP 403 where no key is wrong."""
    limited: Callable[[int, str], bool] | None = None
    """Whether a status and the beginning of what was said mean that calls come too often, as HTTP 429
    does everywhere."""
    escaped: bool = False
    """Whether titles and snippets hold HTML character references."""


SERPER = Dialect(
    "serper",
    "/search",
    ("organic",),
    frozenset(
        "searchParameters answerBox knowledgeGraph peopleAlsoAsk relatedSearches topStories credits "
        "organic".split()
    ),
    "snippet",
    Price(1.0, "2026, serper.dev: 50,000 for $50; $0.30 in the largest package"),
    "https://google.serper.dev",
    query="q",
    count="num",
    url="link",
    key_variable="SERPER_API_KEY",
    key_header="X-API-KEY",
)

SERPAPI = Dialect(
    "serpapi",
    "/search",
    ("organic_results",),
    frozenset(
        "search_metadata search_parameters search_information answer_box knowledge_graph "
        "related_questions related_searches organic_results".split()
    ),
    "snippet",
    Price(15.0, "2026, serpapi.com: 5,000 for $75"),
    "https://serpapi.com",
    method="GET",
    query="q",
    # Google no longer honours `num`: one page has about ten results.
    url="link",
    fixed={"engine": "google", "output": "json"},
    key_variable="SERPAPI_API_KEY",
    key_header=None,
    spent="run out of searches",
)

TAVILY = Dialect(
    "tavily",
    "/search",
    ("results",),
    frozenset("query results answer images response_time request_id follow_up_questions".split()),
    "content",
    Price(8.0, "2026, docs.tavily.com: one credit of $0.008 at basic depth"),
    "https://api.tavily.com",
    count="max_results",
    fixed={"search_depth": "basic"},
    key_variable="TAVILY_API_KEY",
    key_prefix="Bearer ",
    max_results=20,
    max_chars=400,
)

BRAVE = Dialect(
    "brave",
    "/res/v1/web/search",
    ("web", "results"),
    frozenset("type query mixed web infobox news faq videos discussions locations".split()),
    "description",
    Price(5.0, "September 2026, api-dashboard.search.brave.com: plan Search"),
    "https://api.search.brave.com",
    method="GET",
    query="q",
    count="count",
    fixed={"result_filter": "web", "text_decorations": "false"},
    key_variable="BRAVE_API_KEY",
    key_header="X-Subscription-Token",
    max_results=20,
    max_chars=400,
    max_words=50,
    escaped=True,
)

EXA = Dialect(
    "exa",
    "/search",
    ("results",),
    frozenset("requestId results resolvedSearchType searchType searchTime costDollars context".split()),
    "text",
    Price(7.0, "March 2026, exa.ai/docs: up to 10 results with text"),
    "https://api.exa.ai",
    count="numResults",
    fixed={"type": "auto", "contents": {"text": {"maxCharacters": 2_000}}},
    key_variable="EXA_API_KEY",
    key_header="x-api-key",
    cost=lambda answer: answer["costDollars"]["total"],
)

SEARXNG = Dialect(
    "searxng",
    "/search",
    ("results",),
    frozenset(
        "query results number_of_results answers corrections infoboxes suggestions "
        "unresponsive_engines".split()
    ),
    "content",
    FREE,
    method="GET",
    query="q",
    fixed={"format": "json"},
    max_results=20,
    on_403="allow json under search.formats in its settings.yml",
)

PERPLEXITY = Dialect(
    "perplexity",
    "/search",
    ("results",),
    frozenset("results id server_time".split()),
    "snippet",
    Price(5.0, "October 2026, docs.perplexity.ai: Search API"),
    "https://api.perplexity.ai",
    count="max_results",
    fixed={"max_tokens_per_page": 512},
    key_variable="PERPLEXITY_API_KEY",
    key_prefix="Bearer ",
    max_results=20,
)

DIALECTS = {d.name: d for d in (SERPER, SERPAPI, TAVILY, BRAVE, EXA, SEARXNG, PERPLEXITY)}
"""All dialects by name."""


def read_answer(dialect: Dialect, answer: object, k: int) -> list[Document]:
    """The first `k` documents of an answer, best first; results without an address are passed over.

    Raises:
        ValueError: It is no answer of the API, or its list of results holds something that is no result,
            or nothing that is one.
    """
    rows = _rows(dialect, answer)
    found = [row for row in rows if isinstance(url := row.get(dialect.url), str) and url.strip()]
    if rows and not found:
        raise ValueError(f"no result has an address, but {sorted(map(str, rows[0]))[:8]}")
    return [_document(dialect, row) for row in found[:k]]


def _rows(dialect: Dialect, answer: object) -> list[Json]:
    if not isinstance(answer, dict):
        raise ValueError("it is no JSON object")
    section: Any = answer
    for name in dialect.rows:
        if not isinstance(section, dict):
            raise ValueError(f"{dialect.rows[0]} is no object")
        section = section.get(name)
        # Some write an empty list as an object, and no object as an empty list.
        if section is None or section in ({}, [], "", False):
            # An answer box, or nothing at all, was found: that is an answer, and may be paid for.
            if dialect.marks.isdisjoint(answer):
                raise ValueError(f"no list of results, but {sorted(map(str, answer))[:8]}")
            return []
    if not isinstance(section, list):
        raise ValueError("its results are no list of objects")
    rows = [row for row in section if row is not None]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("its results are no list of objects")
    return rows


def _document(dialect: Dialect, row: Json) -> Document:
    url, title, text = row[dialect.url], row.get("title"), row.get(dialect.text)
    if dialect.escaped:
        title, text = (html.unescape(part) if isinstance(part, str) else "" for part in (title, text))
    return document(url, title, text, url, row.get("score"))


def stated_cost(dialect: Dialect, answer: object) -> float:
    """Price in US dollars of the call behind an answer: what it states itself, or the list price."""
    try:
        stated = dialect.cost(answer) if dialect.cost and isinstance(answer, dict) else None
    except (LookupError, TypeError):
        stated = None
    number = _number(stated)
    return number if number is not None and 0 <= number <= MAX_PRICE_USD else dialect.price.usd


def document(
    identity: str, title: object, text: object, url: str | None, score: object = None
) -> Document:
    """A document from the network: plain text of limited length, whatever was sent."""
    return Document(
        id=_plain(identity, MAX_URL),
        title=_plain(title, MAX_TITLE),
        text=_plain(text, MAX_TEXT),
        url=None if url is None else _plain(url, MAX_URL),
        score=_number(score),
    )


def _plain(value: object, limit: int) -> str:
    """Text of limited length without halves of surrogate pairs, which no file can hold."""
    if not isinstance(value, str):
        return ""
    return value[:limit].encode("utf-8", "replace").decode().strip()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def cut_query(query: str, max_chars: int, max_words: int | None = None) -> str:
    r"""A query on one line, within limits; the end is cut off between words where there are any.

    The beginning is kept, for there the question words and names stand.

    >>> cut_query("who  founded\nthe company Coltek", max_chars=17)
    'who founded the'
    >>> cut_query("a b c", max_chars=99, max_words=2)
    'a b'
    """
    words = query.encode("utf-8", "replace").decode().split()[:max_words]
    line = " ".join(words)
    if len(line) <= max_chars:
        return line
    return line[: max_chars + 1].rpartition(" ")[0] or line[:max_chars]
