"""Pages of a corpus: its documents, joined by address, or where they have none by what their ids begin
with, in the order of the corpus.

`Peru`, `Peru/1`, `Peru#2` and `Peru-3` are parts of the page `Peru` where no document says its address;
a page is opened by its address, its id, or the id of any of its documents.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from innersearch.errors import SearchError
from innersearch.pages.base import Opened, page_or_reason, same
from innersearch.types import Document, Source

_PART = re.compile(r"(?P<page>.+?)[/#_:-]\d+")
MISSING = "the corpus has no page of that address"


class CorpusPages:
    """Pages that are made of documents.

    An index of 24 bytes per document is made when the first page is opened, by reading all of them once.

    Args:
        documents: The corpus.
        identity: What decides it, such as that of its index.
        close: Lets go of the corpus.
    """

    name = "corpus"
    source = Source.PAGE

    def __init__(
        self,
        documents: Sequence[Document],
        identity: Mapping[str, str | int | float | bool | None],
        close: Callable[[], None] | None = None,
    ) -> None:
        self._documents, self._close = documents, close
        self._reading = asyncio.Lock()
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "pages": "corpus",
            **{f"corpus_{name}": value for name, value in identity.items()},
        }

    async def open(self, addresses: Sequence[str]) -> list[Opened]:
        """One page or reason per address, in order."""
        async with self._reading:
            return await asyncio.to_thread(lambda: [self._open(address) for address in addresses])

    async def close(self) -> None:
        """Let go of the corpus."""
        if self._close is not None:
            self._close()

    def _open(self, address: str) -> Opened:
        started = perf_counter()
        try:
            parts = self._parts(same(address))
        except SearchError as error:
            return Opened(error=str(error), latency_s=perf_counter() - started)
        latency = perf_counter() - started
        if not parts:
            return Opened(error=MISSING, missing=True, latency_s=latency)
        first = parts[0]
        text = "\n\n".join(part.text for part in parts)
        opened = page_or_reason(first.url or page_of(first), first.title, text)
        return Opened(opened.page, opened.error, opened.missing, latency)

    def _parts(self, address: str) -> list[Document]:
        """The documents of the page of an address, or of the page that a document of that id is in."""
        found = [document for document in self._at(address) if same(page_of(document)) == address]
        if found:
            return found
        for document in self._at(address):
            if same(document.id) == address:
                page = same(page_of(document))
                return [other for other in self._at(page) if same(page_of(other)) == page]
        return []

    def _at(self, name: str) -> list[Document]:
        """Documents that may have that page or id: those whose hash is the same."""
        hashes, rows = self._index
        key = _hash(name)
        start, end = np.searchsorted(hashes, key, "left"), np.searchsorted(hashes, key, "right")
        return [self._documents[row] for row in sorted({int(row) for row in rows[start:end]})]

    @cached_property
    def _index(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes of pages and of ids that are none, sorted, and the rows they stand in."""
        hashes, rows = [], []
        for row, document in enumerate(self._documents):
            for name in {same(page_of(document)), same(document.id)}:
                hashes.append(_hash(name))
                rows.append(row)
        keys = np.array(hashes, np.uint64)
        order = np.argsort(keys, kind="stable")
        return keys[order], np.array(rows, np.int64)[order]


def page_of(document: Document) -> str:
    """The page that a document is a part of.

    >>> page_of(Document("Peru/1", "Peru", "…")), page_of(Document("7", "Peru", "…"))
    ('Peru', '7')
    """
    if document.url:
        return document.url
    part = _PART.fullmatch(document.id)
    return part["page"] if part else document.id


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "replace"), digest_size=8).digest(), "big")
