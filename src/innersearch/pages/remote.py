"""Pages that an endpoint reads: ASearcher's `/access`, Jina, Firecrawl, Tavily and Exa.

Such an endpoint renders pages that are made by scripts, or has a collection of pages of its own. What
differs between them is data: where an address is put, and where title and text stand in the answer.

    remote:http://127.0.0.1:8000             `/access`; another server of ours, for example
    jina, firecrawl, tavily, exa             with keys in JINA_API_KEY and so on
    firecrawl:http://127.0.0.1:3002          a server of one's own
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx2

from innersearch.errors import SearchError
from innersearch.net.addresses import check_url
from innersearch.net.caller import Caller
from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.client import Connections
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.net.patience import CallSettings
from innersearch.pages.base import MAX_ADDRESS, Opened, page_or_reason
from innersearch.search.wrappers.budget import Budget
from innersearch.types import Source

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PageDialect:
    """One API that reads pages."""

    name: str
    path: str
    body: Callable[[str], Any]
    """The request for an address."""
    read: Callable[[Any], Answer | None]
    """The page in an answer, with `title` and `text`; None where it has none. Raises LookupError,
    TypeError or AttributeError for what is no answer."""
    base_url: str | None = None
    """Public address; None where everybody runs their own."""
    key_variable: str | None = None
    key_needed: bool = True
    """Whether its public address wants the key."""
    key_header: str = "Authorization"
    price_usd: float = 0.0
    """List price of a page in US dollars, November 2026."""


def _access(answer: Any) -> Answer | None:
    [page] = answer["result"]
    if page is None:
        return None
    return {"title": page.get("title"), "text": page.get("contents") or page.get("page")}


def _jina(answer: Any) -> Answer | None:
    page = answer["data"]
    return {"title": page.get("title"), "text": page["content"], "links": page.get("links")}


def _firecrawl(answer: Any) -> Answer | None:
    page = answer["data"]
    return {"title": (page.get("metadata") or {}).get("title"), "text": page["markdown"]}


def _tavily(answer: Any) -> Answer | None:
    pages = answer["results"]
    return {"title": pages[0].get("title"), "text": pages[0]["raw_content"]} if pages else None


def _exa(answer: Any) -> Answer | None:
    pages = answer["results"]
    return {"title": pages[0].get("title"), "text": pages[0]["text"]} if pages else None


ACCESS = PageDialect("remote", "/access", lambda address: {"urls": [address]}, _access)
JINA = PageDialect(
    *("jina", "/", lambda address: {"url": address}, _jina, "https://r.jina.ai"),
    key_variable="JINA_API_KEY",
    key_needed=False,
)
FIRECRAWL = PageDialect(
    *("firecrawl", "/v2/scrape", lambda address: {"url": address, "formats": ["markdown"]}),
    *(_firecrawl, "https://api.firecrawl.dev"),
    key_variable="FIRECRAWL_API_KEY",
    price_usd=0.0053,
)
TAVILY = PageDialect(
    *("tavily", "/extract", lambda address: {"urls": [address], "format": "markdown"}),
    *(_tavily, "https://api.tavily.com"),
    key_variable="TAVILY_API_KEY",
    price_usd=0.008,
)
EXA = PageDialect(
    *("exa", "/contents", lambda address: {"urls": [address], "text": True}),
    *(_exa, "https://api.exa.ai"),
    key_variable="EXA_API_KEY",
    key_header="x-api-key",
    price_usd=0.001,
)
DIALECTS = {dialect.name: dialect for dialect in (ACCESS, JINA, FIRECRAWL, TAVILY, EXA)}
"""All of them by name."""


class RemotePages:
    """Pages that an endpoint reads, called as patiently as engines are.

    Args:
        dialect: The API.
        url: Its address, where it is not the public one.
        calls: How patiently it is called.
        budget: Takes the price of every call.
        key_variable: Environment variable of its key, in place of the usual one.
        offline: Whether it is only replayed, and needs neither a key nor a client.

    Raises:
        SearchError: The address is unusable, or the key is not set.
    """

    source = Source.PAGE

    def __init__(
        self,
        dialect: PageDialect,
        url: str = "",
        *,
        calls: CallSettings | None = None,
        budget: Budget | None = None,
        key_variable: str | None = None,
        offline: bool = False,
    ) -> None:
        self.name: str = dialect.name
        self.dialect, self._budget = dialect, budget or Budget()
        if not url and dialect.base_url is None:
            raise SearchError(f"pages {dialect.name!r} lack their place: write {dialect.name}:URL")
        base = check_url(url or str(dialect.base_url), dialect.name)
        path = base.path.rstrip("/")
        end = dialect.path if not path.endswith(dialect.path.rstrip("/")) or not path else ""
        self._url = base.copy_with(path=(path + end) or "/")
        self._key = _key(dialect, key_variable, needed=not url and not offline)
        self._price = dialect.price_usd if not url else 0.0
        self._caller = Caller(dialect.name, calls, place=str(self._url))
        self._connections = Connections(self._url, self._caller.settings.deadline_s, offline=offline)
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "pages": dialect.name,
            "url": str(self._url),
        }

    async def open(self, addresses: Sequence[str]) -> list[Opened]:
        """One page or reason per address, in order; all are asked for at once."""
        return list(await asyncio.gather(*map(self._open, addresses)))

    async def close(self) -> None:
        """Close the connections and save the budget."""
        await self._connections.close()
        self._budget.save()

    async def _open(self, address: str) -> Opened:
        started = perf_counter()
        address = " ".join(address.split())
        if not address or len(address) > MAX_ADDRESS:
            return Opened(error="the page cannot be opened: its address is no address", missing=True)
        cost = 0.0

        def paid(error: CallError) -> None:
            nonlocal cost
            cost += self._price if error.paid else 0.0

        try:
            opened = await self._caller.call(lambda: self._ask(address), paid)
        except CallError as error:
            gone = error.reason in ("http 404", "http 410", "http 422", "http 451")
            return Opened(None, str(error), gone, perf_counter() - started, cost)
        latency, cost = perf_counter() - started, cost + self._price
        return Opened(opened.page, opened.error, opened.missing, latency, cost)

    async def _ask(self, address: str) -> Opened:
        self._budget.reserve(self._price)
        try:
            answer = await self._answer(address)
        except CallError as error:
            if not error.paid:
                self._budget.settle(self._price, 0.0, sent=False)
            raise
        try:
            page = self.dialect.read(answer)
            if page is None:
                return Opened(error=f"{self.name} has no page of that address", missing=True)
            title, text, links = page.get("title"), page.get("text"), page.get("links")
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            said = f"{self.name} sent an answer that cannot be read ({type(error).__name__})"
            raise PermanentError(said, reason="malformed") from None
        return page_or_reason(address, _text(title), _text(text), _addresses(links))

    async def _answer(self, address: str) -> Any:
        headers = {"Accept": "application/json"}
        if self._key is not None:
            bearer = self.dialect.key_header == "Authorization"
            headers |= self._key.bearer() if bearer else {self.dialect.key_header: self._key.read()}
        request = self._connections.request("POST", self._url, self.dialect.body(address), headers)
        try:
            return await fetch_json(self._connections.client, request, self.name, self._key)
        except (httpx2.HTTPError, OSError) as error:
            raise TransientError(f"{self.name} failed: {type(error).__name__}") from None


def _key(dialect: PageDialect, variable: str | None, *, needed: bool) -> Key | None:
    """The key; a server of one's own gets the usual one if it is set."""
    if variable is not None:
        return Key(variable, dialect.name)
    if dialect.key_variable is None:
        return None
    if needed and dialect.key_needed:
        return Key(dialect.key_variable, dialect.name)
    return Key.if_set(dialect.key_variable, dialect.name) if needed else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _addresses(value: Any) -> list[str]:
    """Links as a list, or as Jina has them: texts and their addresses."""
    links = list(value.values()) if isinstance(value, dict) else value
    return [link for link in links or () if isinstance(link, str)][:200]
