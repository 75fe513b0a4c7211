"""How well rollouts with slow searches keep a policy busy, and what the scheduler itself costs.

Our `Rollout`, episodes, segments and all, runs over a mock policy and a mock search engine, and so do
two loops with a barrier after every turn: in one all searches of a turn run at once, in the other ten
at a time, as the released loop of ZeroSearch does it. All get the same lengths and latencies. The mock
policy shares its rate among the sequences in its slots: 80 tokens/s for each, at most 12,000 tokens/s
together, 256 slots; who comes back from a search goes before who is new.

Time is virtual: the event loop jumps to its next timer, so the seconds are those of the mocks, and
what our code spends is measured apart, as CPU time. One setting is repeated on the wall clock.

Efficiency is the bound over the seconds taken, and the bound is what no schedule can beat: all tokens
at the full rate, or the longest trajectory with the policy to itself, whichever takes longer.

    python benchmarks/scheduler.py
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mocks import (
    LOCAL,
    PAGES,
    SIMULATOR,
    SLOTS,
    STREAM_RATE,
    WEB,
    MockEngine,
    MockPolicy,
    VirtualLoop,
    Work,
)

from innersearch.config import SearchSettings
from innersearch.policy.base import Request
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.rollout.scheduler import in_order
from innersearch.routing.router import always
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Sampling
from innersearch.world_1.bundled import BUNDLED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DRAWS = 5
THREADS = 10
"""Searches at once in the released loop (facts: ZeroSearch generation.py)."""
PROMPT, MAX_NEW_TOKENS, K = 200, 8_192, 3
"""Tokens of the prompt and of the response at most; documents per search."""

Schedule = Callable[[Work, MockPolicy, MockEngine], Awaitable[int]]
"""Does all the work, and says how many trajectories it finished."""


def ours(in_flight: int) -> Schedule:
    """Rollouts as everybody runs them."""

    async def run(work: Work, policy: MockPolicy, engine: MockEngine) -> int:
        settings = SearchSettings(router="always", k=K, max_searches=8)
        plan = SearchTool(engine, always(), settings)
        sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS)
        rollout = Rollout(policy, policy.tokenizer, sampling, search=plan, in_flight=in_flight)
        prompt = tuple(policy.thoughts[:PROMPT].tolist())
        question = Question("q", "Who founded Coltek?", ("Belira",))
        tasks = (Task(question, prompt, str(number)) for number in range(len(work.tokens)))
        # Kept until the end, as whoever trains on them keeps them.
        trajectories = [trajectory async for trajectory in rollout.finished(tasks)]
        for trajectory, tokens in zip(trajectories, work.tokens, strict=True):
            assert sum(trajectory.segments[0].sampled_mask) == sum(tokens)  # noqa: S101
        return len(trajectories)

    return run


def scheduler_alone(in_flight: int) -> Schedule:
    """The same waiting, without episodes: nothing is read, built or injected."""

    async def run(work: Work, policy: MockPolicy, engine: MockEngine) -> int:
        async with policy.session(Sampling()):
            done = [
                n
                async for n in in_order(range(len(work.tokens)), _wait(work, policy, engine), in_flight)
            ]
        return len(done)

    return run


def mocks_alone() -> Schedule:
    """The same waiting, without a scheduler: what event loop and mocks cost."""

    async def run(work: Work, policy: MockPolicy, engine: MockEngine) -> int:
        async with policy.session(Sampling()):
            wait = _wait(work, policy, engine)
            return len(await asyncio.gather(*(wait(number) for number in range(len(work.tokens)))))

    return run


def _wait(work: Work, policy: MockPolicy, engine: MockEngine) -> Callable[[int], Awaitable[int]]:
    async def wait(number: int) -> int:
        for turn in range(len(work.tokens[number])):
            await policy.generate(Request((), (str(number), 0, turn)))
            if turn < len(work.seconds[number]):
                await engine.search([f"{number} {turn}"], K)
        return number

    return wait


def barrier(threads: int | None = None) -> Schedule:
    """Everybody generates until the slowest stops, then everybody searches, turn by turn."""

    async def run(work: Work, policy: MockPolicy, engine: MockEngine) -> int:
        places = asyncio.Semaphore(threads or len(work.tokens))

        async def search(number: int, turn: int) -> None:
            async with places:
                await engine.search([f"{number} {turn}"], K)

        async with policy.session(Sampling()):
            active, turn = list(range(len(work.tokens))), 0
            while active:
                requests = (Request((), (str(number), 0, turn)) for number in active)
                await asyncio.gather(*map(policy.generate, requests))
                active = [number for number in active if turn < len(work.seconds[number])]
                await asyncio.gather(*(search(number, turn) for number in active))
                turn += 1
        return len(work.tokens)

    return run


@dataclass(frozen=True)
class Measured:
    """One run of a schedule."""

    seconds: float
    """Of the mocks' time."""
    cpu_s: float
    idle: float
    """Slot-seconds without a sequence."""
    full_until: float
    """Share of the full rate that was used until the last trajectory started."""
    times: list[float]
    """Of each trajectory, from its first request to its last token."""


