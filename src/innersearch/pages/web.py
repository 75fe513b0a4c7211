"""Pages of the web, read by this process: HTML, text and PDF at public addresses.

Addresses come from search results, redirects and models, so connections are `guarded`: nothing that is
not public is ever connected to. A page has ten seconds, five redirects and 5 MB, and what is compressed
may not unpack to more than a hundred times its size. A host gets two requests at a time, from an agent
that says who it is, and its robots.txt is obeyed. Nothing of a page is executed.

    web                                       as it is
    web#allow=intranet.example:8080           and this host, whatever its address is
    web#robots=no                             whatever robots.txt says: for hosts of your own
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

import httpx2

from innersearch.errors import SearchError
from innersearch.net.addresses import place
from innersearch.net.bodies import ACCEPTED, read_body
from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.causes import broken
from innersearch.net.guarded import PORTS, Guard, guarded_client
from innersearch.pages import robots
from innersearch.pages.base import MAX_ADDRESS, Opened
from innersearch.pages.extraction import Extraction, demand_extraction
from innersearch.pages.robots import Robots
from innersearch.types import Source

LIMIT_S = 10.0
"""Longest time from asking for a page to its last byte, redirects included; robots.txt has as much."""
MOST_BYTES = 5_000_000
"""Longest page, in bytes after decompression."""
RATIO = 100.0
REDIRECTS = 5
AT_ONCE = 2
"""Requests to one host at a time."""
USER_AGENT = "innersearch/1 (research agent; reads single pages; obeys robots.txt as 'innersearch')"

_KINDS = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "text",
    "application/pdf": "pdf",
}
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_GONE = "the page cannot be opened"


class WebPages:
    """Reads pages of the web.

    Args:
        allow: Hosts that are read whatever their address or port is, each as HOST:PORT.
        obeys: Whether robots.txt is obeyed.
        guard: Says where connections lead; by default to public addresses and what is allowed.
        client: Who sends requests; by default a client that connects where the guard lets it.
        limit_s: Longest time for a page.
        extraction: What turns pages into text; whoever gives it closes it.

    Raises:
        ConfigError: What reads pages is not installed.
        SearchError: What is allowed cannot be read.
    """

    name = "web"
    source = Source.PAGE

    def __init__(
        self,
        allow: Collection[str] = (),
        *,
        obeys: bool = True,
        guard: Guard | None = None,
        client: httpx2.AsyncClient | None = None,
        limit_s: float = LIMIT_S,
        extraction: Extraction | None = None,
    ) -> None:
        demand_extraction()
        self._guard = guard or Guard(allow)
        self._client = client or guarded_client(self._guard)
        self._limit_s = limit_s
        self._extraction, self._shared = extraction or Extraction(), extraction is not None
        self._robots = Robots(self._rules) if obeys else None
        self._hosts: dict[str, tuple[int, asyncio.Semaphore]] = {}
        self.identity: Mapping[str, str | int | float | bool | None] = {"pages": "web", "version": 1}

    async def open(self, addresses: Sequence[str]) -> list[Opened]:
        """One page or reason per address, in order; all are asked for at once."""
        return list(await asyncio.gather(*map(self._open, addresses)))

    async def close(self) -> None:
        """Close connections and processes."""
        if self._robots is not None:
            await self._robots.close()
        await self._client.aclose()
        if not self._shared:
            await self._extraction.close()

    async def _open(self, address: str) -> Opened:
        started = perf_counter()
        try:
            url = _parsed(address)
            response, body = await self._fetch(url, self._robots, MOST_BYTES)
            kind = _kind(response, body)
        except TimeoutError:
            said = f"{_GONE}: it did not arrive within {self._limit_s:g} s"
            return Opened(error=said, latency_s=perf_counter() - started)
        except CallError as error:
            missing = not isinstance(error, TransientError)
            return Opened(error=str(error), missing=missing, latency_s=perf_counter() - started)
        except SearchError as error:
            return Opened(error=str(error), missing=True, latency_s=perf_counter() - started)
        found = _CHARSET.search(response.headers.get("content-type", ""))
        charset = found[1] if found else ""
        opened = await self._extraction.read(body, kind, charset, str(response.request.url))
        latency = perf_counter() - started
        return Opened(opened.page, opened.error, opened.missing, latency)

    async def _rules(self, url: httpx2.URL) -> tuple[int, bytes]:
        try:
            response, body = await self._fetch(url, None, robots.LONGEST)
        except _StatusError as error:
            return error.status, b""
        return response.status_code, body

    async def _fetch(
        self, url: httpx2.URL, rules: Robots | None, most: int
    ) -> tuple[httpx2.Response, bytes]:
        """The answer at the end of all redirects, and its body.

        What counts is the time of the requests, and not that of waiting for a turn.
        """
        left = self._limit_s
        for _ in range(REDIRECTS + 1):
            self._guard.demand(url)
            if rules is not None and not await rules.allow(url):
                raise PermanentError(f"{_GONE}: robots.txt of {url.host:.100} forbids it")
            async with self._turn(url):
                began = perf_counter()
                async with asyncio.timeout(max(0.0, left)):
                    response, body = await self._ask(url, most)
                left -= perf_counter() - began
            if response.is_success:
                return response, body
            if not response.has_redirect_location:
                raise _StatusError(response.status_code)
            url = _target(response)
        raise PermanentError(f"{_GONE}: it is redirected more than {REDIRECTS} times")

    async def _ask(self, url: httpx2.URL, most: int) -> tuple[httpx2.Response, bytes]:
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": "text/html,application/xhtml+xml,text/plain,application/pdf;q=0.9,*/*;q=0.1",
            "Accept-Encoding": ACCEPTED,
        }
        # No request of a client's own making, for that would carry the cookies of earlier pages.
        timeouts = httpx2.Timeout(self._limit_s, pool=None).as_dict()
        request = httpx2.Request("GET", url, headers=headers, extensions={"timeout": timeouts})
        try:
            response = await self._client.send(request, stream=True)
            try:
                if not response.is_success:
                    return response, b""
                _demand_kind(response)
                return response, await read_body(response, "the page", most, ratio=RATIO)
            finally:
                await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, OverflowError) as error:
            raise broken(error, "the page", url) from None

    @asynccontextmanager
    async def _turn(self, url: httpx2.URL) -> AsyncIterator[None]:
        """A place among the requests to a host."""
        host = url.host
        waiting, room = self._hosts.get(host, (0, asyncio.Semaphore(AT_ONCE)))
        self._hosts[host] = waiting + 1, room
        try:
            async with room:
                yield
        finally:
            waiting, room = self._hosts[host]
            if waiting > 1:
                self._hosts[host] = waiting - 1, room
            else:
                del self._hosts[host]


class _StatusError(PermanentError):
    """A page that is not there."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{_GONE}: HTTP {status}", reason=f"http {status}")
        self.status = status


