"""Our BM25 engine against tantivy, and against rank-bm25 on a corpus that it can bear.

Passages are of 30 to 70 words drawn by Zipf's law from 200,000 made-up words, with a seed; a query is
six words of one passage, frequent ones included. Every engine indexes and searches in a process of its
own, on the same files, with the same formula (k1 = 1.2, b = 0.75, no stemming), and returns whole
documents. Index time includes reading the corpus; tantivy keeps its documents in its index.

    python benchmarks/bm25.py                        200,000 passages
    python benchmarks/bm25.py --passages 2000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from innersearch.search.index.bm25 import BM25Engine, BM25Parameters
from innersearch.search.index.corpus import read_corpus

WORDS, K, SEED = 200_000, 3, 0
QUERIES, SMALL, SMALL_QUERIES, AT_ONCE = 2000, 5000, 300, 256
PARAMETERS = BM25Parameters(stemmer=None, k1=1.2, b=0.75)
ENGINES = ("innersearch", "innersearch, numpy", "tantivy")
SMALL_ENGINES = ("innersearch, numpy", "rank-bm25")
LEAST_SHARED = {"tantivy": 0.95, "rank-bm25": 0.995, "innersearch": 1.0}
"""Share of top documents an engine must have in common with the first: tantivy rounds lengths to a byte,
rank-bm25 computes in double precision, and numpy must do as numba."""


def word(number: int) -> str:
    """A word of its own for each number: consonants and vowels in turn."""
    letters = []
    while number >= 0:
        number, syllable = divmod(number, 100)
        number -= 1
        letters.append("bcdfghjklmnpqrstvwxz"[syllable // 5] + "aeiou"[syllable % 5])
    return "".join(letters)


def write_corpus(folder: Path, passages: int, count: int) -> None:
    rng = np.random.default_rng(SEED)
    share = 1 / np.arange(1, WORDS + 1)
    limits = np.cumsum(share / share.sum())
    # From two syllables on: "to", "be" and "no" are stop words.
    vocabulary = [word(number + 100) for number in range(WORDS)]
    asked = set(rng.choice(passages, size=min(count, passages), replace=False).tolist())
    queries = []
    with (folder / "corpus.jsonl").open("w") as corpus:
        for number in range(passages):
            drawn = np.searchsorted(limits, rng.random(rng.integers(30, 71)))
            words = [vocabulary[min(i, WORDS - 1)] for i in drawn]
            corpus.write(json.dumps({"id": str(number), "title": "", "text": " ".join(words)}) + "\n")
            if number in asked:
                queries.append(" ".join(rng.choice(words, size=6, replace=False)))
    (folder / "queries.json").write_text(json.dumps(queries))


# Every `index_…` builds from a corpus, and every `open_…` gives three ways of searching.

One, Many = Callable[[str], list[str]], Callable[[Sequence[str]], list[list[str]]]
Search = tuple[One, Many, Many]
"""Of one query, of many in one call, and of many calls at once."""


def index_innersearch(corpus: Path, folder: Path) -> None:
    BM25Engine.build(read_corpus(corpus), folder, PARAMETERS)


def open_innersearch(folder: Path, backend: str) -> Search:
    engine = BM25Engine.open(folder, backend=backend)
    loop = asyncio.new_event_loop()

    def many(queries: Sequence[str]) -> list[list[str]]:
        results = loop.run_until_complete(engine.search(queries, K))
        return [[document.id for document in result.documents] for result in results]

    async def calls(queries: Sequence[str]) -> list[list[str]]:
        async def ask() -> None:
            while waiting:
                place, query = waiting.pop()
                found[place] = [d.id for d in (await engine.search([query], K))[0].documents]

        waiting, found = list(enumerate(queries)), [[]] * len(queries)
        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        return found

    def at_once(queries: Sequence[str]) -> list[list[str]]:
        return loop.run_until_complete(calls(queries))

    return (lambda query: many([query])[0]), many, at_once


def index_tantivy(corpus: Path, folder: Path) -> None:
    import tantivy

    folder.mkdir()
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("id", stored=True, tokenizer_name="raw")
    schema.add_text_field("text", stored=True)
    index = tantivy.Index(schema.build(), path=str(folder))
    writer = index.writer()
    for document in read_corpus(corpus):
        writer.add_document(tantivy.Document(id=document.id, text=document.text))
    writer.commit()
    writer.wait_merging_threads()


def open_tantivy(folder: Path) -> Search:
    import tantivy

    index = tantivy.Index.open(str(folder))
    searcher = index.searcher()
    pool = ThreadPoolExecutor(os.cpu_count())

    def one(query: str) -> list[str]:
        hits = searcher.search(index.parse_query(query, ["text"]), K).hits
        documents = [searcher.doc(address) for _, address in hits]
        return [document["id"][0] for document in documents if document["text"]]

    def many(queries: Sequence[str]) -> list[list[str]]:
        return list(pool.map(one, queries))

    return one, many, many


def open_rank_bm25(corpus: Path) -> Search:
    from rank_bm25 import BM25Okapi

    class Lucene(BM25Okapi):
        """With the idf that the others have, so that results can be compared; it costs the same."""

        def _calc_idf(self, nd: dict[str, int]) -> None:
            n = self.corpus_size
            self.idf = {word: np.log(1 + (n - df + 0.5) / (df + 0.5)) for word, df in nd.items()}

    documents = list(read_corpus(corpus))
    index = Lucene([d.text.split() for d in documents], k1=PARAMETERS.k1, b=PARAMETERS.b)

    def one(query: str) -> list[str]:
        best = np.argsort(-index.get_scores(query.split()), kind="stable")[:K]
        return [documents[row].id for row in best]

    def many(queries: Sequence[str]) -> list[list[str]]:
        return [one(query) for query in queries]

    return one, many, many


def measure(task: str, name: str, folder: Path) -> dict[str, Any]:
    """Run in a process of its own, so that peak memory is that of this task."""
    at = folder / name.split(",")[0]
    started = time.perf_counter()
    if task == "index":
        if name != "rank-bm25":
            (index_tantivy if name == "tantivy" else index_innersearch)(folder / "corpus.jsonl", at)
        else:
            open_rank_bm25(folder / "corpus.jsonl")
        return {"index_s": time.perf_counter() - started, "index_gb": peak_gb(), "disk_mb": size_mb(at)}
    if name == "rank-bm25":
        one, many, at_once = open_rank_bm25(folder / "corpus.jsonl")
    elif name == "tantivy":
        one, many, at_once = open_tantivy(at)
    else:
        one, many, at_once = open_innersearch(at, "numpy" if name.endswith("numpy") else "numba")
    opened = time.perf_counter()
    queries = json.loads((folder / "queries.json").read_text())
    one(queries[0])
    first = time.perf_counter()
    times, found = [], []
    for query in queries:
        before = time.perf_counter()
        found.append(one(query))
        times.append(time.perf_counter() - before)
    rates = []
    for ask in (many, at_once):
        before = time.perf_counter()
        if ask(queries) != found:
            raise SystemExit(f"{name}: many queries do not give what single ones give")
        rates.append(len(queries) / (time.perf_counter() - before))
    (folder / f"found {name}.json").write_text(json.dumps(found))
    return {
        "open_s": opened - started,
        "first_s": first - opened,
        "single_qps": len(queries) / sum(times),
        "p50_ms": 1000 * statistics.median(times),
        "p99_ms": 1000 * statistics.quantiles(times, n=100)[98],
        "batch_qps": rates[0],
        "at_once_qps": rates[1],
        "search_gb": peak_gb(),
    }


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def size_mb(folder: Path) -> float:
    files = folder.rglob("*") if folder.is_dir() else ()
    return sum(file.stat().st_size for file in files) / 1e6


def in_a_process(task: str, name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", task, name, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


COLUMNS = {
    "index_s": "index, s",
    "index_gb": "peak GB",
    "disk_mb": "disk, MB",
    "open_s": "open, s",
    "first_s": "first search, s",
    "single_qps": "queries/s, one by one",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "batch_qps": "in one call",
    "at_once_qps": f"{AT_ONCE} calls at once",
    "search_gb": "peak GB, searching",
}


def compare(folder: Path, passages: int, queries: int, names: Sequence[str]) -> Iterator[str]:
    """The lines of a table of engines on one corpus, ratios to ours, and how far they agree."""
    folder.mkdir()
    write_corpus(folder, passages, queries)
    corpus_mb = (folder / "corpus.jsonl").stat().st_size / 1e6
    yield f"{passages:,} passages, {corpus_mb:,.0f} MB; {queries:,} queries of 6 words, k = {K}\n"
    yield "| | " + " | ".join(COLUMNS.values()) + " |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        same_index = next((rows[n] for n in rows if n.split(",")[0] == name.split(",")[0]), None)
        rows[name] = dict(same_index or in_a_process("index", name, folder))
        rows[name] |= in_a_process("search", name, folder)
        yield f"| {name} | " + " | ".join(shown(rows[name][key]) for key in COLUMNS) + " |"
    ours = rows[names[0]]
    for name in names[1:]:
        ratios = [f"{rows[name][key] / ours[key]:.2f}" if ours[key] else "–" for key in COLUMNS]
        yield f"| {name} / {names[0]} | " + " | ".join(ratios) + " |"
    yield ""
    found = {name: json.loads((folder / f"found {name}.json").read_text()) for name in names}
    for name in names[1:]:
        yield agreement(found[names[0]], found[name], name)
    yield ""


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def agreement(ours: list[list[str]], theirs: list[list[str]], name: str) -> str:
    pairs = list(zip(ours, theirs, strict=True))
    shared = statistics.fmean(len({*a} & {*b}) / K for a, b in pairs)
    first = statistics.fmean(a[:1] == b[:1] for a, b in pairs)
    least = LEAST_SHARED[name.split(",")[0]]
    verdict = "as it should be" if shared >= least else "TOO FEW"
    return (
        f"{name}: {shared:.4f} of the top {K} shared (at least {least}), {first:.4f} of the first ones "
        f"equal; {verdict}  "
    )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        task, name, folder = options.measure
        print(json.dumps(measure(task, name, Path(folder))))
        return
    versions = ", ".join(f"{p} {version(p)}" for p in ("bm25s", "numba", "tantivy", "rank-bm25"))
    print(f"benchmarks/bm25.py, {processor()}, {os.cpu_count()} cores, {versions}\n")
    with tempfile.TemporaryDirectory() as folder:
        for part, *sizes, names in (
            ("large", options.passages, QUERIES, ENGINES),
            ("small", SMALL, SMALL_QUERIES, SMALL_ENGINES),
        ):
            for line in compare(Path(folder) / part, *sizes, names):
                print(line, flush=True)


if __name__ == "__main__":
    main()
