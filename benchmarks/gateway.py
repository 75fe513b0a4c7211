"""The gateway: what it costs over the engine in process, and what slow clients do to it.

    python benchmarks/gateway.py overhead        # 64 clients, with and without time between searches
    python benchmarks/gateway.py batch           # 400 queries per request on BM25
    python benchmarks/gateway.py slow --clients 2000 --seconds 180
    python benchmarks/gateway.py roundtrip       # read(write(documents)) = documents, 1,000 lists each

Server and clients share the cores of one machine, so the figures hold what the clients take as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import Any

import httpx2

from innersearch.search.addresses import address_of
from innersearch.search.base import Engine, SearchResult
from innersearch.search.index.bm25 import BM25Engine
from innersearch.search.remote.apis import APIS
from innersearch.search.remote.dialects import DIALECTS, document, read_answer
from innersearch.types import Document, Source

K = 3
DOCUMENTS = 20_000
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("ra", "no", "li", "mu", "se")]


def corpus(count: int = DOCUMENTS) -> list[Document]:
    """Documents of a hundred words, as the passages of wiki-18 have."""
    rng = random.Random(1)
    return [
        Document(str(n), " ".join(rng.choices(WORDS, k=3)), " ".join(rng.choices(WORDS, k=100)))
        for n in range(count)
    ]


def queries(count: int) -> list[str]:
    rng = random.Random(2)
    return [" ".join(rng.choices(WORDS, k=6)) for _ in range(count)]


def engine() -> Engine:
    return BM25Engine.from_documents(corpus())


def _serve(port: int, ready: Any) -> None:
    from innersearch.serve.app import build_app
    from innersearch.serve.server import bound, serve
    from innersearch.serve.serving import Serving

    with bound("127.0.0.1", port) as listening:
        app = build_app(Serving(engine()))
        ready.set()
        serve(app, listening)


@contextmanager
def gateway():
    """A server in a process of its own; yields its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=_serve, args=(port, ready), daemon=True)
    process.start()
    ready.wait(300)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.join(30)


async def clients(
    ask: Callable[[str], Awaitable[Any]], count: int, each: int, think_s: float
) -> list[float]:
    """Seconds of every search of some clients that wait `think_s` on average between two."""
    texts = queries(count * each)

    async def one(number: int) -> list[float]:
        rng, seconds = random.Random(number), []
        for turn in range(each):
            await asyncio.sleep(rng.expovariate(1 / think_s) if think_s else 0)
            started = time.perf_counter()
            await ask(texts[number * each + turn])
            seconds.append(time.perf_counter() - started)
        return seconds

    return [s for part in await asyncio.gather(*map(one, range(count))) for s in part]


def quantiles(seconds: list[float]) -> str:
    cut = statistics.quantiles(seconds, n=100)
    return f"{1000 * cut[49]:.2f} | {1000 * cut[89]:.2f} | {1000 * cut[98]:.2f}"


async def overhead(rounds: int) -> None:
    computing = "server computes per search, ms | clients compute per search, ms"
    print(f"| 64 clients | p50, ms | p90, ms | p99, ms | {computing} |\n|---|---|---|---|---|---|")
    here = engine()
    with gateway() as (url, pid):
        limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
        async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as http:

            async def through(query: str) -> None:
                body = {"queries": [query], "topk": K, "return_scores": True}
                (await http.post("/retrieve", json=body)).raise_for_status()

            async def inside(query: str) -> None:
                await here.search([query], K)

            for label, think_s, each in (("1 s between searches", 1.0, 10), ("none between", 0.0, 20)):
                await clients(through, 64, 2, 0.1)
                medians: dict[str, list[float]] = {"in process": [], "gateway": []}
                for _ in range(rounds):
                    for name, ask in (("in process", inside), ("gateway", through)):
                        began = processor_s(pid), time.process_time()
                        found = await clients(ask, 64, each, think_s)
                        server = 1000 * (processor_s(pid) - began[0]) / len(found)
                        own = 1000 * (time.process_time() - began[1]) / len(found)
                        medians[name].append(statistics.median(found))
                        computed = f"{server:.2f} | {own:.2f}"
                        print(f"| {name}, {label} | {quantiles(found)} | {computed} |", flush=True)
                differences = [
                    1000 * (g - p)
                    for p, g in zip(medians["in process"], medians["gateway"], strict=True)
                ]
                print(f"| **overhead, {label}** | {statistics.median(differences):.2f} | | | | |")


async def batch(rounds: int) -> None:
    print(
        "| 400 queries per request | in process, queries/s | gateway, queries/s | share | by computing |"
    )
    print("|---|---|---|---|---|")
    here = engine()
    texts = queries(400)
    with gateway() as (url, pid):
        async with httpx2.AsyncClient(base_url=url, timeout=600) as http:
            body = {"queries": texts, "topk": K, "return_scores": True}
            for number in range(rounds + 1):
                times, computed = {}, {}
                for name in ("in process", "gateway"):
                    started = time.perf_counter()
                    computing = pid if name == "gateway" else os.getpid()
                    began = processor_s(computing)
                    for _ in range(5):
                        if name == "gateway":
                            (await http.post("/retrieve", json=body)).json()
                        else:
                            await here.search(texts, K)
                    times[name] = time.perf_counter() - started
                    computed[name] = processor_s(computing) - began
                rates = [2000 / times["in process"], 2000 / times["gateway"]]
                if number:
                    share = rates[1] / rates[0]
                    least = computed["in process"] / computed["gateway"]
                    shown = f"{rates[0]:,.0f} | {rates[1]:,.0f} | {share:.2f} | {least:.2f}"
                    print(f"| round {number} | {shown} |", flush=True)


