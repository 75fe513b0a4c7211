"""How the answer of a server is fetched: deadlines, limits, and what each failure means.

A broken connection, HTTP 408, 425, 429 and 5xx may be tried again, after the time that the server asks
for; anything else is final. What a server turns away (3xx, 4xx) it has not worked on, and costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import httpx2

from innersearch.net.addresses import place, without_users
from innersearch.net.bodies import ACCEPTED, read_body
from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.causes import broken
from innersearch.net.keys import Key, hide_in_logs
from innersearch.net.waits import asked_wait

MAX_BODY = 10_000_000
"""Longest answer that is read, in bytes after decompression."""
DEADLINE_S = 600.0
"""Longest time from asking to the last byte, unless whoever asks has less."""

Limited = Callable[[int, str], bool]
"""Whether a status and the text of its answer mean that calls come too often, HTTP 429 apart."""


async def fetch_json(
    client: httpx2.AsyncClient,
    request: httpx2.Request,
    name: str,
    key: Key | None = None,
    *,
    spent: str | None = None,
    on_403: str | None = None,
    limited: Limited | None = None,
    most: int = MAX_BODY,
    deadline_s: float = DEADLINE_S,
) -> Any:
    """Send `request` and return the JSON of the answer.

    Args:
        client: Who sends it.
        request: What is sent.
        name: Who is asked, for errors.
        key: What is blotted out of all that comes back.
        spent: Text of an HTTP 429 that means that the plan is used up, so that waiting is useless.
        on_403: What to do about HTTP 403 where no key is wrong.
        limited: Tells other answers, HTTP 200 included, that mean what 429 does.
        most: Longest answer, in bytes after decompression.
        deadline_s: Longest time until the last byte.

    Raises:
        TransientError: The connection failed, or HTTP 408, 425, 429 or 5xx.
        PermanentError: Any other status, a longer answer, or no JSON.
    """
    response, body = await fetch(client, request, name, key, most=most, deadline_s=deadline_s)
    text = _decoded(body)
    text = key.blot(text) if key is not None else text
    said = _shown(text, key)
    if limited is not None and limited(response.status_code, said):
        raise _too_often(response, f"{name} answered HTTP {response.status_code}")
    if response.is_success:
        return _parsed(text, name)
    raise refusal(response, said, name, key, spent, on_403)


async def fetch(
    client: httpx2.AsyncClient,
    request: httpx2.Request,
    name: str,
    key: Key | None = None,
    *,
    most: int = MAX_BODY,
    deadline_s: float = DEADLINE_S,
) -> tuple[httpx2.Response, bytes]:
    """The answer to `request` and its body, whatever the status.

    Raises:
        TransientError: The connection failed, or the deadline passed.
        PermanentError: The request cannot be sent, or the body is too long or broken.
    """
    hide_in_logs(key)
    request.headers["Accept-Encoding"] = ACCEPTED
    begun = False
    try:
        async with asyncio.timeout(deadline_s):
            response = await client.send(request, stream=True)
            begun = True
            try:
                return response, await read_body(response, name, most)
            finally:
                await response.aclose()
    except TimeoutError:
        message = f"{name} did not answer within {deadline_s:g} s at {place(request.url)}"
        raise TransientError(message, reason="timeout") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, OverflowError) as error:
        raise broken(error, name, request.url, begun=begun) from None


def _decoded(body: bytes) -> str:
    """The text of a body in any encoding that JSON may have, so that a key is found in all of them."""
    try:
        return body.decode(json.detect_encoding(body), "replace")
    except (UnicodeError, LookupError):
        return body.decode("utf-8", "replace")


def _shown(text: str, key: Key | None) -> str:
    """The beginning of what a server said, as one line."""
    line = " ".join(re.sub(r"[^\S ]|[^\x20-\U0010ffff]|\x7f", " ", text[:4000]).split())
    bare = "".join(c for c in line if c.isprintable())
    return without_users(key.blot(bare) if key is not None else bare)[:2000]


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        message = f"{name} sent no JSON: {type(error).__name__} in {len(text)} characters"
        raise PermanentError(message, reason="malformed") from None


def refusal(
    response: httpx2.Response,
    text: str,
    name: str,
    key: Key | None = None,
    spent: str | None = None,
    on_403: str | None = None,
) -> CallError:
    """What an answer means that is no success; `text` is what it said, without keys."""
    status = response.status_code
    reason, said = f"http {status}", f"{name} answered HTTP {status}"
    if status in (401, 403):
        advice = f"check {key.variable}" if key else (status == 403 and on_403) or "it wants a key"
        return PermanentError(f"{said}: {advice}", reason=reason, refused=True)
    if status == 429 and spent and spent in text:
        plan = key.variable if key else name
        return PermanentError(f"{said}: the plan behind {plan} is used up", reason=reason, refused=True)
    if status == 429:
        return _too_often(response, said)
    if status in (408, 409, 425) or status >= 500:
        wait = asked_wait(response.headers)
        down = status not in (409, 500)
        return TransientError(said + _asks(wait), reason=reason, down=down, retry_after_s=wait)
    if response.has_redirect_location:
        where = _target(response, key)
        return PermanentError(
            f"{said}, which leads to {where}: give that address", reason=reason, refused=True
        )
    turned_away = 400 <= status < 500
    return PermanentError(f"{said}: {text[:200]}", reason=reason, refused=turned_away, said=text)


def _too_often(response: httpx2.Response, said: str) -> TransientError:
    wait = asked_wait(response.headers)
    return TransientError(
        said + _asks(wait), reason=f"http {response.status_code}", limited=True, retry_after_s=wait
    )


def _asks(wait: float) -> str:
    return f", asking to wait {wait:g} s" if wait else ""


def _target(response: httpx2.Response, key: Key | None) -> str:
    """Where a redirect leads, without what may be secret in it."""
    try:
        target = response.request.url.join(response.headers.get("location", ""))
        shown = place(target)
    except (httpx2.InvalidURL, ValueError, TypeError):
        return "an address that cannot be read"
    return key.blot(shown) if key is not None else shown
