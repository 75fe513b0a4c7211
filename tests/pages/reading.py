"""Pages to read in tests: opened in an event loop of their own, from servers that are allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from innersearch.pages.base import Opened, Page, Pages
from innersearch.pages.extraction import Extraction
from innersearch.pages.web import WebPages
from innersearch.types import Source
from tests.search_servers import LocalServer

T = TypeVar("T")


class Reader:
    """An event loop, and processes that read pages, for several tests: they take a second to start."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._extraction = self.run(self._made())

    async def _made(self) -> Extraction:
        return Extraction()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def open(self, server: LocalServer, *paths: str, **settings: Any) -> list[Opened]:
        """The pages of a server at some paths."""

        async def run() -> list[Opened]:
            pages = web(server, extraction=self._extraction, **settings)
            try:
                return await pages.open([server.url + path for path in paths])
            finally:
                await pages.close()

        return self.run(run())

    def close(self) -> None:
        self.run(self._extraction.close())
        self._runner.close()


def open_all(pages: Pages, *addresses: str) -> list[Opened]:
    """What pages have at some addresses; they are closed."""

    async def run() -> list[Opened]:
        try:
            return await pages.open(addresses)
        finally:
            await pages.close()

    return asyncio.run(run())


def web(server: LocalServer, *, obeys: bool = False, **settings: Any) -> WebPages:
    """Pages of the web that may read from a server of a test."""
    return WebPages([server.url.removeprefix("http://")], obeys=obeys, **settings)


class Shelf:
    """Pages that are held, and how often each was asked for."""

    name = "shelf"
    source = Source.PAGE

    def __init__(self, held: Mapping[str, str | Opened]) -> None:
        self.held = dict(held)
        self.asked: list[str] = []
        self.closed = False
        self.identity: Mapping[str, Any] = {"pages": "shelf"}

    async def open(self, addresses: Sequence[str]) -> list[Opened]:
        self.asked += addresses
        return [self._one(address) for address in addresses]

    def _one(self, address: str) -> Opened:
        held = self.held.get(address)
        if held is None:
            return Opened(error="no such page", missing=True)
        return held if isinstance(held, Opened) else Opened(Page(address, f"About {address}", held))

    async def close(self) -> None:
        self.closed = True