def measure(
    schedule: Schedule,
    work: Work,
    tokenizer: PreTrainedTokenizerFast,
    *,
    wall: bool = False,
    scale: float = 1.0,
    **settings: Any,
) -> Measured:
    """Run on a virtual clock or on the wall clock; `settings` are those of the policy."""
    policy = MockPolicy(work, tokenizer, scale=scale, **settings)
    engine = MockEngine(work, scale)
    gc.collect()
    with asyncio.Runner(loop_factory=None if wall else VirtualLoop) as runner:
        started, cpu = runner.get_loop().time(), time.process_time()
        finished = runner.run(schedule(work, policy, engine))
        seconds, cpu = runner.get_loop().time() - started, time.process_time() - cpu
    if finished != len(work.tokens):
        raise SystemExit(f"{finished} of {len(work.tokens)} trajectories finished")
    times = [(end - begin) / scale for begin, end in policy.times.values()]
    return Measured(seconds / scale, cpu, policy.rate.idle, policy.rate.full_until, times)


def against_barriers(tokenizer: PreTrainedTokenizerFast) -> Iterator[str]:
    """Our rollouts, episodes included, against both loops with barriers."""
    yield from header(
        "search", "trajectories", "ours, s", "efficiency", "× barrier", f"× barrier + {THREADS} threads",
        "p50, s", "p95, s", "p99, s", "idle slot-s", "idle slot-s, barrier",
    )  # fmt: skip
    for latency in (LOCAL, WEB, SIMULATOR, PAGES):
        for count in (SLOTS, 5 * SLOTS):
            drawn = [Work.draw(latency, count, seed) for seed in range(DRAWS)]
            mine = [measure(scheduler_alone(2 * SLOTS), work, tokenizer) for work in drawn]
            if measure(ours(2 * SLOTS), drawn[0], tokenizer).times != mine[0].times:
                raise SystemExit("with episodes, trajectories take other times than without")
            theirs = [measure(barrier(), work, tokenizer) for work in drawn]
            released = [measure(barrier(THREADS), work, tokenizer) for work in drawn]
            times = np.percentile([seconds for m in mine for seconds in m.times], [50, 95, 99])
            yield row(
                latency.name, f"{count:,}", middle([m.seconds for m in mine], 1),
                middle([w.bound() / m.seconds for w, m in zip(drawn, mine, strict=True)]),
                middle([t.seconds / m.seconds for t, m in zip(theirs, mine, strict=True)]),
                middle([t.seconds / m.seconds for t, m in zip(released, mine, strict=True)]),
                *(f"{seconds:.1f}" for seconds in times),
                *(f"{statistics.median(m.idle for m in other):,.0f}" for other in (mine, theirs)),
            )  # fmt: skip