def processor_s(pid: int) -> float:
    """Seconds that a process has computed."""
    with open(f"/proc/{pid}/stat") as file:
        values = file.read().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def slow(count: int, seconds: float) -> None:
    """Healthy clients alone, then beside slow ones that send a byte per second, or nothing."""

    async def dawdle(host: str, port: int, number: int, end: float) -> None:
        while time.monotonic() < end:
            try:
                _, writer = await asyncio.open_connection(host, port)
                head = b"POST /tavily/search HTTP/1.1\r\nHost: localhost\r\n"
                if number % 3:
                    writer.write(head)
                if number % 3 == 2:
                    writer.write(b"Content-Length: 5000\r\n\r\n")
                while time.monotonic() < end and not writer.is_closing():
                    await asyncio.sleep(1)
                    if number % 3:
                        writer.write(b"x" if number % 3 == 2 else b"x: y\r\n")
                        await writer.drain()
                writer.close()
            except OSError:
                await asyncio.sleep(0.1)

    with gateway() as (url, pid):
        address = httpx2.URL(url)
        async with httpx2.AsyncClient(base_url=url, timeout=60) as http:

            async def ask(query: str) -> None:
                (await http.post("/tavily/search", json={"query": query})).raise_for_status()

            await clients(ask, 16, 20, 0.05)
            print("| | p50, ms | p90, ms | p99, ms | memory, MB |\n|---|---|---|---|---|")
            alone = await clients(ask, 16, max(20, int(seconds / 6)), 0.5)
            before = memory_mb(pid)
            print(f"| 16 healthy clients | {quantiles(alone)} | {before:.0f} |", flush=True)
            end = time.monotonic() + seconds
            beside = [
                asyncio.create_task(dawdle(address.host, address.port or 80, number, end))
                for number in range(count)
            ]
            await asyncio.sleep(3)
            found: list[float] = []
            most = before
            while time.monotonic() < end - 3:
                found += await clients(ask, 16, 4, 0.5)
                most = max(most, memory_mb(pid))
            print(f"| beside {count} slow ones | {quantiles(found)} | {most:.0f} |", flush=True)
            await asyncio.gather(*beside)


def roundtrip(lists: int) -> None:
    """Random lists of documents, written as each API answers and read as we read it."""
    rng = random.Random(3)
    letters = "abc <b>&amp;\"'\\\n\t日本ü\U0001f5fe/.,:;?=%#"

    def text(most: int) -> str:
        return "".join(rng.choices(letters, k=rng.randrange(most)))

    def some() -> Document:
        url = f"https://example.org/{rng.random()}" if rng.random() < 0.5 else None
        score = rng.uniform(-5, 50) if rng.random() < 0.8 else None
        return Document(f"d{rng.random()}", text(40), text(400), url, score)

    sent: dict[str, dict[str, Any]] = {
        "serper": {"q": "q"},
        "serpapi": {"q": "q"},
        "tavily": {"query": "q"},
        "brave": {"q": "q"},
        "exa": {"query": "q", "contents": {"text": True}},
        "perplexity": {"query": "q"},
        "searxng": {"q": "q", "format": "json"},
    }
    print("| API | lists | documents | differences |\n|---|---|---|---|")
    for name, request in sent.items():
        api, documents, different = APIS[name], 0, 0
        for _ in range(lists):
            found = [some() for _ in range(rng.randrange(11))]
            asking = api.query.model_validate(request).asking()
            written = json.loads(
                json.dumps(api.answers(asking, [SearchResult(tuple(found))], Source.RETRIEVER))
            )
            scores = {"exa": lambda d: d.score, "tavily": lambda d: d.score or 0.0}
            scores["searxng"] = scores["tavily"]
            score = scores.get(name, lambda d: None)
            expected = [document(address_of(d), d.title, d.text, address_of(d), score(d)) for d in found]
            different += read_answer(DIALECTS[name], written, 100) != expected
            documents += len(found)
        print(f"| {name} | {lists:,} | {documents:,} | {different} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("overhead", "batch", "slow", "roundtrip"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2_000, help="slow ones")
    parser.add_argument("--seconds", type=float, default=180)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    match options.what:
        case "overhead":
            asyncio.run(overhead(options.rounds))
        case "batch":
            asyncio.run(batch(options.rounds))
        case "slow":
            asyncio.run(slow(options.clients, options.seconds))
        case "roundtrip":
            roundtrip(1_000)


if __name__ == "__main__":
    main()
