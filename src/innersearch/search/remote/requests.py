"""What clients of the search APIs send, as models: which requests are right, and what they ask for.

The inverse of what `web` and `retrieve` send. Parameters that no engine of ours could honour (countries,
dates, domains, languages) are taken and left alone, as are those that the APIs do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_DEFAULT_K = 3
"""Documents per query of a `/retrieve` request that names no number, as Search-R1's servers have it."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request asks for, whatever API it came by."""

    queries: tuple[str, ...]
    k: int
    """Documents per query."""
    skip: int = 0
    """Documents before them, on earlier pages."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the answer depends on."""

    @property
    def query(self) -> str:
        """The only query, or the first one."""
        return self.queries[0]


class SearchQuery(BaseModel):
    """A request of any API."""

    model_config = ConfigDict(
        extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True, frozen=True
    )

    def asking(self) -> Asking:
        """What it asks for."""
        raise NotImplementedError


def _said(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty")
    return value


Query = Annotated[str, BeforeValidator(_said)]


class SerperQuery(SearchQuery):
    """Serper, `POST /search`."""

    q: Query
    """What is searched for."""
    num: int = Field(10, ge=1, le=100)
    """Number of results."""
    page: int = Field(1, ge=1, le=100)
    """Which page of results."""
    gl: str | None = None
    hl: str | None = None
    location: str | None = None
    tbs: str | None = None
    type: Literal["search"] = "search"

    def asking(self) -> Asking:
        """What it asks for."""
        given = self.model_dump(exclude_none=True, exclude={"num", "page"} - self.model_fields_set)
        return Asking((self.q,), self.num, (self.page - 1) * self.num, given)


class SerpApiQuery(SearchQuery):
    """SerpAPI, `GET /search`."""

    q: Query
    """What is searched for."""
    engine: str = "google"
    num: int = Field(10, ge=1, le=100)
    """Number of results."""
    start: int = Field(0, ge=0, le=1_000)
    """Results to leave out."""
    output: Literal["json"] = "json"
    gl: str | None = None
    hl: str | None = None
    location: str | None = None

    def asking(self) -> Asking:
        """What it asks for."""
        given = self.model_dump(exclude_none=True, exclude={"num", "start"} - self.model_fields_set)
        return Asking((self.q,), self.num, self.start, given)


class TavilyQuery(SearchQuery):
    """Tavily, `POST /search`."""

    query: Query
    """What is searched for; at most 400 characters."""
    max_results: int = Field(5, ge=0, le=20)
    """Number of results."""
    search_depth: Literal["basic", "advanced", "fast", "ultra-fast"] = "basic"
    topic: Literal["general", "news", "finance"] = "general"
    include_raw_content: bool | Literal["markdown", "text"] = False
    """Whether results hold their texts a second time, as `raw_content`."""
    include_answer: bool | Literal["basic", "advanced"] = False
    """Taken; there is never an answer."""
    include_usage: bool = False

    def asking(self) -> Asking:
        """What it asks for."""
        options = {"raw": bool(self.include_raw_content), "usage": self.include_usage}
        return Asking((self.query,), self.max_results, 0, options)


class BraveQuery(SearchQuery):
    """Brave, `GET /res/v1/web/search`."""

    q: Query
    """What is searched for; at most 400 characters and 50 words."""
    count: int = Field(20, ge=1, le=20)
    """Number of results."""
    offset: int = Field(0, ge=0, le=9)
    """Pages to leave out."""

    def asking(self) -> Asking:
        """What it asks for."""
        return Asking((self.q,), self.count, self.offset * self.count)


class ExaQuery(SearchQuery):
    """Exa, `POST /search`."""

    query: Query
    """What is searched for."""
    numResults: int = Field(10, ge=1, le=100)
    """Number of results."""
    type: str = "auto"
    contents: dict[str, Any] | None = None
    """What results hold besides title and address: `text`, `highlights`, `summary`."""

    def asking(self) -> Asking:
        """What it asks for."""
        return Asking((self.query,), self.numResults, 0, self.contents or {})


class PerplexityQuery(SearchQuery):
    """Perplexity, `POST /search`; LiteLLM's unified format is the same."""

    query: Query | Annotated[list[Query], Field(min_length=1, max_length=5)]
    """What is searched for: one query, or up to five."""
    max_results: int = Field(10, ge=1, le=20)
    """Number of results of each query."""

    def asking(self) -> Asking:
        """What it asks for."""
        queries = (self.query,) if isinstance(self.query, str) else tuple(self.query)
        return Asking(queries, self.max_results)


class SearxngQuery(SearchQuery):
    """SearXNG, `GET /search` or a form by `POST`."""

    q: Query
    """What is searched for."""
    format: Literal["json"]
    """`json`, the only format that is served."""
    pageno: int = Field(1, ge=1, le=50)
    """Which page of results."""
    categories: str = "general"

    def asking(self) -> Asking:
        """What it asks for; how many results a page has is the server's business."""
        return Asking((self.q,), 10, 10 * (self.pageno - 1), {"categories": self.categories})


class OpenWebUiQuery(SearchQuery):
    """Open WebUI's external search engine."""

    query: Query
    """What is searched for."""
    count: int = Field(5, ge=1, le=100)
    """Number of results."""

    def asking(self) -> Asking:
        """What it asks for."""
        return Asking((self.query,), self.count)


class RetrieveQuery(SearchQuery):
    """The `/retrieve` servers of the Search-R1 family; their keys tell six of them apart."""

    queries: list[str] | None = Field(None, min_length=1)
    """Queries of a batch."""
    query: str | None = None
    """The only query, as SkyRL and ZeroSearch send it."""
    topk: int | None = Field(None, ge=1)
    """Documents per query: Search-R1, SkyRL, ASearcher."""
    top_k: int | None = Field(None, ge=1)
    """The same as ZeroSearch calls it."""
    topk_retrieval: int | None = Field(None, ge=1)
    """Documents that a reranker is given."""
    topk_rerank: int | None = Field(None, ge=1)
    """Documents that it keeps."""
    return_scores: bool | None = None
    """Whether each document is wrapped, with its score: by default only where nothing else is said."""

    @model_validator(mode="after")
    def _asks(self) -> RetrieveQuery:
        if (self.queries is None) == (self.query is None):
            raise ValueError("send either 'queries', a list, or 'query', a text")
        return self

    def asking(self) -> Asking:
        """What it asks for."""
        queries = (self.query,) if self.query is not None else tuple(self.queries or ())
        counts = (self.topk_rerank, self.topk, self.top_k, self.topk_retrieval)
        k = next((count for count in counts if count), _DEFAULT_K)
        # ZeroSearch's client says top_k and nothing else.
        texts = self.query is not None and self.topk is None and self.return_scores is None
        bare = self.return_scores is False
        if self.return_scores is None:
            # Web servers are sent nothing but queries, and wrap; the retriever is told how many.
            bare = any(counts)
        return Asking(queries, k, 0, {"texts": texts and self.top_k is not None, "bare": bare})
