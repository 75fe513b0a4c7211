"""Python per sampled trajectory: the real rollout over a stand-in for vLLM that costs next to nothing.

A small model writes the trajectories once. Then an engine that looks like vLLM's hands the recorded
tokens out again, one step per token and slot as vLLM would, and all the rest is what runs beside vLLM:
the policy `vllm`, the event loop, episodes, builders, searches. Time is that of the processor in this
process, so that other work on the machine counts little; medians of rounds.

    python benchmarks/policies.py --model none
    python benchmarks/policies.py --model none --where      # also which module the time goes to
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import innersearch
from innersearch.policy import vllm as vllm_policy
from innersearch.policy.base import Completion, Policy, Request, Sampler, endpoint_seed
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.types import Sampling

PACKAGE = Path(innersearch.__file__).parent
EVENT_LOOP = ("asyncio", "selectors.py", "concurrent")

Spoken = dict[int, SimpleNamespace]
"""What vLLM would answer, by the seed of the generation."""


class Remembering:
    """A policy whose completions are kept as vLLM would give them."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.name, self.provides = policy, policy.name, policy.provides
        self.context = policy.context
        self.spoken: Spoken = {}

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[Sampler]:
        """The same sessions, whose completions are kept."""
        async with self.policy.session(sampling) as sampler:
            yield _Remembering(self.spoken, sampler, sampling.seed)


class _Remembering:
    def __init__(self, spoken: Spoken, sampler: Sampler, seed: int) -> None:
        self.context, self._spoken, self._sampler, self._seed = sampler.context, spoken, sampler, seed

    async def generate(self, request: Request) -> Completion:
        completion = await self._sampler.generate(request)
        at = zip(completion.token_ids, completion.logprobs, strict=True)
        self._spoken[endpoint_seed(self._seed, request.stream)] = SimpleNamespace(
            token_ids=completion.token_ids,
            logprobs=[{token: SimpleNamespace(logprob=logprob)} for token, logprob in at],
            finish_reason=str(completion.finish),
        )
        return completion


class StandIn:
    """What the policy `vllm` uses of a `vllm.LLM`, with recorded answers."""

    def __init__(self, spoken: Spoken, context: int, slots: int) -> None:
        self.llm_engine = self
        self.model_config = SimpleNamespace(max_model_len=context)
        self._spoken, self._slots = spoken, slots
        self._waiting: deque[tuple[str, SimpleNamespace]] = deque()
        self._ending: dict[int, list[tuple[str, SimpleNamespace]]] = defaultdict(list)
        self._running = 0
        self.steps = 0

    def add_request(self, ticket: str, _prompt: Any, parameters: Any) -> None:
        """Take a request, as vLLM's engine does."""
        self._waiting.append((ticket, self._spoken[parameters.seed]))

    def step(self) -> list[SimpleNamespace]:
        """One token for every slot."""
        while self._waiting and self._running < self._slots:
            ticket, answer = self._waiting.popleft()
            self._ending[self.steps + len(answer.token_ids) - 1].append((ticket, answer))
            self._running += 1
        ended = self._ending.pop(self.steps, [])
        self._running -= len(ended)
        self.steps += 1
        return [SimpleNamespace(request_id=t, finished=True, outputs=[a]) for t, a in ended]

    def abort_request(self, tickets: Sequence[str]) -> None:
        """Nobody is given up."""


@contextmanager
def stand_in(policy: Policy, record: Remembering, slots: int) -> Iterator[vllm_policy.VllmPolicy]:
    """The policy `vllm` over recorded answers; vLLM need not be installed."""
    kept = vllm_policy._parameters
    vllm_policy._parameters = cache(lambda *_: SimpleNamespace())  # type: ignore[assignment]
    try:
        llm = StandIn(record.spoken, policy.context, slots)
        yield vllm_policy.VllmPolicy(llm, policy.end_ids, policy.name)
    finally:
        vllm_policy._parameters = kept


def milliseconds(
    rollout: Rollout, tasks: Sequence[Task], rounds: int
) -> tuple[list[float], list[float]]:
    """Processor time per trajectory, of each round after one that warms up: all, and what of it passed
    in other threads than that of the event loop, where the engine steps and BM25 searches.
    """
    taken, elsewhere = [], []
    for _ in range(rounds + 1):
        started = time.process_time(), time.thread_time()
        rollout.run(tasks)
        whole, here = time.process_time() - started[0], time.thread_time() - started[1]
        taken.append(whole * 1000 / len(tasks))
        elsewhere.append((whole - here) * 1000 / len(tasks))
    return taken[1:], elsewhere[1:]


def where(run: Callable[[], object]) -> Counter[str]:
    """The seconds of a run, under a profiler, by module of ours on whose behalf they passed."""
    # Waiting for other threads does not count.
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(run)
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]

    @cache
    def owners(function: tuple[str, int, str]) -> dict[str, float]:
        path = function[0]
        if Path(path).is_relative_to(PACKAGE):
            return {str(Path(path).relative_to(PACKAGE)): 1.0}
        if any(f"/{name}" in path for name in EVENT_LOOP) or not stats[function][4]:
            return {"event loop": 1.0}
        shares: Counter[str] = Counter()
        open_.add(function)
        callers = {caller: numbers[3] for caller, numbers in stats[function][4].items()}
        callers = {c: t for c, t in callers.items() if c in stats and c not in open_} or {}
        whole = sum(callers.values())
        for caller, seconds in callers.items():
            for name, share in owners(caller).items():
                shares[name] += share * (seconds / whole if whole else 1 / len(callers))
        open_.discard(function)
        return dict(shares) or {"event loop": 1.0}

    open_: set[tuple[str, int, str]] = set()
    found: Counter[str] = Counter()
    for function, numbers in stats.items():
        for name, share in owners(function).items():
            found[name] += share * numbers[2]
    return found
