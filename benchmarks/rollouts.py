"""Rollouts with searches on a real model: ours against a loop with a barrier after every turn.

The embedded world's model, or another one that answers its questions, searches the world's documents
with BM25. The latency of a web search or of a simulator is put on top, scaled by 1/4, so that a turn
and a search have the proportions of the mocks in scheduler.py: a turn takes about half a second here.
The loop with barriers generates a whole turn of everybody, then searches for everybody, all at once or
ten at a time; it computes every context anew each turn, as the released loops do, but it has our
batching and our stop strings, which they lack.

All draw the same random numbers, so they sample the same tokens. Medians of three rounds, in which all
take turns, after one that warms up.

    python benchmarks/rollouts.py
    python benchmarks/rollouts.py --latency none --clock processor
    python benchmarks/rollouts.py --latency web --model runs/…/model
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from mocks import SIMULATOR, WEB, Latency
from transformers import PreTrainedTokenizerFast

from innersearch import prompts
from innersearch.config import SearchSettings
from innersearch.grammar import TAGS, MaskRule
from innersearch.policy.base import Request
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.stops import StopStrings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.episode import Task
from innersearch.rollout.observation import STYLES, observation
from innersearch.rollout.run import Rollout
from innersearch.rollout.segment import SegmentBuilder
from innersearch.routing.router import always
from innersearch.search.base import Engine, SearchResult
from innersearch.search.index.bm25 import BM25Engine
from innersearch.tools.search import SearchTool
from innersearch.types import Finish, Kind, Sampling, Source
from innersearch.world_1.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

QUESTIONS, SAMPLES, LENGTH, ROUNDS = 64, 4, 128, 3
BATCHES = (256, 64)
"""Slots of the policy: as many as there are trajectories, and a quarter."""
THREADS = 10
"""Searches at once in the released loop (facts: ZeroSearch generation.py)."""
SCALE = 1 / 4
LATENCIES: dict[str, Latency | None] = {"none": None, "web": WEB, "simulator": SIMULATOR}
SETTINGS = SearchSettings(router="always", k=1, style="plain")

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
"""The second one tells little where there is latency, but other work on the machine counts little."""
Loop = Callable[[int], list[list[int]]]
"""The tokens that were sampled for each task, by the seed."""


class SlowEngine:
    """An engine that takes its time; how long depends on the query and how often it came before."""

    def __init__(self, engine: Engine, latency: Latency) -> None:
        self._engine, self._latency = engine, latency
        self.name, self.source, self.identity = engine.name, engine.source, engine.identity
        self.asked: Counter[str] = Counter()

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """See `Engine`."""
        seconds = max(self._seconds(query) for query in queries)
        results, _ = await asyncio.gather(
            self._engine.search(queries, k), asyncio.sleep(seconds * SCALE)
        )
        return results

    def _seconds(self, query: str) -> float:
        name = f"{query} {self.asked[query]}".encode()
        self.asked[query] += 1
        digest = hashlib.blake2b(name, digest_size=8).digest()
        return self._latency.draw(np.random.default_rng(list(digest)), 1)[0]

    async def close(self) -> None:
        """See `Engine`."""
        await self._engine.close()


def ours(
    policy: TransformersPolicy, tokenizer: PreTrainedTokenizerFast, plan: SearchTool, tasks: list[Task]
) -> Loop:
    rollout = Rollout(
        policy, tokenizer, Sampling(1.0, LENGTH), search=plan, in_flight=2 * policy.max_batch
    )

    def run(seed: int) -> list[list[int]]:
        trajectories = replace(rollout, sampling=Sampling(1.0, LENGTH, seed)).run(tasks)
        return [
            [i for i, sampled in zip(s.token_ids, s.sampled_mask, strict=True) if sampled]
            for s in (trajectory.segments[0] for trajectory in trajectories)
        ]

    return run


def barrier(
    policy: TransformersPolicy,
    tokenizer: PreTrainedTokenizerFast,
    plan: SearchTool,
    tasks: list[Task],
    threads: int,
) -> Loop:
    stop, style = StopStrings(tokenizer, TAGS.stops), STYLES[SETTINGS.style]

    async def search(queries: Sequence[str]) -> list[SearchResult]:
        places = asyncio.Semaphore(threads)

        async def one(query: str) -> SearchResult:
            async with places:
                return (await plan.engine.search([query], SETTINGS.k))[0]

        return await asyncio.gather(*map(one, queries))

    def run(seed: int) -> list[list[int]]:
        builders = [SegmentBuilder(tokenizer, task.prompt_ids, MaskRule()) for task in tasks]
        sampled: list[list[int]] = [[] for _ in tasks]
        searches = [0] * len(tasks)
        active, turn = list(range(len(tasks))), 0
        while active:
            requests = [
                Request(
                    builders[row].token_ids,
                    (tasks[row].group, tasks[row].repetition, *([turn] if turn else [])),
                    stop,
                    LENGTH - builders[row].sampled,
                )
                for row in active
            ]
            queries: dict[int, str] = {}
            wait: list[int] = []
            for finished in policy.stream(requests, Sampling(1.0, LENGTH, seed)):
                row, completion = active[finished.request], finished.completion
                builders[row].add_sampled(completion)
                sampled[row] += completion.token_ids
                if completion.finish is Finish.STOP and builders[row].sampled < LENGTH:
                    written = builders[row].written(Kind.SEARCH)
                    if written is None:
                        wait.append(row)
                    elif searches[row] < SETTINGS.max_searches:
                        queries[row] = written.text
                        searches[row] += 1
            results = asyncio.run(search(list(queries.values())))
            for row, result in zip(queries, results, strict=True):
                builders[row].add_information(
                    observation(result, style), Source.RETRIEVER, max_tokens=SETTINGS.max_tokens
                )
            active, turn = sorted([*queries, *wait]), turn + 1
        return sampled

    return run


def compare(model_path: str, names: Sequence[str], clock: Clock) -> Iterator[str]:
    """A line per latency and number of slots."""
    model, tokenizer = load_model(model_path), load_tokenizer(model_path)
    world = Encyclopedia.generate(BUNDLED_SEED)
    index = BM25Engine.from_documents(world.documents())
    found = questions(world, Split.TEST)
    chosen = found[:: len(found) // QUESTIONS][:QUESTIONS]
    tasks = [
        Task(question, prompts.encode(tokenizer, "world", question.question), question.id, repetition)
        for question in chosen
        for repetition in range(SAMPLES)
    ]
    for name in names:
        latency = LATENCIES[name]
        for batch in BATCHES:
            policy = TransformersPolicy(model, end_ids(model, tokenizer), max_batch=batch)
            engine = SlowEngine(index, latency) if latency else index
            plan = SearchTool(engine, always(), SETTINGS)
            cells = rates(
                {
                    "ours": ours(policy, tokenizer, plan, tasks),
                    "barrier": barrier(policy, tokenizer, plan, tasks, len(tasks)),
                    "threads": barrier(policy, tokenizer, plan, tasks, THREADS),
                },
                engine,
                clock,
            )
            yield f"| {name} | {batch} | {' | '.join(cells)} |"


def rates(loops: dict[str, Loop], engine: Engine, clock: Clock) -> list[str]:
    """Tokens per second, ratios, and how many trajectories came out the same."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    counts: list[int] = []
    same: list[bool] = []
    for seed in range(ROUNDS + 1):
        sampled = {}
        for name, loop in loops.items():
            if isinstance(engine, SlowEngine):
                engine.asked.clear()
            started = clock()
            sampled[name] = loop(seed)
            seconds[name].append(clock() - started)
        totals = {name: sum(map(len, tokens)) for name, tokens in sampled.items()}
        if max(totals.values()) > 1.01 * min(totals.values()):
            raise SystemExit(f"the loops sampled different numbers of tokens: {totals}")
        counts.append(totals["ours"])
        same += [a == b for a, b in zip(sampled["ours"], sampled["barrier"], strict=True)]

    def rate(name: str) -> list[float]:
        # The first round warms up.
        return [count / taken for count, taken in zip(counts[1:], seconds[name][1:], strict=True)]

    middle = {name: statistics.median(rate(name)) for name in loops}
    return [
        f"{statistics.median(counts):,.0f}",
        *(f"{middle[name]:,.0f} ({min(rate(name)):,.0f} to {max(rate(name)):,.0f})" for name in loops),
        *(f"{middle['ours'] / middle[name]:.2f}" for name in ("barrier", "threads")),
        f"{statistics.fmean(same):.2%}",
    ]


COLUMNS = (
    "latency × 1/4",
    "slots",
    "tokens",
    "ours, tokens/s",
    "barrier, tokens/s",
    f"barrier + {THREADS} threads, tokens/s",
    "× barrier",
    f"× barrier + {THREADS} threads",
    "same tokens",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--latency", choices=LATENCIES, help="only this one")
    parser.add_argument("--model", default=str(BUNDLED), help="a model directory")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="whose seconds")
    options = parser.parse_args()
    print(
        f"{QUESTIONS * SAMPLES} trajectories, at most {LENGTH} tokens, {torch.get_num_threads()} of "
        f"{os.cpu_count()} cores, medians of {ROUNDS} rounds\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for line in compare(
        options.model, [options.latency] if options.latency else list(LATENCIES), CLOCKS[options.clock]
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()
