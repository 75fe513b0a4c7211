"""`open` as a tool: pages by address, and a reader that says what the policy sees of them.

What belongs to a trajectory lies in its `State`: which addresses its searches returned, what it has read
of each page, and the notes in the order of the addresses. So the same question in a later epoch begins
with nothing read, and pages that arrive in another order are read in the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from innersearch.errors import SearchError
from innersearch.grammar import Action
from innersearch.pages.base import Opened, Page, Pages, same
from innersearch.pages.readers import Reader, Reading, texts_of
from innersearch.search.base import SearchResult
from innersearch.tools.base import Argument, Found, Outcome, State, ToolRequest, ToolSchema
from innersearch.types import Call, Document, Source

NAME = "open"
SCHEMA = ToolSchema(
    NAME, "Read a page that a search found.", (Argument("url", "The address of the page."),)
)
NOT_SEEN = "Only pages that a search found can be opened."
NOT_LAST = "Only pages that the last search found can be opened."
NOTHING_NEW = "Nothing new on this page."
GONE = "Page unavailable."
NOTES = "Notes of pages:"
"""Heading of the notes of a reader that takes some."""


@dataclass
class _Memory:
    """What one trajectory has read."""

    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts by page."""
    notes: tuple[str, ...] = ()
    last: asyncio.Future[None] | None = None
    """Done when the use before has read its pages."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An address that is opened, or why it is not."""

    address: str
    query: str = ""
    refused: str = ""


@dataclass(frozen=True)
class OpenTool:
    """Pages, and a reader of them; `only_seen` as in `RolloutSettings`."""

    pages: Pages
    reader: Reader
    only_seen: bool | Literal["last"] = True

    @property
    def schema(self) -> ToolSchema:
        """What a policy is told about it."""
        return SCHEMA

    @property
    def identity(self) -> Mapping[str, str | int | float | bool | None]:
        """What its results depend on, for the record."""
        return {**self.pages.identity, **self.reader.identity, "only_seen": self.only_seen}

    async def use(self, action: Action, request: ToolRequest, state: State) -> Outcome:
        """Open the addresses, all at once, and read them one after the other, in their order."""
        memory: _Memory = state.memory.setdefault(NAME, _Memory())
        before, done = memory.last, asyncio.get_running_loop().create_future()
        memory.last = done
        try:
            asked = self._asked(action.inputs, memory, state)
            opened = await self._open(asked)
            if before is not None:
                await before
            results, calls = [], []
            for text, one in zip(action.inputs, asked, strict=True):
                result, call = await self._read(text, one, opened, memory, request, state)
                results.append(result)
                calls.append(call)
        finally:
            if not done.done():
                done.set_result(None)
        return Outcome(tuple(results), tuple(calls), max_tokens=self.reader.max_tokens)

    async def close(self) -> None:
        """Close pages and reader."""
        await self.pages.close()
        await self.reader.close()

    def _asked(self, inputs: Sequence[str], memory: _Memory, state: State) -> list[_Asked]:
        """What is opened; each page of an action once."""
        # What a search of the same reply returns, the policy has not seen.
        seen = [found for found in state.found if found.turn < state.generations]
        last = max((found.turn for found in seen), default=0)
        known = {same(found.address): found for found in seen}
        of_last = {same(found.address) for found in seen if found.turn == last}
        asked: list[_Asked] = []
        taken: set[str] = set()
        for text in inputs:
            key = same(text)
            one = self._one(key, text, known.get(key), key in of_last)
            if not one.refused and (key in taken or self._is_read(key, memory)):
                one = _Asked(one.address, one.query, NOTHING_NEW)
            taken.add(key)
            asked.append(one)
        return asked

    def _one(self, key: str, text: str, found: Found | None, in_last: bool) -> _Asked:  # noqa: FBT001
        if not key or (self.only_seen and found is None):
            return _Asked(text, refused=NOT_LAST if self.only_seen == "last" else NOT_SEEN)
        if self.only_seen == "last" and not in_last:
            return _Asked(text, refused=NOT_LAST)
        return _Asked(found.address if found else text.strip(), found.query if found else "")

    def _is_read(self, key: str, memory: _Memory) -> bool:
        return not self.reader.again and key in memory.known

    async def _open(self, asked: Sequence[_Asked]) -> dict[str, Opened]:
        addresses = [one.address for one in asked if not one.refused]
        found = await self.pages.open(addresses) if addresses else []
        return dict(zip(addresses, found, strict=True))

    async def _read(
        self,
        text: str,
        one: _Asked,
        opened: Mapping[str, Opened],
        memory: _Memory,
        request: ToolRequest,
        state: State,
    ) -> tuple[SearchResult, Call]:
        if one.refused:
            return self._result(text, one.refused, _WHY[one.refused], failed=False)
        came = opened[one.address]
        if came.page is None:
            return self._result(text, GONE, came.error or GONE, failed=not came.missing, came=came)
        try:
            documents = await self._shown(came.page, one, memory, request, state)
        except SearchError as error:
            return self._result(text, GONE, str(error), failed=True, came=came)
        if not documents:
            return self._result(text, NOTHING_NEW, _WHY[NOTHING_NEW], failed=False, came=came)
        result = SearchResult(tuple(documents), latency_s=came.latency_s, cost_usd=came.cost_usd)
        return result, self._call(text, documents, None, came)

    async def _shown(
        self, page: Page, one: _Asked, memory: _Memory, request: ToolRequest, state: State
    ) -> list[Document]:
        """What the reader shows of a page, which is known from now on."""
        key = same(one.address)
        question = request.question.question if request.question else ""
        before = memory.known.get(key, ())
        identity = (*state.identity, key, len(before))
        asked = Reading(question, one.query or question, before, memory.notes, identity)
        documents = await self.reader.read(page, asked)
        texts = texts_of(documents)
        memory.known[key] = (*before, *texts)
        memory.notes = (*memory.notes, *texts)
        if self.reader.takes_notes and memory.notes:
            state.notes[NOTES] = "\n".join(memory.notes)
        return documents

    def _result(
        self, text: str, told: str, error: str, *, failed: bool, came: Opened | None = None
    ) -> tuple[SearchResult, Call]:
        """A page that is not shown; what the policy did wrong is no failure of whoever has pages."""
        latency, cost = (came.latency_s, came.cost_usd) if came else (0.0, 0.0)
        result = SearchResult((), error if failed else None, latency, cost, told=told)
        return result, self._call(text, (), error, came)

    def _call(
        self, text: str, documents: Sequence[Document], error: str | None, came: Opened | None
    ) -> Call:
        latency = came.latency_s if came else 0.0
        shown = list(documents)
        return Call(0, text, Source.PAGE, shown, error, latency, self.pages.name, tool=NAME)


_WHY = {
    NOT_SEEN: "no search of the trajectory found it",
    NOT_LAST: "its last search did not find it",
    NOTHING_NEW: "everything of it was shown before",
}
"""What records say where the policy is told the other."""
