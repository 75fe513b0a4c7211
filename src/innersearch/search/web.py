"""Search APIs over HTTP: one client for all dialects, and how the answer of any server is fetched.

A key is read from its environment variable for each request and held nowhere; it stands in no error,
record, representation, identity or log, and is blotted out of what servers send back. Keys, addresses
and limits of the APIs are in `dialects`.

`WebEngine` alone asks once. `Reliable(WebEngine(...))` retries: a broken connection, HTTP 408, 425, 429
and 5xx may be tried again, after the time that a Retry-After header asks for; anything else is final.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import perf_counter
from typing import Any

import httpx2

from innersearch.errors import SearchError, did_you_mean
from innersearch.search.base import SearchResult
from innersearch.search.dialects import DIALECTS, Dialect, cut_query, read_answer, stated_cost
from innersearch.search.reliable import CallError, PermanentError, TransientError, once
from innersearch.types import Source

MAX_BODY = 10_000_000
"""Longest answer that is read, in bytes after decompression."""

_SHORTEST_KEY = 8
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


class Key:
    """The key of an API: the name of an environment variable, and its value only when it is needed.

    Raises:
        SearchError: The variable is not set, or holds no key.
    """

    def __init__(self, variable: str, engine: str) -> None:
        self.variable, self._engine = variable, engine
        self.read()

    def read(self) -> str:
        """The key."""
        value = os.environ.get(self.variable, "").strip()
        if not value:
            raise SearchError(
                f"{self._engine} needs a key: set the environment variable {self.variable}"
            )
        if not value.isascii() or not value.isprintable() or " " in value or len(value) < _SHORTEST_KEY:
            raise SearchError(f"{self.variable} holds no key: its value is short or has odd characters")
        return value


class _HideKeys(logging.Filter):
    """httpx2 logs addresses, and SerpAPI takes its key there."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = re.sub(r"api_key=[^&\s]+", "api_key=[hidden]", record.getMessage())
        record.args = ()
        return True


_hide_keys = _HideKeys()


def new_client() -> httpx2.AsyncClient:
    """A client that follows no redirects, for they could carry a key elsewhere."""
    return httpx2.AsyncClient(timeout=httpx2.Timeout(30.0, pool=None), follow_redirects=False)


def check_url(url: str, engine: str) -> httpx2.URL:
    """The parsed address.

    Raises:
        SearchError: It is none, or holds more than scheme, host, port and path: a password in it would
            end up in records, and two searches that differ in the rest would share an identity.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise SearchError(f"the address of {engine} cannot be read: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SearchError(f"the address of {engine} must begin with http:// or https:// and name a host")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise SearchError(f"the address of {engine} must end with its path and hold no user or password")
    return parsed


async def fetch_json(
    client: httpx2.AsyncClient,
    request: httpx2.Request,
    name: str,
    key: Key | None = None,
    *,
    spent: str | None = None,
    on_403: str | None = None,
) -> Any:
    """Send `request` and return the JSON of the answer. `spent` and `on_403` are as in `Dialect`.

    Raises:
        TransientError: The connection failed, or HTTP 408, 425, 429 or 5xx.
        PermanentError: Any other status, a longer answer than MAX_BODY, or no JSON.
    """
    logging.getLogger("httpx2").addFilter(_hide_keys)
    try:
        response = await client.send(request, stream=True)
        try:
            body = await _body(response, name)
        finally:
            await response.aclose()
    except httpx2.HTTPError as error:
        raise _broken(error, name, request.url) from None
    if key is not None:
        body = body.replace(key.read().encode(), b"[key]")
    if response.is_success:
        return _parsed(body, name)
    raise _refused(response, body, name, key, spent, on_403)


async def _body(response: httpx2.Response, name: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY:
            raise PermanentError(f"{name} sent more than {MAX_BODY:,} bytes", reason="too long")
    return bytes(body)


def _parsed(body: bytes, name: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f"{name} sent no JSON: {type(error).__name__} in {len(body)} bytes"
        raise PermanentError(message, reason="malformed") from None


def _broken(error: httpx2.HTTPError, name: str, url: httpx2.URL) -> CallError:
    # The text of the error is left out: it can hold headers, and with them the key.
    kind, place = type(error).__name__, str(url.copy_with(query=None))
    sent = not isinstance(error, _NOT_SENT)
    if isinstance(error, httpx2.TimeoutException):
        return TransientError(f"{name} did not answer at {place}: {kind}", reason="timeout", sent=sent)
    if isinstance(error, httpx2.DecodingError):
        return PermanentError(f"{name} sent a body that cannot be decompressed", reason="malformed")
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return PermanentError(f"{name} cannot be asked at {place}: {kind}", sent=False)
    return TransientError(f"{name} cannot be reached at {place}: {kind}", reason="network", sent=sent)


def _refused(
    response: httpx2.Response,
    body: bytes,
    name: str,
    key: Key | None,
    spent: str | None,
    on_403: str | None,
) -> CallError:
    status = response.status_code
    text = " ".join(body[:2000].decode("utf-8", "replace").split())
    reason, said = f"http {status}", f"{name} answered HTTP {status}"
    if status in (401, 403):
        advice = f"check {key.variable}" if key else (status == 403 and on_403) or "it wants a key"
        return PermanentError(f"{said}: {advice}", reason=reason)
    if status == 429 and spent and spent in text:
        return PermanentError(
            f"{said}: the plan behind {key.variable if key else name} is used up", reason=reason
        )
    if status in (408, 425, 429) or status >= 500:
        wait = _retry_after(response.headers.get("retry-after"))
        asks = f", asking to wait {wait:g} s" if wait else ""
        return TransientError(f"{said}{asks}", reason=reason, down=status != 500, retry_after_s=wait)
    return PermanentError(f"{said}: {text[:200]}", reason=reason)


def _retry_after(header: str | None) -> float:
    """Seconds of a Retry-After header, given as seconds or as a date; 0 if there is none to be read."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header)) if header.strip().isdigit() else _until(header)
    except (ValueError, TypeError):
        return 0.0


