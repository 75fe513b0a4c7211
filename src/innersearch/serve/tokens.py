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


def is_one(token: str, given: Iterator[str]) -> bool:
    """Whether one of those given is the token; each is compared to its end."""
    wanted = token.encode()
    found = [hmac.compare_digest(wanted, text.encode("utf-8", "replace")) for text in given]
    return any(found)
