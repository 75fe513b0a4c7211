"""Pages that are kept in the file of an engine's answers: read once, replayed exactly.

The key of a page holds that it was opened, so that no query can be mistaken for an address. Pages that
could not be read are not kept, and never take the place of one that was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from innersearch.pages.base import Opened, Page, Pages
from innersearch.search.base import SearchResult
from innersearch.search.wrappers.cached import OPENED, CachedEngine, Mode
from innersearch.types import Document, Source


class _Asked:
    """Pages as something to be searched by address: the document found is the page, and what it leads
    to are documents without a text.
    """

    def __init__(self, pages: Pages) -> None:
        self.name: str = pages.name
        self.source: Source = pages.source
        self.identity: Mapping[str, str | int | float | bool | None] = {**pages.identity, **OPENED}
        self._pages = pages

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return [_as_result(opened) for opened in await self._pages.open(queries)]

    async def close(self) -> None:
        await self._pages.close()


class CachedPages:
    """Pages with a memory; their identity is that of the pages.

    Args:
        pages: What is kept.
        path: The SQLite file; engines may keep their answers in it as well.
        mode: As of `CachedEngine`. In replay a page that is not kept fails, and says why.

    Raises:
        SearchError: The file is damaged, no cache, or missing.
    """

    def __init__(self, pages: Pages, path: Path, mode: Mode = "record") -> None:
        self.name: str = pages.name
        self.source: Source = pages.source
        self.identity: Mapping[str, str | int | float | bool | None] = pages.identity
        self._engine = CachedEngine(_Asked(pages), path, mode)
        self.counts = self._engine.counts
        """Pages by where they came from; see `CachedEngine`."""

    async def open(self, addresses: Sequence[str]) -> list[Opened]:
        """One page or reason per address, in order."""
        # One by one, for a batch is asked for as a whole: a slow page would hold up the others.
        asked = (self._engine.search([address], 1) for address in addresses)
        return [_as_opened(result) for [result] in await asyncio.gather(*asked)]

    async def close(self) -> None:
        """Close the file and the pages."""
        await self._engine.close()


_MISSING = "missing: "
"""Marks an error that is the page's own, in a result that has no other place for it."""


def _as_result(opened: Opened) -> SearchResult:
    page = opened.page
    if page is None:
        mark = _MISSING if opened.missing else ""
        error = f"{mark}{opened.error}"
        return SearchResult(error=error, latency_s=opened.latency_s, cost_usd=opened.cost_usd)
    links = (Document(link, "", "", link) for link in page.links)
    found = (Document(page.address, page.title, page.text, page.address), *links)
    return SearchResult(found, latency_s=opened.latency_s, cost_usd=opened.cost_usd)


def _as_opened(result: SearchResult) -> Opened:
    if not result.documents:
        error = result.error or "the page has no text"
        missing = error.startswith(_MISSING)
        error = error.removeprefix(_MISSING)
        return Opened(None, error, missing, result.latency_s, result.cost_usd)
    first, *links = result.documents
    page = Page(first.id, first.title, first.text, tuple(link.id for link in links))
    return Opened(page, None, latency_s=result.latency_s, cost_usd=result.cost_usd)
