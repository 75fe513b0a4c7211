"""Search as a tool: a router decides who answers a query, the engine or the policy itself.

Where the policy always answers itself there is no engine, and nothing ever interrupts it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from innersearch.config import SearchSettings
from innersearch.errors import ConfigError, InnersearchError
from innersearch.grammar import Action, Grammar
from innersearch.grammar.readings import most_inputs
from innersearch.routing.learning import Learner
from innersearch.routing.router import Query, Route, Router, parse_router
from innersearch.routing.signals import SAMPLED, SIGNALS, Own
from innersearch.search.base import Engine, SearchRequest, SearchResult, ask
from innersearch.tools.base import Argument, Found, Outcome, State, ToolRequest, ToolSchema
from innersearch.types import Call, Decision, Source

NAME = "search"
SCHEMA = ToolSchema(NAME, "Search for documents.", (Argument("query", "What to look for."),))
_Answer = tuple[SearchResult | None, Call]
_log = logging.getLogger(__name__)


def demand_one_query(router: Router, grammar: Grammar) -> None:
    """Refuse a grammar with several queries per call where the policy may answer them itself.

    Raises:
        ConfigError: It is one: whose answer the policy would go on with cannot be told.
    """
    most = max((most_inputs(reading) for reading in grammar.reads.values()), default=1)
    if (most > 1 or grammar.several) and not router.every:
        raise ConfigError(
            f"the router {router.name} lets the policy answer queries itself, one at a time, and the "
            f"grammar {grammar.name} has several per reply: take the router always, or another grammar"
        )


@dataclass(frozen=True)
class SearchTool:
    """A router, and the engine that it sends queries to."""

    engine: Engine | None
    """None where the router never asks one."""
    router: Router
    settings: SearchSettings = field(default_factory=SearchSettings)
    learner: Learner | None = field(default=None, init=False)
    """What a router that learns in use has found out."""

    def __post_init__(self) -> None:
        if self.engine is None and self.router.asks:
            raise ConfigError(
                f"the router {self.router.name} asks an engine and there is none: give one, or take "
                "the router self"
            )
        if told := self.router.learning:
            object.__setattr__(self, "learner", Learner(told, self.settings.experience))

    @classmethod
    def itself(cls, settings: SearchSettings | None = None) -> SearchTool:
        """The policy is its own search engine."""
        return cls(None, parse_router("self"), settings or SearchSettings())

    @property
    def schema(self) -> ToolSchema:
        """What a policy is told about it."""
        return SCHEMA

    @property
    def identity(self) -> dict[str, Any] | None:
        """What results depend on, for the record; None where no engine is asked."""
        if self.engine is None:
            return None
        deciding = {"k", "style", "max_searches", "max_tokens", "stop_at_answer", "samples"}
        return {
            "engine": dict(self.engine.identity),
            "router": str(self.router),
            **self.settings.model_dump(include=deciding),
            **({"experience": self.learner.identity} if self.learner else {}),
        }

    def demand_grammar(self, grammar: Grammar) -> None:
        """Refuse a grammar with several queries per call where the policy may answer them itself.

        Raises:
            ConfigError: It is one: whose answer the policy would go on with cannot be told.
        """
        demand_one_query(self.router, grammar)

    def listens(self, state: State) -> bool:
        """Whether the policy is interrupted after its next query."""
        return self.router.listens(len(state.memory.get(NAME, ())))

    async def use(self, action: Action, request: ToolRequest, state: State) -> Outcome:
        """Answer the queries, all at once."""
        asked = [self._query(text, request, state, n) for n, text in enumerate(action.inputs)]
        if len(asked) == 1:
            answers = [await self._answer(asked[0], request, state)]
        else:
            answers = await self._answers(asked, request, state)
        for query, (result, _) in zip(asked, answers, strict=True):
            for document in result.documents if result else ():
                address = document.url or document.id
                state.found.append(Found(address, query.text, state.generations))
        return Outcome(tuple(found for found, _ in answers), tuple(call for _, call in answers))

    async def close(self) -> None:
        """Close the engine, and write what was learnt in use."""
        if self.learner is not None:
            self.learner.save()
        if self.engine is not None:
            await self.engine.close()

    def _query(self, text: str, request: ToolRequest, state: State, number: int) -> Query:
        earlier: list[Query] = state.memory.setdefault(NAME, [])
        identity = (*state.identity, state.generations, *((number,) if number else ()))
        written = request.written
        query = Query(
            text, len(earlier), written.logprobs, tuple(earlier[-1:]), identity, written.entropies
        )
        earlier.append(query)
        return query

    async def _answers(
        self, asked: Sequence[Query], request: ToolRequest, state: State
    ) -> list[_Answer]:
        """The answers to several queries; one that fails by an exception fails alone."""
        waiting = (self._answer(query, request, state) for query in asked)
        answers: list[_Answer] = []
        for query, answer in zip(
            asked, await asyncio.gather(*waiting, return_exceptions=True), strict=True
        ):
            if isinstance(answer, InnersearchError) or (
                isinstance(answer, BaseException) and not isinstance(answer, Exception)
            ):
                raise answer
            if isinstance(answer, Exception):
                error = type(answer).__name__
                _log.warning("a search of several failed: %s", error)
                call = Call(query.index, query.text, Source.FORCED, error=error)
                answer = SearchResult(error=error), call
            answers.append(answer)
        return answers

    async def _answer(self, query: Query, request: ToolRequest, state: State) -> _Answer:
        route = (self.learner or self.router).route(query)
        if route.writer == "policy first":
            return await self._answer_if_unsure(query, route, request, state)
        real = route.writer == "engine"
        decision = Decision(self.router.name, real, route.signal, route.value, route.threshold)
        if real:
            return await self._search(query, decision, request, state)
        return None, Call(query.index, query.text, Source.SELF_SEARCH, decision=decision)

    async def _answer_if_unsure(
        self, query: Query, route: Route, request: ToolRequest, state: State
    ) -> _Answer:
        """Let the policy write first, and the engine where it is not sure of what it wrote."""
        if state.pen is None:
            raise ConfigError("a gate needs a policy that writes first: search within an episode")
        further = self.settings.samples if route.signal in SAMPLED else 0
        others = await state.pen.samples(further) if further else []
        draft = await state.pen.write()
        texts = [other.text or "" for other in others]
        own = Own("", (), ())
        if draft.text is not None:
            own = Own(draft.text, draft.logprobs, draft.entropies, texts)
        value = SIGNALS[route.signal](own)
        unsure = draft.text is None or value > (route.threshold or 0.0) or route.check
        decision = Decision(
            self.router.name,
            unsure,
            route.signal,
            value,
            route.threshold,
            own=own.text if unsure else None,
            own_tokens=sum(other.tokens for other in others) + unsure * draft.tokens,
        )
        if not unsure:
            return None, Call(query.index, query.text, Source.SELF_SEARCH, decision=decision)
        state.pen.take_back()
        return await self._search(query, decision, request, state)

    async def _search(
        self, query: Query, decision: Decision, request: ToolRequest, state: State
    ) -> _Answer:
        engine = self.engine
        if engine is None:
            raise ConfigError(f"the router {self.router.name} asks an engine and there is none")
        started = time.perf_counter()
        asked = SearchRequest(query.text, request.question, (*state.identity, query.index), request.step)
        result = await ask(engine, asked, self.settings.k)
        call = Call(
            query.index,
            query.text,
            engine.source,
            list(result.documents),
            result.error,
            result.latency_s or time.perf_counter() - started,
            engine.name,
            decision,
            result.label,
            result.faults,
            result.partial,
        )
        return result, call
