"""Rollouts of the bundled model over its world, to be looked at from all sides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch import prompts
from innersearch.config import SearchSettings
from innersearch.policy.base import Completion, Request
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.routing.router import parse_router
from innersearch.search.base import Engine, SearchResult
from innersearch.search.index.bm25 import BM25Engine
from innersearch.tools.search import SearchTool
from innersearch.types import (
    Sampling,
    Segment,
    Source,
    Span,
    Trajectory,
)
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

WORLD = Encyclopedia.generate()
TEST = questions(WORLD, Split.TEST)
BUDGET = 96
"""Tokens of a response."""


@cache
def model() -> PreTrainedModel:
    return load_model(str(BUNDLED))


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    return load_tokenizer(str(BUNDLED))


@cache
def index() -> BM25Engine:
    return BM25Engine.from_documents(WORLD.documents())


@dataclass
class Late:
    """An engine whose answers take random times; it watches how many searches run at once."""

    engine: Engine = field(default_factory=index)
    longest_s: float = 0.03
    seed: int = 0
    latency_s: float | None = 0.25
    """What is written into the results; None leaves what is there."""
    active: int = 0
    most: int = 0
    started: int = 0

    def __post_init__(self) -> None:
        self.name, self.source = self.engine.name, self.engine.source
        self.identity = self.engine.identity
        self._draw = random.Random(self.seed)

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.active, self.started = self.active + 1, self.started + 1
        self.most = max(self.most, self.active)
        try:
            await asyncio.sleep(self._draw.random() * self.longest_s)
            found = await self.engine.search(queries, k)
        finally:
            self.active -= 1
        if self.latency_s is None:
            return found
        return [replace(result, latency_s=self.latency_s) for result in found]

    async def close(self) -> None:
        await self.engine.close()


def plan(router: str, engine: Engine | None = None, **changes: Any) -> SearchTool:
    chosen = {"k": 1, "style": "plain", "max_searches": 9, "max_error_rate": 1.0} | changes
    settings = SearchSettings(router=router, **chosen)
    return SearchTool(engine or Late(longest_s=0.0), parse_router(router), settings)


def tasks(every: int = 75, repetitions: int = 1) -> list[Task]:
    return [
        Task(q, prompts.encode(tokenizer(), "world", q.question), q.id, repetition)
        for q in TEST[::every]
        for repetition in range(repetitions)
    ]


def rollout(
    search: SearchTool | None,
    temperature: float = 1.0,
    *,
    tokens: int = BUDGET,
    in_flight: int = 512,
    max_batch: int = 64,
) -> Rollout:
    policy = TransformersPolicy(model(), end_ids(model(), tokenizer()), max_batch=max_batch)
    sampling = Sampling(temperature, tokens, seed=3)
    search = search or SearchTool.itself()
    return Rollout(policy, tokenizer(), sampling, search=search, in_flight=in_flight)


def roll(
    search: SearchTool | None,
    temperature: float = 1.0,
    wanted: Sequence[Task] | None = None,
    **limits: int,
) -> list[Trajectory]:
    with rollout(search, temperature, **limits) as runner:
        return runner.run(tasks() if wanted is None else wanted)


def segment(trajectory: Trajectory) -> Segment:
    [only] = trajectory.segments
    return only


def token_ids(trajectories: Sequence[Trajectory]) -> list[list[int]]:
    return [segment(trajectory).token_ids for trajectory in trajectories]


def text(trajectory: Trajectory) -> str:
    return "".join(span.text for span in segment(trajectory).spans)


def injected(trajectory: Trajectory) -> list[Span]:
    """Spans that the policy did not write, the prompt apart."""
    own = (Source.TEMPLATE, Source.POLICY, Source.SELF_SEARCH)
    return [span for span in segment(trajectory).spans if span.source not in own]


def content(span: Span) -> str:
    """What stands between the tags of an injected block; this tokenizer puts a space before words."""
    assert span.text.startswith("<information>")
    assert span.text.endswith("</information>")
    return span.text.removeprefix("<information>").removesuffix("</information>").strip()


def writes_alone(wanted: Sequence[Task], temperature: float, tokens: int = BUDGET) -> list[Completion]:
    """One uninterrupted generation per task, without episodes."""
    policy = TransformersPolicy(model(), end_ids(model(), tokenizer()))
    requests = [Request(task.prompt_ids, (task.group, task.repetition)) for task in wanted]
    finished = dict(policy.stream(requests, Sampling(temperature, tokens, seed=3)))
    return [finished[number] for number in range(len(wanted))]
