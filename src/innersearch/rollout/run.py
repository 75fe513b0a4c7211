"""Rollouts: many episodes over one policy, for training, evaluation and single questions alike."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar

from innersearch.config import RolloutSettings
from innersearch.errors import ConfigError, RunError
from innersearch.grammar import TAGS, Grammar, MaskRule, grammar_of
from innersearch.grammar.control import demand_tags
from innersearch.policy.base import Policy, Sampler
from innersearch.rollout.context import Context, named
from innersearch.rollout.episode import Episode, Score, Task
from innersearch.rollout.journal import Journal
from innersearch.rollout.rules import Rules
from innersearch.rollout.scheduler import in_order
from innersearch.rollout.tally import Tally
from innersearch.routing.learning import Learner
from innersearch.routing.router import Router
from innersearch.tools.base import Tool
from innersearch.tools.search import NAME, SearchTool
from innersearch.types import Kind, Sampling, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

T = TypeVar("T")


@dataclass
class Rollout:
    """Rolls out tasks with a policy; by default it is its own search engine.

    All runs of one object share an event loop, so that tools may keep connections open between them.
    `close` ends the loop and closes the tools; a `with` statement does it.
    """

    policy: Policy
    tokenizer: PreTrainedTokenizerFast
    sampling: Sampling
    score: Score | None = None
    rule: MaskRule = field(default_factory=MaskRule)
    tokenizer_id: str = ""
    search: SearchTool = field(default_factory=SearchTool.itself)
    """Who answers queries."""
    tools: Sequence[Tool] = ()
    """What else the policy can use."""
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    """How it writes, what it sees next, and when it ends."""
    context: Context | None = None
    """What it sees next, where that is more than settings can say."""
    written_in: Grammar | None = None
    """How it writes, where that grammar has no name."""
    in_flight: int = 512
    """Trajectories under way at most."""
    learns: bool = True
    """Whether a router that learns in use does."""
    journal: Journal | None = None
    """Where replies are written down as they end, so that trajectories that were killed go on."""
    tally: Tally = field(default_factory=Tally)
    """Real searches so far, and how many failed."""
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner, repr=False)
    _streams: list[AsyncGenerator[Trajectory]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Raises ConfigError: The router reads what the policy does not tell, or takes one query at a
        time where the grammar has several; or there is no such grammar or context, or the policy takes
        no chat turns of the grammar's.
        Raises ModelError: The tokenizer cannot write the tags of the grammar.
        """
        demand_provided(self.search.router, self.policy.provides, self.policy.name)
        self.search.demand_grammar(self.grammar)
        demand_turns(self.grammar, self.policy)
        if self.settings.reads_first:
            self.grammar.closing(Kind.THINK)
        if self.grammar is not TAGS:
            demand_tags(self.tokenizer, self.tokenizer.name_or_path, self.grammar)

    def run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        """The trajectories of all tasks, in their order; errors as `finished`."""
        # All at once: a runner takes signals over at each call, and gives them back.
        return list(self._arriving(tasks, len(tasks)))

    def stream(self, tasks: Iterable[Task]) -> Iterator[Trajectory]:
        """Yield the trajectories in the order of their tasks, from code without an event loop."""
        return self._arriving(tasks, 1)

    def _arriving(self, tasks: Iterable[Task], together: int) -> Iterator[Trajectory]:
        """Trajectories in order; the event loop runs on until so many are finished."""
        finished = self.finished(tasks)
        self._streams.append(finished)
        try:
            while arrived := self._next(finished, together):
                yield from arrived
        finally:
            self._end(finished)

    def _next(self, stream: AsyncGenerator[Trajectory], together: int) -> list[Trajectory]:
        """The next trajectories; empty at the end."""
        arrived: list[Trajectory] = []

        # Not its result: a runner spells out a task that is done, with its result, time and again.
        async def take() -> None:
            # Ctrl-C may come after this was scheduled and before it began; closing goes on without it.
            if stream not in self._streams:
                return
            async for trajectory in stream:
                arrived.append(trajectory)
                if len(arrived) == together:
                    return

        self._runner.run(take())
        return arrived

    def _end(self, stream: AsyncGenerator[Trajectory]) -> None:
        """Cancel what is in flight, unless `close` came first."""
        if stream in self._streams:
            self._streams.remove(stream)
            self._runner.run(_close(stream))

    async def finished(self, tasks: Iterable[Task]) -> AsyncGenerator[Trajectory]:
        """Yield the trajectories in the order of their tasks, with up to `in_flight` under way.

        Raises:
            DataError: A prompt is empty or leaves no room in the model's context.
            ModelError: The weights are damaged.
            SearchError: Too many searches failed; see `SearchSettings.max_error_rate`.
            PolicyError: The policy refused too many trajectories, or cannot be asked.
        """
        async with AsyncExitStack() as opened:
            sampler = await opened.enter_async_context(self.policy.session(self.sampling))
            if self.journal is not None:
                noted = self.journal.around(sampler, self.sampling.temperature)
                sampler = await opened.enter_async_context(noted)
            roll_out, learner = partial(self.one, sampler), self._learner
            for some in self._blocks(tasks):
                async with aclosing(in_order(some, roll_out, self.in_flight)) as trajectories:
                    async for trajectory in trajectories:
                        if learner is not None:
                            learner.learn(trajectory)
                        yield trajectory
        # A few trajectories are not judged on the way.
        self.tally.judge()

    @property
    def _learner(self) -> Learner | None:
        return self.search.learner if self.learns else None

    def _blocks(self, tasks: Iterable[Task]) -> Iterator[Iterable[Task]]:
        """All tasks at once, unless something is learnt from them: then none begins before everything
        is in that it may depend on.
        """
        learner = self._learner
        if learner is None:
            yield tasks
            return
        source = iter(tasks)
        while some := list(islice(source, learner.room)):
            yield some

    async def one(self, sampler: Sampler, task: Task) -> Trajectory:
        """The trajectory of one task over an open session; errors as `finished`."""
        return self._scored(await Episode(task, sampler, self.rules).run())

    @property
    def grammar(self) -> Grammar:
        """How the policy writes.

        Raises:
            ConfigError: There is none of that name.
        """
        return self.written_in or grammar_of(self.settings.grammar)

    @cached_property
    def rules(self) -> Rules:
        """What all its episodes share."""
        return Rules(
            self.tokenizer,
            self.sampling,
            self.rule,
            self.grammar,
            self.context or named(self.settings.context),
            self.settings,
            self.search,
            {NAME: self.search} | {tool.schema.name: tool for tool in self.tools},
            self.tally,
        )

    def _scored(self, trajectory: Trajectory) -> Trajectory:
        trajectory = replace(trajectory, tokenizer_id=self.tokenizer_id)
        if self.score is None:
            return trajectory
        reward, components = self.score(trajectory)
        demand_finite(reward, components)
        return replace(trajectory, reward=reward, components=components)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, run in the event loop in which the tools have their connections."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Cancel what is in flight and close the tools and the event loop."""
        for stream in list(self._streams):
            self._end(stream)
        for tool in (self.search, *self.tools):
            self._runner.run(tool.close())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def demand_provided(router: Router, provides: Collection[str], policy: str) -> None:
    """Check that a policy provides what a router reads.

    Raises:
        ConfigError: It does not.
    """
    if router.reads and router.reads not in provides:
        signals = ["min-prob"] * ("logprobs" in provides) + ["consistency"]
        raise ConfigError(
            f"this router reads {router.reads}, which the policy {policy} does not tell: take a gate "
            f"with the signal {' or '.join(signals)}, or another policy"
        )


def demand_turns(grammar: Grammar, policy: Policy) -> None:
    """Check that a policy that takes text and no tokens is not to read results as turns of a template.

    Raises:
        ConfigError: It is.
    """
    if grammar.turns and "tokens" not in policy.provides:
        raise ConfigError(
            f"the grammar {grammar.name} puts results into turns of the model's chat template, and the "
            f"policy {policy.name} takes text only: take another grammar, or a policy that takes tokens "
            "(transformers, vllm, http:URL)"
        )


async def _close(trajectories: AsyncGenerator[Trajectory]) -> None:
    await trajectories.aclose()


def demand_finite(reward: float, components: Mapping[str, float]) -> None:
    """Refuse a reward that would spoil every weight it is averaged into.

    Raises:
        RunError: It or one of its components is no number, or without end.
    """
    for name, value in {"reward": reward, **components}.items():
        if not math.isfinite(value):
            raise RunError(
                f"a reward is a finite number, given {name} = {value}: mend the reward function"
            )
