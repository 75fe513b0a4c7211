"""The tools of an agent that gathers documents: they find them, and keep a memory of them in its state.

`search` and `fan_out` return what was not returned before, `grep` and `read` look into the corpus,
`review` shows again what is known, `curate` chooses, `verify` holds documents against a claim, and `end`
is the end. What the memory holds are documents as they came; what the policy reads of it stands in the
notes of its state, in several degrees of detail. Calls of one reply are made at once and take effect in
their order.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from innersearch import memory as remembered
from innersearch.config import SearchSettings
from innersearch.config.harness import HarnessSettings
from innersearch.grammar import Action
from innersearch.grammar.harness import TOOLS
from innersearch.memory import DETAILS, Answer, Memory, Verdict
from innersearch.memory.replay import after, arguments, claim_of, ids, verdicts, wanted
from innersearch.memory.sentences import fitting
from innersearch.search.base import Engine, SearchRequest, SearchResult, ask
from innersearch.tools.base import Argument, Found, Outcome, State, ToolRequest, ToolSchema
from innersearch.types import Call, Document, Source

KEY = "harness"
MEMORY, STATUS = "Memory:", "Status:"
"""Headings of what is shown of it in every prompt."""
NOTHING_NEW = "Nothing that was not returned before."
UNKNOWN = "Not among the documents found: {}."
_DEEPEST = 200
"""Documents that an engine is asked for at most, to find some that are new."""
_FREE = ("review", "curate", "verify", "end")
"""Tools that cost no search, and can be used in the last turn."""

Judge = Callable[[str, Document], Awaitable[tuple[Answer, str]]]
"""Says whether a document supports a claim, and why."""

_SAID = {
    "search": ("Search for documents that were not returned before.", "What to look for."),
    "fan_out": ("Search with several queries at once.", "What to look for."),
    "grep": ("Find documents of the corpus that hold a text.", "A regular expression."),
    "read": ("Read a document as a whole.", "Its id."),
    "review": ("Show documents again that were found.", "Their ids."),
    "curate": ("Choose documents, or take them back.", "Ids to choose."),
    "verify": ("Hold documents against a claim.", "Their ids."),
    "end": ("End, with the curated documents as the result.", "Why."),
}
_ARGUMENTS = {
    "curate": (
        Argument("add", "Ids to choose.", several=True),
        Argument("remove", "Ids to take back.", several=True),
        Argument("importance", "Ids with very_high, high, fair or low."),
    ),
    "verify": (
        Argument("ids", "Ids of the documents.", several=True),
        Argument("claim", "What they should support."),
        Argument("verdict", "yes or no, for all of them or for each.", several=True),
    ),
    "end": (Argument("reason", "Why."),),
}
"""The arguments of tools that take more than one."""


def _schema(name: str) -> ToolSchema:
    said, argument = _SAID[name]
    several = name in ("fan_out", "review")
    own = (Argument(TOOLS[name], argument, several=several),)
    return ToolSchema(name, said, _ARGUMENTS.get(name, own))


SCHEMAS = tuple(map(_schema, TOOLS))
"""What a policy is told about each of the tools."""


@dataclass
class _Desk:
    """What one trajectory has on its desk."""

    memory: Memory = field(default_factory=Memory)
    asked: int = 0
    """Queries so far."""
    curated: int = -1
    """The turn of the last call of curate."""
    last: asyncio.Future[None] | None = None
    """Done when the call before has taken effect."""


@dataclass(frozen=True)
class Harness:
    """What the tools share."""

    engine: Engine
    search: SearchSettings
    settings: HarnessSettings
    corpus: Sequence[Document] | None = None
    """The documents that the engine searches, where they are on this machine."""
    judge: Judge | None = None
    """None where the policy judges for itself."""

    def tools(self) -> tuple[HarnessTool, ...]:
        """All of them."""
        return tuple(HarnessTool(name, self) for name in TOOLS)

    async def answers(
        self, tool: str, action: Action, request: ToolRequest, state: State, desk: _Desk
    ) -> list[tuple[SearchResult, Call]]:
        """What is found or judged outside, before the memory changes."""
        if tool in ("search", "fan_out"):
            first = desk.asked
            desk.asked += len(action.inputs)
            asked = (
                self._search(tool, text, first + n, request, state)
                for n, text in enumerate(action.inputs)
            )
            return list(await asyncio.gather(*asked))
        if tool in ("grep", "read"):
            return [await self._look(tool, text) for text in action.inputs]
        call = Call(0, action.inputs[0] if action.inputs else "", Source.FORCED, tool=tool)
        if tool != "review":
            return [(SearchResult(), call)]
        return [(SearchResult(), replace(call, input=text)) for text in action.inputs]

    async def _search(
        self, tool: str, text: str, number: int, request: ToolRequest, state: State
    ) -> tuple[SearchResult, Call]:
        started = time.perf_counter()
        asked = SearchRequest(text, request.question, (*state.identity, number), request.step)
        deep = min(max(_DEEPEST, self.search.k), self.search.k * (number + 1))
        result = await ask(self.engine, asked, deep)
        taken = result.latency_s or time.perf_counter() - started
        call = Call(
            0,
            text,
            self.engine.source,
            list(result.documents),
            result.error,
            taken,
            self.engine.name,
            label=result.label,
            faults=result.faults,
            partial=result.partial,
            tool=tool,
        )
        return result, call

    async def _look(self, tool: str, text: str) -> tuple[SearchResult, Call]:
        if self.corpus is None:
            told = f"{tool} needs a corpus on this machine: use search."
            return SearchResult(told=told), Call(0, text, Source.FORCED, error=told, tool=tool)
        found = await asyncio.to_thread(self._held if tool == "grep" else self._named, text)
        if isinstance(found, str):
            return SearchResult(told=found), Call(0, text, Source.FORCED, error=found, tool=tool)
        call = Call(0, text, self.engine.source, found, engine=self.engine.name, tool=tool)
        return SearchResult(tuple(found)), call

    def _held(self, pattern: str) -> list[Document] | str:
        try:
            matches = re.compile(pattern, re.IGNORECASE).search
        except re.error as error:
            return f"{pattern!r} is no regular expression: {error}."
        found = []
        for document in self.corpus or ():
            if matches(document.title) or matches(document.text):
                found.append(document)
                if len(found) == self.settings.hits:
                    break
        return found

    def _named(self, name: str) -> list[Document] | str:
        found = [document for document in self.corpus or () if document.id == name][:1]
        return found or f"The corpus has no document {name}."

    async def judged(self, given: dict[str, object], memory: Memory) -> list[Verdict]:
        """What is said about documents that are known and a claim."""
        said = [one for one in verdicts(given) if one.document in memory.texts][: self.settings.fan_out]
        if self.judge is None:
            return said
        answers = (self.judge(one.claim, memory.texts[one.document]) for one in said)
        found = zip(said, await asyncio.gather(*answers), strict=True)
        return [replace(one, answer=answer, reason=reason) for one, (answer, reason) in found]


@dataclass(frozen=True)
class HarnessTool:
    """One of the tools."""

    name: str
    harness: Harness

    @property
    def schema(self) -> ToolSchema:
        """What a policy is told about it."""
        return _schema(self.name)

    @property
    def identity(self) -> dict[str, object]:
        """What its results depend on, for the record."""
        return self.harness.settings.model_dump()

    @property
    def free(self) -> bool:
        """Whether it costs no search, so that the last turn may use it."""
        return self.name in _FREE

    async def use(self, action: Action, request: ToolRequest, state: State) -> Outcome:
        """Do what is asked for; the memory changes in the order of the calls."""
        desk = desk_of(state)
        before, done = desk.last, asyncio.get_running_loop().create_future()
        desk.last = done
        try:
            answers = await self.harness.answers(self.name, action, request, state, desk)
            if before is not None:
                await before
            return await self._taken(action, answers, desk, state)
        finally:
            if not done.done():
                done.set_result(None)

    async def _taken(
        self,
        action: Action,
        answers: Sequence[tuple[SearchResult, Call]],
        desk: _Desk,
        state: State,
    ) -> Outcome:
        results, calls = [], []
        for result, call in answers:
            shown, noted = await self._take(result, call, desk, state)
            desk.memory = after(desk.memory, noted, self.harness.settings)
            results.append(_without_copies(shown, desk.memory))
            calls.append(noted)
        note(state, desk, self.harness.settings)
        most = self.harness.settings.read_tokens if self.name in ("read", "review") else None
        return Outcome(tuple(results), tuple(calls), ends=self.name == "end", max_tokens=most)

    async def _take(
        self, result: SearchResult, call: Call, desk: _Desk, state: State
    ) -> tuple[SearchResult, Call]:
        """What the policy is shown of an answer, and what the memory takes of it."""
        memory, settings = desk.memory, self.harness.settings
        if call.error is not None:
            return result, call
        if self.name == "review":
            known = memory.texts.get(call.input)
            if known is None:
                told = UNKNOWN.format(call.input)
                return SearchResult(told=told), replace(call, error=told)
            return SearchResult((known,)), call
        if self.name == "curate":
            desk.curated = state.generations
            _, said = remembered.curate(memory, *wanted(arguments(call.input)), settings)
            return SearchResult(told=f"{said}."), call
        if self.name == "verify":
            return await self._verify(call, memory)
        if self.name == "end":
            return SearchResult(told="The end."), call
        new = result.documents
        if self.name != "read":
            new = tuple(one for one in new if one.id not in memory.seen)
        if self.name in ("search", "fan_out"):
            new = new[: self.harness.search.k]
        state.found += (Found(one.url or one.id, call.input, state.generations) for one in new)
        return self._shown(new, call), replace(call, documents=list(new))

    def _shown(self, new: Sequence[Document], call: Call) -> SearchResult:
        """Documents as they are shown: of long ones the sentences that fit."""
        if not new:
            return SearchResult(told=NOTHING_NEW)
        most = self.harness.settings.compress
        if self.name == "read" or not most:
            return SearchResult(tuple(new))
        return SearchResult(tuple(replace(one, text=fitting(one.text, call.input, most)) for one in new))

    async def _verify(self, call: Call, memory: Memory) -> tuple[SearchResult, Call]:
        given = arguments(call.input)
        said = await self.harness.judged(given, memory)
        unknown = [name for name in ids(given.get("ids")) if name not in memory.texts]
        if not said or not claim_of(given):
            told = UNKNOWN.format(", ".join(unknown)) if unknown else "verify needs ids and a claim."
            return SearchResult(told=told), replace(call, error=told)
        lines = [f"{one.document}: {one.answer} {one.reason}".rstrip() for one in said]
        lines += [UNKNOWN.format(", ".join(unknown))] if unknown else []
        documents = [Document(one.document, one.answer.value, one.reason) for one in said]
        return SearchResult(told="\n".join(lines)), replace(call, documents=documents)

    async def close(self) -> None:
        """The engine is closed by whoever opened it."""


def _without_copies(result: SearchResult, memory: Memory) -> SearchResult:
    kept = tuple(one for one in result.documents if one.id not in memory.copies)
    if len(kept) == len(result.documents):
        return result
    return replace(result, documents=kept, told=result.told or NOTHING_NEW)


def desk_of(state: State) -> _Desk:
    """The desk of a trajectory."""
    desk = state.memory.get(KEY)
    if not isinstance(desk, _Desk):
        desk = state.memory[KEY] = _Desk()
    return desk


def note(state: State, desk: _Desk, settings: HarnessSettings) -> None:
    """Show the memory as it is now in every prompt to come, and what is chosen as the result so far."""
    memory = desk.memory
    state.notes[MEMORY] = tuple(remembered.write(memory, settings, level) for level in range(DETAILS))
    last = memory.log[-1] if memory.log else None
    least = f"turn {state.generations}"
    counts = f"{least}; pool {len(memory.pool)}; curated {len(memory.curated)}"
    said = counts + (f"; last search: {last.returned} returned, {last.new} new" if last else "")
    idle = settings.nudge and memory.pool and desk.curated != state.generations
    nudged = f"{said}; curate what helps before you go on" if idle else said
    state.notes[STATUS] = (nudged, said, counts, least)
    state.chosen = memory.chosen