def by_in_flight(tokenizer: PreTrainedTokenizerFast) -> Iterator[str]:
    """How many trajectories should be under way, and who should go first."""
    yield from header(
        "search", "trajectories", "in flight", "who goes first", "s", "efficiency",
        "share of the full rate until the last one starts",
    )  # fmt: skip
    for latency in (WEB, SIMULATOR):
        for count in (5 * SLOTS, 20 * SLOTS):
            work = Work.draw(latency, count)
            for in_flight, order in (
                (SLOTS, "paused first"),
                (3 * SLOTS // 2, "paused first"),
                (2 * SLOTS, "paused first"),
                (2 * SLOTS, "as they come"),
                (count, "paused first"),
                (count, "as they come"),
                (count, "longest first"),
            ):
                found = measure(scheduler_alone(in_flight), work, tokenizer, order=order)
                yield row(
                    latency.name, f"{count:,}", f"{in_flight:,}", order, f"{found.seconds:.1f}",
                    f"{work.bound() / found.seconds:.2f}", f"{found.full_until:.3f}",
                )  # fmt: skip


def cost_per_event(tokenizer: PreTrainedTokenizerFast) -> Iterator[str]:
    """CPU time per generation or search: medians of five rounds, in which all take turns."""
    work = Work.draw(WEB, SLOTS)
    schedules = {
        "mocks and event loop": mocks_alone(),
        "with the scheduler": scheduler_alone(2 * SLOTS),
        "with episodes and segments": ours(2 * SLOTS),
    }
    spent: dict[str, list[float]] = {name: [] for name in schedules}
    for _ in range(5):
        for name, schedule in schedules.items():
            spent[name].append(measure(schedule, work, tokenizer).cpu_s * 1e6 / work.events)
    yield from header("", "µs per event", "least", "most")
    for name, values in spent.items():
        yield row(name, *(f"{f(values):,.0f}" for f in (statistics.median, min, max)))


def on_the_wall_clock(tokenizer: PreTrainedTokenizerFast) -> Iterator[str]:
    """The same on both clocks; episodes get more time, since what they compute is not scaled."""
    work = Work.draw(WEB, SLOTS)
    yield from header("web, 256 trajectories", "scale", "virtual, s", "wall, s", "wall / virtual")
    for name, schedule, scale in (
        ("scheduler alone", scheduler_alone(2 * SLOTS), 1 / 20),
        ("barrier", barrier(), 1 / 20),
        (f"barrier + {THREADS} threads", barrier(THREADS), 1 / 20),
        ("ours, episodes included", ours(2 * SLOTS), 1.0),
    ):
        virtual = measure(schedule, work, tokenizer).seconds
        wall = measure(schedule, work, tokenizer, wall=True, scale=scale).seconds
        yield row(name, f"1/{1 / scale:.0f}", f"{virtual:.2f}", f"{wall:.2f}", f"{wall / virtual:.3f}")


def many_at_once(count: int) -> Iterator[str]:
    """Memory and CPU time of that many trajectories under way at once, in processes of their own."""
    yield from header(f"{count:,} at once", "CPU, s", "µs per event", "peak GB")
    for name in ("scheduler alone", "ours, episodes included"):
        command = [sys.executable, __file__, "--measure", name, str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        yield row(name, *(f"{found[key]:.{places}f}" for key, places in _MANY_COLUMNS.items()))


_MANY_COLUMNS = {"cpu_s": 1, "us_per_event": 0, "peak_gb": 2}


def measure_many(name: str, count: int) -> dict[str, float]:
    """Everybody has a slot, so that all are under way and grow together."""
    work, tokenizer = Work.draw(WEB, count), read_tokenizer()
    schedule = scheduler_alone(count) if name == "scheduler alone" else ours(count)
    found = measure(schedule, work, tokenizer, slots=count, full_rate=count * STREAM_RATE)
    per_event = 1e6 * found.cpu_s / work.events
    return {"cpu_s": found.cpu_s, "us_per_event": per_event, "peak_gb": peak_gb()}


def peak_gb() -> float:
    """Of this process only, where the peak of `resource` may be that of its parent; Linux."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 2**20


def header(*cells: str) -> Iterator[str]:
    yield row(*cells)
    yield "|---" * len(cells) + "|"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def middle(values: Sequence[float], places: int = 2) -> str:
    """The median, with the least and the most."""
    shown = (f"{f(values):.{places}f}" for f in (statistics.median, min, max))
    return "{} ({} to {})".format(*shown)


def read_tokenizer() -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(BUNDLED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--many", type=int, default=10_000, help="trajectories at once for the last table"
    )
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure_many(options.measure[0], int(options.measure[1]))))
        return
    tokenizer = read_tokenizer()
    for table in (against_barriers, by_in_flight, cost_per_event, on_the_wall_clock):
        for line in table(tokenizer):
            print(line, flush=True)
        print()
    for line in many_at_once(options.many):
        print(line, flush=True)


if __name__ == "__main__":
    main()
