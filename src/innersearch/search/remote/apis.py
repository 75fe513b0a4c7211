"""Search APIs the other way round: what a server must be given and say to be taken for one of them.

A row beside each dialect: the requests it takes, the inverse of how its answers are read, the form of
its errors, and the paths on which it is served. Facts: the APIs' documentation as of November 2026, and
what their own clients read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from innersearch.search.base import SearchResult
from innersearch.search.remote import answers
from innersearch.search.remote.dialects import DIALECTS, Dialect
from innersearch.search.remote.requests import (
    Asking,
    BraveQuery,
    ExaQuery,
    OpenWebUiQuery,
    PerplexityQuery,
    RetrieveQuery,
    SearchQuery,
    SearxngQuery,
    SerpApiQuery,
    SerperQuery,
    TavilyQuery,
)
from innersearch.types import Source

Refuse = Callable[[int, str], tuple[int, Any]]
"""Status and message → status and JSON body of an error."""


@dataclass(frozen=True, slots=True)
class Api:
    """One API as it is served."""

    name: str
    routes: tuple[str, ...]
    """Where it is served; what the clients of the API add to a base address stands at their end."""
    methods: tuple[str, ...]
    query: type[SearchQuery]
    """What requests are right, and what they ask for."""
    answers: Callable[[Asking, Sequence[SearchResult], Source], Any]
    """The JSON of an answer, the inverse of how we read it."""
    refuses: Refuse
    example: str
    """Arguments of curl, behind the address, with `{route}` where that stands."""
    dialect: Dialect | None = None
    """How we read it; None for `/retrieve`, and where nobody but others does."""
    batches: bool = False
    """Whether a body may be a list of requests."""
    tells_failures: bool = False
    """Whether an answer has a place for queries that failed."""

    @property
    def max_chars(self) -> int | None:
        """Longest query in characters, where the API itself has a limit."""
        return 400 if self.name in ("tavily", "brave") else None

    @property
    def max_words(self) -> int | None:
        """Longest query in words, where the API has a limit."""
        return self.dialect.max_words if self.dialect else None


def _serper(status: int, message: str) -> tuple[int, Any]:
    status = {401: 403, 422: 400, 402: 400}.get(status, status)
    said = "Unauthorized." if status == 403 else message
    return status, {"message": said, "statusCode": status}


def _serpapi(status: int, message: str) -> tuple[int, Any]:
    status = {422: 400, 402: 429}.get(status, status)
    said = "Your account has run out of searches. " if status == 429 and "budget" in message else ""
    return status, {"error": said + ("Invalid API key." if status == 401 else message)}


def _tavily(status: int, message: str) -> tuple[int, Any]:
    status = {422: 400, 402: 432}.get(status, status)
    return status, {"detail": {"error": message}}


_BRAVE_CODES = {401: "SUBSCRIPTION_TOKEN_INVALID", 422: "VALIDATION", 429: "RATE_LIMITED"}


def _brave(status: int, message: str) -> tuple[int, Any]:
    status = {400: 422, 402: 429}.get(status, status)
    error = {"code": _BRAVE_CODES.get(status, "INTERNAL"), "detail": message}
    # A wrong token is a request that is wrong.
    status = 422 if status == 401 else status
    return status, {"type": "ErrorResponse", "error": {**error, "status": status}}


_EXA_TAGS = {400: "INVALID_REQUEST_BODY", 401: "INVALID_API_KEY", 402: "NO_MORE_CREDITS"}


def _exa(status: int, message: str) -> tuple[int, Any]:
    status = {422: 400}.get(status, status)
    tag = _EXA_TAGS.get(status, "RATE_LIMIT_EXCEEDED" if status == 429 else "INTERNAL_ERROR")
    return status, {"requestId": "", "error": message, "tag": tag}


def _perplexity(status: int, message: str) -> tuple[int, Any]:
    status = {422: 400}.get(status, status)
    kind = {400: "invalid_request", 401: "invalid_api_key", 429: "rate_limit"}.get(status, "error")
    return status, {"error": {"message": message, "type": kind, "code": status}}


def _searxng(status: int, message: str) -> tuple[int, Any]:
    # Its instances answer so where JSON is switched off.
    status = 403 if status == 422 and message.startswith("format") else {422: 400}.get(status, status)
    return status, {"error": message}


def _fastapi(status: int, message: str) -> tuple[int, Any]:
    return status, {"detail": message}


_JSON = "-H 'content-type: application/json' -d"

_OTHERS = (
    Api(
        "retrieve",
        ("/retrieve",),
        ("POST",),
        RetrieveQuery,
        answers.retrieve,
        _fastapi,
        f'{{route}} {_JSON} \'{{"queries": ["QUERY"], "topk": 3, "return_scores": true}}\'',
        tells_failures=True,
    ),
    Api(
        "openwebui",
        ("/openwebui",),
        ("POST",),
        OpenWebUiQuery,
        answers.open_webui,
        _fastapi,
        f'{{route}} {_JSON} \'{{"query": "QUERY", "count": 3}}\'',
    ),
)

_WEB = (
    Api(
        "serper",
        ("/serper/search",),
        ("POST", "GET"),
        SerperQuery,
        answers.serper,
        _serper,
        f'{{route}} {_JSON} \'{{"q": "QUERY"}}\'',
        batches=True,
    ),
    Api(
        "serpapi",
        ("/serpapi/search", "/serpapi/search.json"),
        ("GET",),
        SerpApiQuery,
        answers.serpapi,
        _serpapi,
        "-G {route} --data-urlencode 'q=QUERY'",
    ),
    Api(
        "tavily",
        ("/tavily/search",),
        ("POST",),
        TavilyQuery,
        answers.tavily,
        _tavily,
        f'{{route}} {_JSON} \'{{"query": "QUERY"}}\'',
    ),
    Api(
        "brave",
        ("/brave/res/v1/web/search", "/res/v1/web/search"),
        ("GET",),
        BraveQuery,
        answers.brave,
        _brave,
        "-G {route} --data-urlencode 'q=QUERY'",
    ),
    Api(
        "exa",
        ("/exa/search",),
        ("POST",),
        ExaQuery,
        answers.exa,
        _exa,
        f'{{route}} {_JSON} \'{{"query": "QUERY", "contents": {{"text": true}}}}\'',
    ),
    Api(
        "perplexity",
        ("/perplexity/search", "/v1/search", "/v1/search/{tool}"),
        ("POST",),
        PerplexityQuery,
        answers.perplexity,
        _perplexity,
        f'{{route}} {_JSON} \'{{"query": "QUERY"}}\'',
    ),
    Api(
        "searxng",
        # Some clients ask an instance at its root.
        ("/searxng/search", "/search", "/searxng", "/searxng/"),
        ("GET", "POST"),
        SearxngQuery,
        answers.searxng,
        _searxng,
        "-G {route} --data-urlencode 'q=QUERY' -d format=json",
        tells_failures=True,
    ),
)

APIS = {api.name: api for api in (*_OTHERS, *(replace(api, dialect=DIALECTS[api.name]) for api in _WEB))}
"""Every API that can be served, by name."""
