"""What the simulated engine costs: over generating alone, and against the released ZeroSearch loop.

Both on one trained simulator and the queries that were held out when it was trained, each useful and
noisy, so that no two searches are alike and nothing is answered from memory. A search is one call of
`SimulatedEngine.answer`, on an engine that is new in every round.

Overhead: the engine against `generate` of the very same requests on a session of the same policy, by as
many coroutines. Both must write the same number of tokens. Aimed at: at most 5 % more time.

Throughput: every trajectory searches several times, one search after the other. With the engine, all
trajectories search at once and none waits for another. The released loop goes turn by turn: a pool of
ten threads makes one HTTP call per query and waits for its answer, and the next turn begins when the
last answer is there (facts: ZeroSearch generation.py). Its server is no worse than ours: an OpenAI-style
endpoint that writes everything under way in one continuous batch of the same policy, kept open. It runs
in a process of its own, as it would, with as many torch threads as ours; while one is measured, the
other has nothing to do. So with one thread for torch and two cores, its client has a core of its own
that ours has not. With 128 threads, what is left is the barrier and HTTP. All must find the same
documents. Aimed at: four times the searches per second of the released loop.

Medians of rounds in which all take turns, after one that warms up, with the least and the most. A ratio
is the median of those of the rounds.

    OMP_NUM_THREADS=1 python benchmarks/simulator.py --simulator runs/simulator \
        --output benchmarks/results/simulator.md
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bm25 import processor
from scheduler import middle

from innersearch.config import NoiseSettings, SimulatorSettings
from innersearch.grammar import TAGS
from innersearch.policy.base import Request
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.stops import StopStrings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.search.base import SearchRequest
from innersearch.search.curriculum import Curriculum
from innersearch.simulator.engine import SimulatedEngine, gold_answers, simulator_prompt
from innersearch.simulator.loading import as_trained
from innersearch.simulator.pairs import HELD_OUT, read_pairs
from innersearch.simulator.parsing import read_draft
from innersearch.simulator.writers import LocalWriter, Prompt, encode_prompt
from innersearch.types import Kind, Sampling
from innersearch.view.tables import markdown

THREADS = (10, 128)
"""Searches at once in the released loop, and in a more generous one."""
CURRICULUM = Curriculum(NoiseSettings(start=0.5, end=0.5))


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    searches: dict[int, int]
    """By concurrency, to measure the overhead with."""
    trajectories: int
    turns: int

    def reduced(self, share: int) -> Size:
        """The same with fewer searches, though with as many at once."""
        searches = {workers: max(workers, n // share) for workers, n in self.searches.items()}
        return self._replace(searches=searches, trajectories=max(1, self.trajectories // share))


FULL = Size(7, {1: 256, 16: 768, 128: 1024}, 256, 3)
SMALL = Size(2, {1: 8, 4: 24}, 16, 2)


class Simulator:
    """The model, and engines that share it."""

    def __init__(self, folder: str, slots: int) -> None:
        self.folder = folder
        self.settings = as_trained(folder, SimulatorSettings(max_batch=slots))
        model, self.tokenizer = load_model(folder), load_tokenizer(folder)
        self.policy = TransformersPolicy(model, end_ids(model, self.tokenizer), max_batch=slots)
        self.k = 1 if self.settings.prompt == "simulator-world" else 5
        self.exact = model.device.type == "cpu"
        self.device = "no GPU" if self.exact else torch.cuda.get_device_name()

    def writer(self) -> LocalWriter:
        """One whose session is not open yet."""
        return LocalWriter(self.folder, self.policy, self.tokenizer, self.settings)

    def engine(self, writer: LocalWriter) -> SimulatedEngine:
        """One that has written nothing yet."""
        return SimulatedEngine(writer, self.settings, CURRICULUM)

    def prompt(self, asked: SearchRequest) -> tuple[Prompt, tuple[str | int, ...]]:
        """What our engine asks its writer, and the stream of random numbers that it names."""
        label, gold = CURRICULUM.label(asked), gold_answers(asked, self.settings)
        question = asked.question.question
        prompt = simulator_prompt(self.settings, label, asked.query, question, gold, self.k)
        return prompt, (" ".join(asked.query.split()), question, label, *gold, self.k)

    def searches(self) -> list[SearchRequest]:
        """All that the held-out pairs allow for: each query of a question, useful and noisy."""
        different: dict[tuple[str | int, ...], SearchRequest] = {}
        for number, pair in enumerate(read_pairs(Path(self.folder) / HELD_OUT)):
            asked = SearchRequest(pair.query, pair.question, (pair.question.id, number))
            different.setdefault(self.prompt(asked)[1], asked)
        found = list(different.values())
        random.Random(0).shuffle(found)
        return found


class Taken(NamedTuple):
    """One run over all searches."""

    seconds: float
    p50: float
    tokens: int


async def drive(work: Iterable[Any], call: Callable[[Any], Awaitable[Any]], workers: int) -> list[float]:
    """Seconds that each call took."""
    latencies: list[float] = []
    rest = iter(work)

    async def worker() -> None:
        for item in rest:
            started = time.perf_counter()
            await call(item)
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(worker() for _ in range(workers)))
    return latencies


async def generate_alone(simulator: Simulator, requests: Sequence[Request], workers: int) -> Taken:
    settings = simulator.settings
    sampling = Sampling(settings.temperature, settings.max_new_tokens, settings.seed)
    tokens: list[int] = []
    started = time.perf_counter()
    async with simulator.policy.session(sampling) as session:

        async def call(request: Request) -> None:
            tokens.append(len((await session.generate(request)).token_ids))

        latencies = await drive(requests, call, workers)
        return Taken(time.perf_counter() - started, statistics.median(latencies), sum(tokens))


async def search(simulator: Simulator, searches: Sequence[SearchRequest], workers: int) -> Taken:
    writer = simulator.writer()
    engine = simulator.engine(writer)
    started = time.perf_counter()
    latencies = await drive(searches, partial(engine.answer, k=simulator.k), workers)
    seconds = time.perf_counter() - started
    await engine.close()
    return Taken(seconds, statistics.median(latencies), writer.tokens)


def in_turns(rounds: int, runs: dict[Any, Callable[[], Any]]) -> dict[Any, list[Any]]:
    """What each run returned in each round; who begins changes, and the first round only warms up."""
    found: dict[Any, list[Any]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            outcome = runs[name]()
            if number:
                found[name].append(outcome)
    return found


def overhead(simulator: Simulator, searches: Sequence[SearchRequest], size: Size) -> Iterator[list[str]]:
    """A row per concurrency."""
    tokenizer = simulator.tokenizer
    stop = StopStrings(tokenizer, [TAGS.closing(Kind.INFORMATION)])
    for workers, count in size.searches.items():
        part = searches[:count]
        prompts = map(simulator.prompt, part)
        requests = [Request(encode_prompt(tokenizer, p), stream, stop) for p, stream in prompts]
        runs = {
            "raw": partial(generate_alone, simulator, requests, workers),
            "ours": partial(search, simulator, part, workers),
        }
        found: dict[str, list[Taken]] = in_turns(
            size.rounds, {name: lambda run=run: asyncio.run(run()) for name, run in runs.items()}
        )
        totals = {taken.tokens for rounds in found.values() for taken in rounds}
        # On a GPU a token may depend on who else is in the batch.
        if max(totals) > (1 if simulator.exact else 1.01) * min(totals):
            raise SystemExit(f"different numbers of tokens were written: {totals}")
        both = list(zip(found["raw"], found["ours"], strict=True))
        yield [
            str(workers),
            f"{len(part):,}",
            f"{max(totals):,}",
            *(f"{1e3 * statistics.median(t.p50 for t in found[name]):.2f}" for name in found),
            middle([ours.p50 / raw.p50 for raw, ours in both], 3),
            *(f"{statistics.median(t.seconds for t in found[name]):.2f}" for name in found),
            middle([ours.seconds / raw.seconds for raw, ours in both], 3),
            middle([1e6 * (ours.seconds - raw.seconds) / len(part) for raw, ours in both], 0),
        ]


class Pages(NamedTuple):
    """What a loop found, by trajectory and turn."""

    rate: float
    """Searches per second."""
    texts: dict[tuple[int, int], tuple[str, ...]]


Plan = Sequence[Sequence[SearchRequest]]
"""The searches of each trajectory, turn by turn."""


async def all_at_once(simulator: Simulator, plan: Plan) -> Pages:
    """Ours."""
    engine = simulator.engine(simulator.writer())
    texts: dict[tuple[int, int], tuple[str, ...]] = {}

    async def trajectory(number: int) -> None:
        for turn, asked in enumerate(plan[number]):
            result = await engine.answer(asked, simulator.k)
            texts[number, turn] = tuple(document.text for document in result.documents)

    started = time.perf_counter()
    await asyncio.gather(*map(trajectory, range(len(plan))))
    seconds = time.perf_counter() - started
    await engine.close()
    return Pages(len(texts) / seconds, texts)


def turn_by_turn(simulator: Simulator, plan: Plan, port: int, threads: int) -> Pages:
    """The released loop: per turn a pool of threads, one call per query, and a barrier."""
    texts: dict[tuple[int, int], tuple[str, ...]] = {}
    started = time.perf_counter()
    for turn in range(len(plan[0])):
        with ThreadPoolExecutor(max_workers=threads) as pool:
            futures = {
                pool.submit(call, simulator, searches[turn], port): number
                for number, searches in enumerate(plan)
            }
            for future in as_completed(futures):
                texts[futures[future], turn] = future.result()
    return Pages(len(texts) / (time.perf_counter() - started), texts)


def call(simulator: Simulator, asked: SearchRequest, port: int) -> tuple[str, ...]:
    """The documents of one query, from the server; a connection of its own, as in the released code."""
    prompt, stream = simulator.prompt(asked)
    messages = [("user", prompt.message), ("assistant", prompt.begun)]
    body = {
        "model": "",
        "messages": [{"role": role, "content": text} for role, text in messages],
        # Our engine's stream of random numbers, for the same documents.
        "user": json.dumps(stream),
    }
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        [choice] = json.loads(connection.getresponse().read())["choices"]
    finally:
        connection.close()
    draft = read_draft(
        choice["message"]["content"], simulator.k, ended=choice["finish_reason"] == "stop"
    )
    return tuple(document.text for document in draft.documents)


async def serve(simulator: Simulator) -> None:
    """Answer on a free port, which is printed, until the standard input ends."""
    model = simulator.writer()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        asked = json.loads(await reader.readexactly(length))
        prompt = Prompt(*(message["content"] for message in asked["messages"]))
        output = await model.write(prompt, tuple(json.loads(asked["user"])))
        message = {"role": "assistant", "content": output.text}
        finish = "stop" if output.ended else "length"
        body = json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    await model.close()


@contextmanager
def served(simulator: Simulator) -> Iterator[int]:
    """The port of a server in a process of its own, which ends with this one, however that ends."""
    arguments = [str(simulator.policy.max_batch), str(torch.get_num_threads())]
    command = [sys.executable, __file__, "--simulator", simulator.folder, "--serve", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def throughput(simulator: Simulator, plan: Plan, rounds: int) -> Iterator[list[str]]:
    """A row per loop."""
    with served(simulator) as port:
        runs = {"ours": lambda: asyncio.run(all_at_once(simulator, plan))} | {
            f"turn by turn, {threads} threads": partial(turn_by_turn, simulator, plan, port, threads)
            for threads in THREADS
        }
        found: dict[str, list[Pages]] = in_turns(rounds, runs)
    counts = {sum(map(len, p.texts.values())) for pages_of in found.values() for p in pages_of}
    if max(counts) > (1 if simulator.exact else 1.01) * min(counts):
        raise SystemExit(f"different numbers of documents were found: {counts}")
    for name, pages_of in found.items():
        both = list(zip(found["ours"], pages_of, strict=True))
        same = [ours.texts[key] == theirs.texts[key] for ours, theirs in both for key in ours.texts]
        yield [
            name,
            middle([pages.rate for pages in pages_of], 0),
            middle([ours.rate / theirs.rate for ours, theirs in both]),
            f"{max(counts):,}",
            f"{statistics.fmean(same):.2%}",
        ]


def machine(simulator: Simulator) -> str:
    """What the figures depend on."""
    size = sum(weights.numel() for weights in simulator.policy.model.parameters())
    return (
        f"benchmarks/simulator.py, {processor()}, {os.cpu_count()} cores, "
        f"{simulator.device}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}; a simulator of {size / 1e6:.2f} million parameters, "
        f"{simulator.policy.max_batch} slots, k = {simulator.k}"
    )


OVERHEAD = (
    "searches at once", "searches", "tokens", "raw p50, ms", "ours p50, ms", "ours / raw", "raw, s",
    "ours, s", "ours / raw, s", "ours − raw, µs per search",
)  # fmt: skip
THROUGHPUT = ("", "searches/s", "ours / this", "documents", "same documents as ours")


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--simulator", default="runs/simulator", help="directory of a trained simulator")
    parser.add_argument("--rounds", type=int, help=f"{FULL.rounds} by default")
    parser.add_argument("--small", action="store_true", help="to see whether it runs")
    parser.add_argument("--share", type=int, default=1, help="one in so many searches, for large models")
    parser.add_argument("--output", type=Path, help="file for the tables")
    parser.add_argument("--serve", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        slots, threads = options.serve
        torch.set_num_threads(threads)
        asyncio.run(serve(Simulator(options.simulator, slots)))
        return
    size = SMALL if options.small else FULL
    size = size.reduced(options.share)._replace(rounds=options.rounds or size.rounds)
    simulator = Simulator(options.simulator, max(size.trajectories, *size.searches))
    searches = simulator.searches()
    needed = size.trajectories * size.turns
    if len(searches) < max(needed, *size.searches.values()):
        raise SystemExit(f"only {len(searches)} different searches in {options.simulator}/{HELD_OUT}")
    lines: list[str] = []

    def show(text: str) -> None:
        print(text, flush=True)
        lines.append(text)

    show(f"{machine(simulator)}\n\nMedians of {size.rounds} rounds.\n")
    show("## The engine against generating the same tokens\n")
    show(markdown(OVERHEAD, overhead(simulator, searches, size)))
    plan = [searches[start : start + size.turns] for start in range(0, needed, size.turns)]
    show(f"\n## {size.trajectories} trajectories × {size.turns} searches\n")
    show(markdown(THROUGHPUT, throughput(simulator, plan, size.rounds)))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
