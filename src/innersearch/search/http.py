"""How the answer of a server is fetched: keys, limits, and what each failure means.

A key is read from its environment variable for each request and held nowhere; it stands in no error,
record, representation, identity or log, and is blotted out of what servers send back.

A broken connection, HTTP 408, 425, 429 and 5xx may be tried again, after the time that a Retry-After
header asks for; anything else is final.
"""

from __future__ import annotations

import json
import logging
import os
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from innersearch.errors import SearchError
from innersearch.search.calls import CallError, PermanentError, TransientError

MAX_BODY = 10_000_000
"""Longest answer that is read, in bytes after decompression."""

_SHORTEST_KEY = 8
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


class Key:
    """The key of an API: the name of an environment variable, and its value only when it is needed.

    One of fewer than 8 characters is no secret and is not blotted out; most APIs have none so short.

    Raises:
        SearchError: The variable is not set, or holds no key.
    """

    def __init__(
        self, variable: str, engine: str, *, shortest: int = _SHORTEST_KEY, needed: bool = True
    ) -> None:
        self.variable, self._engine, self._shortest = variable, engine, shortest
        if needed:
            self.read()

    def read(self) -> str:
        """The key."""
        value = os.environ.get(self.variable, "").strip()
        if not value:
            raise SearchError(
                f"{self._engine} needs a key: set the environment variable {self.variable}"
            )
        if not value.isascii() or not value.isprintable() or " " in value or len(value) < self._shortest:
            raise SearchError(f"{self.variable} holds no key: its value is short or has odd characters")
        return value

    def blot(self, body: bytes) -> bytes:
        """What a server sent, without the key."""
        key = self.read().encode()
        return body.replace(key, b"[key]") if len(key) >= _SHORTEST_KEY else body


class _HideKeys(logging.Filter):
    """httpx2 logs addresses, and SerpAPI takes its key there."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = re.sub(r"api_key=[^&\s]+", "api_key=[hidden]", record.getMessage())
        record.args = ()
        return True


_hide_keys = _HideKeys()


def new_client(timeout_s: float = 30.0) -> httpx2.AsyncClient:
    """A client that follows no redirects, for they could carry a key elsewhere.

    `timeout_s` limits silence; whoever calls limits the calls under way.
    """
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout_s, connect=30.0, pool=None),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
        follow_redirects=False,
    )


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
        body = key.blot(body)
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
