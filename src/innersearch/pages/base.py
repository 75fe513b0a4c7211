"""The page seam: addresses in, one page or one reason per address out, in order.

A page that could not be read is data: a result with an `error`, counted by whoever asked, never an
exception and never an empty text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from innersearch.types import Source

MOST = 250_000
"""Longest text of a page, in characters; the rest is cut off."""
MAX_ADDRESS = 2_000
"""Longest address that is opened, in characters."""

_WEB = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """What stands at an address."""

    address: str
    title: str
    text: str
    """Plain text or Markdown, at most `MOST` characters."""
    links: tuple[str, ...] = ()
    """Addresses that it leads to."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of opening an address: a page, or why there is none."""

    page: Page | None = None
    error: str | None = None
    missing: bool = False
    """Whether the reason is the page itself: there is none, or it is not to be read. Other errors are
    failures of whoever was asked."""
    latency_s: float = 0.0
    """Seconds from asking to answer."""
    cost_usd: float = 0.0
    """Price of the calls that were made for it, in US dollars."""


class Pages(Protocol):
    """Something that has pages."""

    name: str
    """As a user writes it, for example `web`."""
    source: Source
    """The author of what it returns."""
    identity: Mapping[str, str | int | float | bool | None]
    """What decides its results, version included."""

    async def open(self, addresses: Sequence[str]) -> list[Opened]:
        """One result per address, in order."""

    async def close(self) -> None:
        """Let go of connections, files and processes; it is not asked again."""


def page_or_reason(address: str, title: str, text: str, links: Sequence[str] = ()) -> Opened:
    """A page, cut to its longest text; a reason where there is no text."""
    text = _plain(text, MOST)
    if not text:
        return Opened(error="the page has no text", missing=True)
    return Opened(Page(address, _plain(" ".join(title.split()), 1_000), text, tuple(links)))


def same(address: str) -> str:
    """What two ways to write one address have in common.

    >>> same(" HTTPS://Example.org/wiki/Peru/#History ") == same("https://example.org/wiki/Peru")
    True
    >>> same("doc 7#2")
    'doc 7#2'
    """
    address = " ".join(unicodedata.normalize("NFC", address).split())
    web = _WEB.match(address)
    if web is None:
        return address
    scheme, host, rest = web.groups()
    return f"{scheme.lower()}://{host.lower()}{rest.rstrip('/')}"


def _plain(text: str, limit: int) -> str:
    """Text of limited length without halves of surrogate pairs, which no file can hold."""
    return text[:limit].encode("utf-8", "replace").decode().strip()
