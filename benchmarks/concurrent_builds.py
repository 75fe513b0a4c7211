"""Two builds of one index at once, at many offsets: one good index and one clear refusal each time.

Two `innersearch index` commands write the same directory, the second one started a little after the
first, from at once to nearly the end of the first build; both kinds of index, dense ones with an
embeddings endpoint that this program serves. Two commands that miss each other are started again. Then
every byte of the index is compared with what was built, and documents are searched by their own texts.

    python benchmarks/concurrent_builds.py
    python benchmarks/concurrent_builds.py --offsets 5 --documents 3000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from innersearch.search.base import Engine
from innersearch.search.index.bm25 import BM25Engine
from innersearch.search.index.corpus import read_corpus
from innersearch.search.index.dense import DenseEngine
from innersearch.search.index.encoders import open_encoder
from innersearch.search.index.store import verify

WIDTH, SEARCHED = 128, 300
REFUSAL = re.compile(r"innersearch: the index .* is being written by process \d+ on \S+: wait until")


class Embeddings(BaseHTTPRequestHandler):
    """Answers as an embeddings API does, with counts of hashed words."""

    def do_POST(self) -> None:
        """One vector for each text."""
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        vectors = np.full((len(texts), WIDTH), 1e-3)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, zlib.crc32(word.encode()) % WIDTH] += 1
        data = [{"index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]
        answer = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def write_corpus(file: Path, documents: int) -> None:
    rng = np.random.default_rng(0)
    with file.open("w") as lines:
        for number in range(documents):
            words = " ".join(f"w{word}" for word in rng.integers(0, 3000, 30))
            lines.write(json.dumps({"id": str(number), "text": f"only{number} {words}"}) + "\n")


def start(corpus: Path, folder: Path, encoder: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "innersearch", "index", str(corpus), str(folder)]
    command += ["--encoder", encoder] if encoder else []
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def seconds_held(corpus: Path, folder: Path, encoder: str) -> float:
    """For how long a build holds its lock."""
    lock = folder.with_name(folder.name + ".lock")
    build = start(corpus, folder, encoder)
    while not lock.exists() and build.poll() is None:
        time.sleep(0.005)
    began = time.perf_counter()
    build.communicate()
    return time.perf_counter() - began


def is_good(corpus: Path, folder: Path, encoder: str) -> bool:
    """Whether an index is as it was built and finds documents by their own texts."""
    verify(folder)
    engine: Engine
    engine = DenseEngine.open(folder, open_encoder(encoder)) if encoder else BM25Engine.open(folder)
    documents = list(read_corpus(corpus))
    chosen = documents[:: max(1, len(documents) // SEARCHED)]

    async def first() -> list[str]:
        results = await engine.search([document.text for document in chosen], 1)
        await engine.close()
        return [result.documents[0].id for result in results]

    return asyncio.run(first()) == [document.id for document in chosen]


def meet(corpus: Path, folder: Path, encoder: str, offset: float) -> tuple[str, bool]:
    """What came of two builds, and whether the index is good."""
    first = start(corpus, folder, encoder)
    time.sleep(offset)
    builds = [first, start(corpus, folder, encoder)]
    said = [build.communicate()[1] for build in builds]
    done = [build.returncode == 0 for build in builds]
    refused = [bool(REFUSAL.search(text)) for text in said]
    good = is_good(corpus, folder, encoder)
    if sorted(done) == [False, True] and refused == [not one for one in done]:
        return "refused", good
    return ("apart" if all(done) else f"other: {said}"), good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--offsets", type=int, default=20)
    parser.add_argument("--documents", type=int, default=20_000)
    chosen = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Embeddings)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}#words"
    with tempfile.TemporaryDirectory() as scratch:
        for kind, encoder, documents in (
            ("bm25", "", chosen.documents),
            ("dense", url, chosen.documents // 4),
        ):
            corpus, folder = Path(scratch) / f"{kind}.jsonl", Path(scratch) / kind
            write_corpus(corpus, documents)
            held = seconds_held(corpus, folder, encoder)
            clear = good = again = 0
            for number in range(chosen.offsets):
                outcome = "apart"
                while outcome == "apart":
                    outcome, whole = meet(corpus, folder, encoder, 0.9 * held * number / chosen.offsets)
                    again += outcome == "apart"
                clear += outcome == "refused"
                good += whole
                if outcome != "refused" or not whole:
                    print(f"  {kind}, offset {number}: {outcome}, good: {whole}")
            print(
                f"{kind}: {documents:,} documents, a build holds its lock for {held:.1f} s; "
                f"{clear} of {chosen.offsets} clear refusals, {good} good indexes "
                f"({again} pairs missed each other)",
                flush=True,
            )
    server.shutdown()


if __name__ == "__main__":
    main()
