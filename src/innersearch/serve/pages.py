"""Pages by address, as the APIs that read them answer: Tavily's `/extract`, Exa's `/contents`,
Firecrawl's `/scrape`, and the `/access` of ASearcher's search server.

They are the pages of the corpus that is served, of the web behind its guard, or of another endpoint; a
page that cannot be read is a failed result, as each API writes it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from innersearch.pages.base import MAX_ADDRESS, Opened, Pages
from innersearch.search.addresses import identity_of

if TYPE_CHECKING:
    from innersearch.serve.serving import Serving

PART = "pages"
"""Where `Serving.parts` has the pages."""
HEADER = "X-Innersearch-Pages"
"""Says whose pages they are."""


class Extract(BaseModel):
    """Pages, as Tavily is asked for them."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    urls: list[str] | str = Field(max_length=20)
    """Addresses, or one."""


class Contents(BaseModel):
    """Pages, as Exa is asked for them."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    urls: list[str] = Field(default_factory=list, max_length=100)
    """Addresses."""
    ids: list[str] = Field(default_factory=list, max_length=100)
    """The same, by another name."""
    text: bool | dict[str, Any] = True
    """Whether texts are wanted, or `{"maxCharacters": 1000}`."""


class Access(BaseModel):
    """Pages, as ASearcher's agents ask for them."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    urls: list[str] = Field(max_length=100)
    """Addresses."""


class Scrape(BaseModel):
    """A page, as Firecrawl is asked for it."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    url: str
    """Its address."""


@dataclass(frozen=True, slots=True)
class _Route:
    paths: tuple[str, ...]
    asks: type[BaseModel]
    addresses: Callable[[Any], Sequence[str]]
    answers: Callable[[Any, Sequence[str], Sequence[Opened], float], tuple[int, Any]]
    refuses: str = ""
    """Of whose API errors are, where paths have no beginning of their own."""


def _extract(asked: Extract, given: Sequence[str], found: Sequence[Opened], took_s: float) -> Any:
    pairs = list(zip(given, found, strict=True))
    results = [
        {"url": url, "title": page.title, "raw_content": page.text, "images": []}
        for url, one in pairs
        if (page := one.page)
    ]
    failed = [{"url": url, "error": one.error} for url, one in pairs if one.page is None]
    told = {"response_time": round(took_s, 3), "request_id": str(uuid.uuid4())}
    return 200, {"results": results, "failed_results": failed, **told}


def _contents(asked: Contents, given: Sequence[str], found: Sequence[Opened], took_s: float) -> Any:
    results, statuses = [], []
    for url, one in zip(given, found, strict=True):
        if one.page is None:
            tag, status = ("CRAWL_NOT_FOUND", 404) if one.missing else ("SOURCE_NOT_AVAILABLE", 503)
            error = {"tag": tag, "httpStatusCode": status}
            statuses.append({"id": url, "status": "error", "error": error})
            continue
        row = {"id": url, "url": url, "title": one.page.title, "publishedDate": None, "author": None}
        if asked.text is not False:
            row["text"] = one.page.text[: _most(asked.text)]
        results.append(row)
        statuses.append({"id": url, "status": "success", "source": "cached"})
    told = {"statuses": statuses, "costDollars": {"total": 0}}
    return 200, {"requestId": uuid.uuid4().hex, "results": results, **told}


def _most(text: bool | dict[str, Any]) -> int | None:  # noqa: FBT001
    most = text.get("maxCharacters") if isinstance(text, dict) else None
    return most if type(most) is int and most > 0 else None


def _access(asked: Access, given: Sequence[str], found: Sequence[Opened], took_s: float) -> Any:
    return 200, {
        "result": [
            {"url": url, "title": one.page.title, "contents": one.page.text} if one.page else None
            for url, one in zip(given, found, strict=True)
        ]
    }


def _scrape(asked: Scrape, given: Sequence[str], found: Sequence[Opened], took_s: float) -> Any:
    [one] = found
    if one.page is None:
        return 404 if one.missing else 502, {"success": False, "error": one.error}
    about = {"title": one.page.title, "sourceURL": given[0], "url": one.page.address, "statusCode": 200}
    data = {"markdown": one.page.text, "links": list(one.page.links), "metadata": about}
    return 200, {"success": True, "data": data}


def _listed(asked: Extract) -> Sequence[str]:
    return [asked.urls] if isinstance(asked.urls, str) else asked.urls


ROUTES = (
    _Route(("/extract", "/tavily/extract"), Extract, _listed, _extract, "tavily"),
    _Route(
        ("/contents", "/exa/contents"),
        Contents,
        lambda asked: asked.urls or asked.ids,
        _contents,
        "exa",
    ),
    _Route(("/access",), Access, lambda asked: asked.urls, _access, "search-r1"),
    _Route(("/v1/scrape", "/v2/scrape"), Scrape, lambda asked: [asked.url], _scrape),
)


def router(serving: Serving) -> APIRouter:
    """The routes; none where no pages are served."""
    from innersearch.search.remote.apis import APIS

    routes = APIRouter(tags=["pages"])
    pages = serving.parts.get(PART)
    if pages is None:
        return routes
    serving.during.append(lambda: closing(pages))
    for route in ROUTES:
        for path in route.paths:
            if route.refuses in APIS:
                serving.refusals.setdefault(path, APIS[route.refuses].refuses)
            elif path.endswith("/scrape"):
                serving.refusals[path] = _refuse_scrape
            body = {"content": {"application/json": {"schema": route.asks.model_json_schema()}}}
            routes.add_api_route(
                path,
                _handler(serving, pages, route, path),
                methods=["POST"],
                name=f"pages {path}",
                summary=(route.asks.__doc__ or "").partition("\n")[0],
                openapi_extra={"requestBody": {"required": True, **body}},
            )
    return routes


def _refuse_scrape(status: int, message: str) -> tuple[int, Any]:
    return status, {"success": False, "error": message}


def _handler(serving: Serving, pages: Pages, route: _Route, path: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        serving.sessions.of(request)
        try:
            asked = route.asks.model_validate(_values(await request.body()))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][:1])
            return _json(*serving.refuse(path, 422, f"{place}: {first['msg']}".lstrip(": ")))
        given = route.addresses(asked)
        if not given:
            return _json(*serving.refuse(path, 422, "urls: no address is given"))
        if any(not url.strip() or len(url) > MAX_ADDRESS for url in given):
            told = f"urls: an address has 1 to {MAX_ADDRESS:,} characters"
            return _json(*serving.refuse(path, 422, told))
        started = perf_counter()
        found = await opened(pages, given)
        status, body = route.answers(asked, given, found, perf_counter() - started)
        return _json(status, body, pages.name)

    return answer


async def opened(pages: Pages, addresses: Sequence[str]) -> list[Opened]:
    """One page or reason per address, whatever pages of somebody else raise.

    Addresses that stand for the ids of documents without one are these ids again.
    """
    try:
        return await pages.open([identity_of(address) or address for address in addresses])
    except Exception as error:
        # Its text may hold what was sent.
        return [Opened(error=f"{pages.name} failed: {type(error).__name__}")] * len(addresses)


@asynccontextmanager
async def closing(pages: Pages) -> AsyncIterator[None]:
    """Close pages at the end."""
    try:
        yield
    finally:
        await pages.close()


def _values(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _json(status: int, body: Any, name: str = "") -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    headers = {HEADER: name} if name else None
    content = text.encode("utf-8", "replace")
    return Response(content, status, headers, media_type="application/json")