def _parsed(address: str) -> httpx2.URL:
    address = address.strip()
    if len(address) > MAX_ADDRESS:
        raise PermanentError(f"{_GONE}: its address is longer than {MAX_ADDRESS:,} characters")
    try:
        url = httpx2.URL(address)
        ports = PORTS.values() if url.port is None else [url.port]
    except (httpx2.InvalidURL, ValueError, TypeError):
        raise PermanentError(f"{_GONE}: its address cannot be read") from None
    if url.scheme not in PORTS or not url.host or not all(0 < port < 65536 for port in ports):
        raise PermanentError(f"{_GONE}: write its address as https://HOST/PATH")
    return url.copy_with(fragment=None)


def _target(response: httpx2.Response) -> httpx2.URL:
    try:
        target = response.request.url.join(response.headers.get("location", ""))
        return _parsed(str(target))
    except (httpx2.InvalidURL, ValueError, TypeError):
        raise PermanentError(f"{_GONE}: it is redirected to what is no address") from None


def _demand_kind(response: httpx2.Response) -> None:
    given = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given and given not in _KINDS and given != "application/octet-stream":
        where = place(response.request.url)
        raise PermanentError(f"{_GONE}: {where} is {given[:60]!r}, no HTML, text or PDF")


def _kind(response: httpx2.Response, body: bytes) -> str:
    given = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body.lstrip()[:5] == b"%PDF-":
        return "pdf"
    if given in _KINDS and _KINDS[given] != "pdf":
        return _KINDS[given]
    if given == "" and re.search(rb"<(!doctype html|html|head|body)", body[:2_000], re.IGNORECASE):
        return "html"
    raise PermanentError(f"{_GONE}: what stands there is no HTML, text or PDF")