def _until(date: str) -> float:
    return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())


class WebEngine:
    """A search API.

    Queries are put on one line and cut to the limits of the API, between words; at most
    `dialect.max_results` documents come back. An empty query fails without a call.

    Args:
        dialect: The API, or its name.
        base_url: Address to use instead of the public one: a proxy, or an own SearXNG.
        parameters: Sent with every request besides the dialect's own, for example `{"gl": "us"}`.
        client: To share connections; whoever gives it closes it.

    Raises:
        SearchError: No such dialect, no key in the environment, or no usable address.
    """

    source = Source.WEB
    batch: int | None = 1

    def __init__(
        self,
        dialect: Dialect | str,
        *,
        base_url: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.dialect = _dialect(dialect)
        self.name: str = self.dialect.name
        self.price_usd: float = self.dialect.price.usd
        given = base_url or self.dialect.base_url
        if given is None:
            raise SearchError(
                f"{self.name} has no public address: give base_url, the address of an instance"
            )
        base = check_url(given, self.name)
        self._url = base.copy_with(path=base.path.rstrip("/") + self.dialect.path)
        self._fixed = {**self.dialect.fixed, **(parameters or {})}
        variable = self.dialect.key_variable
        self._key = Key(variable, self.name) if variable else None
        self._client, self._own = client or new_client(), client is None
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "engine": self.name,
            "url": str(self._url),
            "parameters": json.dumps(self._fixed, sort_keys=True),
        }

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order, without retries."""
        return await once(self, queries, k)

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One call for one query.

        Raises:
            TransientError: See `fetch_json`.
            PermanentError: See `fetch_json`; or the query is empty, or the answer lists no results.
        """
        started = perf_counter()
        (query,) = queries
        line = cut_query(query, self.dialect.max_chars, self.dialect.max_words)
        if not line:
            raise PermanentError("the query is empty", reason="empty query", sent=False)
        request = self._request(line, k)
        answer = await fetch_json(
            self._client,
            request,
            self.name,
            self._key,
            spent=self.dialect.spent,
            on_403=self.dialect.on_403,
        )
        try:
            documents = tuple(read_answer(self.dialect, answer, k))
        except ValueError as error:
            message = f"{self.name} sent an answer that cannot be read: {error}"
            raise PermanentError(message[:300], reason="malformed") from error
        cost = stated_cost(self.dialect, answer)
        return [SearchResult(documents, latency_s=perf_counter() - started, cost_usd=cost)]

    async def close(self) -> None:
        """Close the connections."""
        if self._own:
            await self._client.aclose()

    def _request(self, line: str, k: int) -> httpx2.Request:
        dialect = self.dialect
        sent = {**self._fixed, dialect.query: line}
        if dialect.count is not None:
            sent[dialect.count] = max(1, min(k, dialect.max_results))
        headers = {"Accept": "application/json"}
        if self._key is not None and dialect.key_header is not None:
            headers[dialect.key_header] = dialect.key_prefix + self._key.read()
        elif self._key is not None:
            sent["api_key"] = self._key.read()
        if dialect.method == "GET":
            return self._client.build_request("GET", self._url, params=sent, headers=headers)
        return self._client.build_request("POST", self._url, json=sent, headers=headers)


def _dialect(given: Dialect | str) -> Dialect:
    if isinstance(given, Dialect):
        return given
    if given not in DIALECTS:
        raise SearchError(f"no search API {given!r}: {did_you_mean(given, DIALECTS)}")
    return DIALECTS[given]
