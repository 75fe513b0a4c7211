"""The token of a server: accepted wherever the APIs put their keys, compared in constant time."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

HEADERS = (b"x-api-key", b"x-subscription-token")
PARAMETER = "api_key"
"""Where SerpAPI sends its key in the address, and old clients of Tavily in the body."""
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
BODY_PATHS = ("/tavily/",)
"""Where a body may hold it."""


def shown(scope: Mapping[str, Any]) -> Iterator[str]:
    """What headers and address show in place of a key."""
    for name, value in scope["headers"]:
        text = value.decode("latin-1").strip()
        if name == b"authorization":
            kind, _, rest = text.partition(" ")
            yield rest.strip() if kind.lower() == "bearer" else text
        elif name in HEADERS:
            yield text
    if PARAMETER.encode() in scope["query_string"]:
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        yield from (value for name, value in pairs if name == PARAMETER)


def shown_in(body: bytes) -> Iterator[str]:
    """What a body shows in place of a key."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict) and isinstance(given := values.get(PARAMETER), str):
        yield given


def is_local(scope: Mapping[str, Any]) -> bool:
    """Whether a request names this machine, and no page of another site makes it.

    A server without a token listens to this machine alone, but so does a browser: a page from anywhere
    could send it requests, or have its own name point here to read the answers.
    """
    headers = dict(scope["headers"])
    host = _name(headers.get(b"host", b""))
    origin = headers.get(b"origin")
    from_here = origin is None or _name(origin.rpartition(b"//")[2]) in _LOCAL
    return from_here and (host in _LOCAL or not host)


def _name(address: bytes) -> str:
    """A host without its port."""
    text = address.decode("latin-1").lower()
    return text.partition("]")[0] + "]" if text.startswith("[") else text.partition(":")[0]


def is_one(token: str, given: Iterator[str]) -> bool:
    """Whether one of those given is the token; each is compared to its end."""
    wanted = token.encode()
    found = [hmac.compare_digest(wanted, text.encode("utf-8", "replace")) for text in given]
    return any(found)
