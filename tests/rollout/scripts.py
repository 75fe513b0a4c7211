"""Episodes of policies that write what a script says, with an engine and a tool of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from innersearch.config import RolloutSettings, SearchSettings
from innersearch.grammar import Action
from innersearch.policy.base import Completion, Request
from innersearch.rollout.context import Context
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.routing.router import always
from innersearch.search.base import SearchResult
from innersearch.tools.base import Argument, Outcome, State, ToolRequest, ToolSchema
from innersearch.tools.search import SearchTool
from innersearch.types import (
    Call,
    Document,
    Finish,
    Question,
    Sampling,
    Source,
    Trajectory,
)
from tests.families import tokenizer_of

TOKENIZER = tokenizer_of("byte_bpe")
PROMPT = tuple(TOKENIZER.encode("who founded Goltek\n"))


@dataclass
class Script:
    """A policy that writes one text after another, each up to the first stop string."""

    texts: Sequence[str]
    context: int = 4000
    asked: list[Request] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)
    versions: bool = False
    name = "script"
    provides = frozenset({"tokens", "logprobs", "entropies"})

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[Script]:
        yield self

    async def generate(self, request: Request) -> Completion:
        request.room(self.context)
        ids = TOKENIZER.encode(self.texts[len(self.asked)]) if len(self.asked) < len(self.texts) else []
        self.asked.append(request)
        first = request.stop.first(ids) if request.stop else 0
        ids, finish = (
            (ids[:first], Finish.STOP) if first else ([*ids, TOKENIZER.eos_token_id], Finish.EOS)
        )
        if len(ids) > request.max_new_tokens:
            ids, finish = ids[: request.max_new_tokens], Finish.LENGTH
        self.sampled += ids
        versions = [len(self.asked)] * len(ids) if self.versions else None
        return Completion(ids, [-0.5] * len(ids), [0.1] * len(ids), finish, versions)


@dataclass
class Found:
    """An engine that knows one document for every query; it fails where it is told to."""

    text: Callable[[str], str] = lambda query: f"All about {query}."
    fails: str = ""
    name = "found"
    source = Source.RETRIEVER
    identity = {"engine": "found"}  # noqa: RUF012

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return [self._one(query) for query in queries]

    def _one(self, query: str) -> SearchResult:
        if query == self.fails:
            raise KeyError(query)
        return SearchResult((Document("d", "Title", self.text(query), "https://world.invalid/d"),))

    async def close(self) -> None:
        pass


@dataclass
class Notebook:
    """A tool that remembers what it is given, and shows it in every prompt that is made anew."""

    ends: bool = False

    @property
    def schema(self) -> ToolSchema:
        return ToolSchema("open", "Remember a text.", (Argument("url", "What."),))

    async def use(self, action: Action, request: ToolRequest, state: State) -> Outcome:
        state.notes["Notes"] = "\n".join([state.notes.get("Notes", ""), *action.inputs])
        results = tuple(SearchResult((Document("n", "", f"Noted {text}."),)) for text in action.inputs)
        calls = tuple(Call(0, text, Source.PAGE, tool="open") for text in action.inputs)
        return Outcome(results, calls, ends=self.ends)

    async def close(self) -> None:
        pass


def roll(
    policy: Script,
    grammar: str = "tags",
    *,
    engine: Found | None = None,
    tools: Sequence[Any] = (),
    context: Context | None = None,
    search: dict[str, Any] | None = None,
    tokens: int = 2000,
    **chosen: Any,
) -> Trajectory:
    given = SearchSettings(
        **{"router": "always", "style": "plain", "max_error_rate": 1.0} | (search or {})
    )
    rollout = Rollout(
        policy,
        TOKENIZER,
        Sampling(1.0, tokens),
        search=SearchTool(engine or Found(), always(), given),
        tools=tools,
        settings=RolloutSettings(grammar=grammar, **chosen),
        context=context,
    )
    with rollout:
        [trajectory] = rollout.run([Task(Question("q", "who?", ("Belira",)), PROMPT, "q")])
    check(policy, trajectory)
    return trajectory


def check(policy: Script, trajectory: Trajectory) -> None:
    """What holds of every trajectory: sampled tokens are trained on where they were sampled, once."""
    sampled = [
        token
        for segment in trajectory.segments
        for token, mine in zip(segment.token_ids, segment.sampled_mask, strict=True)
        if mine
    ]
    assert sampled == policy.sampled
    for segment in trajectory.segments:
        assert not any(segment.sampled_mask[: segment.prompt_len])
        assert all(
            s or not loss for s, loss in zip(segment.sampled_mask, segment.loss_mask, strict=True)
        )
        assert [s.end for s in segment.spans[:-1]] == [s.start for s in segment.spans[1:]]
        assert segment.spans[-1].end == len(segment.token_ids)
        assert any(segment.sampled_mask)
    prefixes = {tuple(s.token_ids[:n]) for s in trajectory.segments for n in range(len(s.token_ids) + 1)}
    assert {request.prompt_ids for request in policy.asked} <= prefixes


def spans(trajectory: Trajectory, *sources: Source) -> list[str]:
    return [s.text for part in trajectory.segments for s in part.spans if s.source in sources]


ASK = "<think>hm</think><search>a</search>"
ANSWER = "<answer>Belira</answer>"
