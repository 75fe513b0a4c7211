from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from innersearch.errors import ConfigError, DataError, SearchError
from innersearch.search.base import SearchResult
from innersearch.search.index.bm25 import BM25Engine, BM25Parameters
from innersearch.search.index.corpus import read_corpus
from innersearch.types import Document, Source

CITIES = [
    Document("p1", "Paris", "Paris is the capital of France and lies on the Seine."),
    Document("b1", "Berlin", "Berlin is the capital of Germany.", url="https://example.org/berlin"),
    Document("v1", "Vitamin C", "Vitamin C is found in oranges; vitamin D comes from the sun."),
    Document("z1", "Zürich", "Zürich liegt am Zürichsee. Beyoncé sang there."),
    Document("c1", "北京", "北京是中华人民共和国的首都。"),
    Document("i1", "It", "It is a film of 1990 about a clown."),
]


def search(engine: BM25Engine, *queries: str, k: int = 3) -> list[SearchResult]:
    return asyncio.run(engine.search(queries, k))


def ids(result: SearchResult) -> list[str]:
    assert result.error is None
    return [document.id for document in result.documents]


def many(n: int, seed: int = 0) -> list[Document]:
    """Short documents of few words, so that equal scores are common."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(30)]
    return [Document(str(i), "", " ".join(rng.choices(words, k=5))) for i in range(n)]


@pytest.fixture(scope="module")
def cities() -> BM25Engine:
    return BM25Engine.from_documents(CITIES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(BM25Engine.build(CITIES, tmp_path / "index").close())
    return tmp_path / "index"


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("capital of France", "p1"),
        ("vitamin c", "v1"),
        ("zurich", "z1"),
        ("beyonce", "z1"),
        ("中华人民共和国首都", "c1"),
        ("Berlin's capitals", "b1"),
        ("it", "i1"),
        ("capital of germany? " * 500, "b1"),
    ],
)
def test_the_right_document_comes_first(cities: BM25Engine, query: str, first: str) -> None:
    assert ids(search(cities, query)[0])[0] == first


@pytest.mark.parametrize("query", ["", "   ", "?!…", "xylophone", "💥"])
def test_a_query_without_known_words_finds_nothing(cities: BM25Engine, query: str) -> None:
    assert search(cities, query, "capital", query)[0].documents == ()


def test_results_keep_the_order_of_the_queries(cities: BM25Engine) -> None:
    queries = ["berlin", "", "paris", "oranges", "xylophone"] * 20
    found = [ids(result) for result in search(cities, *queries)]
    assert found == [["b1"], [], ["p1"], ["v1"], []] * 20
    assert search(cities) == []


def test_k_beyond_the_corpus_gives_what_matches(cities: BM25Engine) -> None:
    assert set(ids(search(cities, "capital", k=1000)[0])) == {"p1", "b1"}
    assert ids(search(cities, "capital", k=0)[0]) == []


def test_documents_come_back_whole_with_falling_scores(cities: BM25Engine) -> None:
    found = search(cities, "capital of germany")[0]
    assert found.documents[0].url == "https://example.org/berlin"
    scores = [document.score for document in found.documents]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0
    assert found.latency_s > 0


@pytest.mark.parametrize("k", [1, 3, 10, 300])
def test_scores_are_those_of_the_formula_and_ties_go_by_corpus_order(k: int) -> None:
    documents = many(300)
    parameters = BM25Parameters(stemmer=None, k1=1.2, b=0.75)
    texts = [document.text.split() for document in documents]

    def score(query: list[str], text: list[str]) -> float:
        total = 0.0
        for word in query:
            containing = sum(word in other for other in texts)
            idf = np.log(1 + (len(texts) - containing + 0.5) / (containing + 0.5))
            total += idf * text.count(word) / (text.count(word) + 1.2)
        return total

    engine = BM25Engine.from_documents(documents, parameters)
    for query in ("w1", "w1 w2", "w3 w3 w29 w4"):
        # Of equal length, so b plays no part; rounded, since the index is in single precision.
        expected = [round(score(query.split(), text), 5) for text in texts]
        best = sorted(range(300), key=lambda row: (-expected[row], row))[:k]
        best = [row for row in best if expected[row] > 0]
        found = search(engine, query, k=k)[0].documents
        assert [document.id for document in found] == [str(row) for row in best]
        assert [document.score for document in found] == pytest.approx(
            [expected[row] for row in best], abs=1e-4
        )


def test_numba_and_numpy_give_the_same_results(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    documents = many(400, seed=1)
    asyncio.run(BM25Engine.build(documents, tmp_path / "index").close())
    queries = [document.text for document in documents[:30]] + ["w1", "w2 w2", "", "unknown"]
    fast, plain = (BM25Engine.open(tmp_path / "index", backend=b) for b in ("numba", "numpy"))
    held = BM25Engine.from_documents(documents)
    for k in (1, 3, 50, 400):
        answers = [
            [result.documents for result in search(engine, *queries, k=k)]
            for engine in (fast, plain, held)
        ]
        assert answers[0] == answers[1] == answers[2]
    assert fast.identity == plain.identity == held.identity


def test_numba_is_named_where_it_is_wanted_and_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr("innersearch.search.index.bm25._NUMBA_FROM", 1)
    assert ids(search(BM25Engine.open(folder), "paris")[0]) == ["p1"]
    with pytest.raises(ConfigError, match=r"'\.\[fast\]'"):
        BM25Engine.open(folder, backend="numba")
    with pytest.raises(ConfigError, match="did you mean 'numpy'"):
        BM25Engine.open(folder, backend="numpi")


def test_an_opened_index_answers_as_the_built_one(cities: BM25Engine, folder: Path) -> None:
    opened = BM25Engine.open(folder)
    queries = ["capital of France", "it", "北京", "nothing"]
    answers = [[r.documents for r in search(engine, *queries)] for engine in (opened, cities)]
    assert answers[0] == answers[1]
    assert opened.identity == cities.identity
    assert opened.source is Source.RETRIEVER
    assert BM25Engine.from_documents(CITIES[1:]).identity != cities.identity
    asyncio.run(opened.close())
    closed = search(opened, "capital", "paris")
    assert all(result.error and not result.documents for result in closed)


def test_parameters_are_kept_and_decide(tmp_path: Path) -> None:
    documents = [Document("1", "", "the founders met"), Document("2", "", "others met")]
    BM25Engine.build(documents, tmp_path / "plain", BM25Parameters(stemmer=None))
    BM25Engine.build(documents, tmp_path / "stemmed")
    assert ids(search(BM25Engine.open(tmp_path / "plain"), "founder")[0]) == []
    assert ids(search(BM25Engine.open(tmp_path / "stemmed"), "founder")[0]) == ["1"]
    with pytest.raises(ConfigError, match="did you mean 'english'"):
        BM25Engine.from_documents(documents, BM25Parameters(stemmer="englisch"))


def test_the_event_loop_runs_on_while_a_search_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, runs_on = BM25Engine.from_documents(many(300)), threading.Event()
    search_in_thread = engine._search

    def wait_for_the_loop(queries: Sequence[str], k: int) -> list[SearchResult]:
        assert runs_on.wait(600), "the search keeps the event loop from running"
        return search_in_thread(queries, k)

    async def both() -> list[SearchResult]:
        searching = asyncio.create_task(engine.search(["w1 w2 w3 w4"] * 40, 5))
        await asyncio.sleep(0.001)
        runs_on.set()
        return await searching

    monkeypatch.setattr(engine, "_search", wait_for_the_loop)
    assert len(asyncio.run(both())) == 40


def test_concurrent_searches_do_not_mix(cities: BM25Engine) -> None:
    async def ask() -> list[list[SearchResult]]:
        words = ["berlin", "paris", "oranges"]
        return await asyncio.gather(*(cities.search([words[i % 3]], 1) for i in range(60)))

    found = [ids(results[0]) for results in asyncio.run(ask())]
    assert found == [["b1"], ["p1"], ["v1"]] * 20


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "settings.json").unlink(),
        lambda folder: (folder / "settings.json").write_text("{"),
        lambda folder: (folder / "settings.json").write_text('{"engine": "bm25"}'),
        lambda folder: (folder / "offsets.npy").unlink(),
        lambda folder: _cut(folder / "documents.jsonl"),
        lambda folder: _cut(folder / "data.csc.index.npy"),
        lambda folder: (folder / "vocab.index.json").write_text(
            "x" * (folder / "vocab.index.json").stat().st_size
        ),
        lambda folder: (folder / "params.index.json").unlink(),
    ],
)
def test_a_damaged_index_says_how_to_rebuild_it(folder: Path, damage: object) -> None:
    damage(folder)
    with pytest.raises(SearchError, match="innersearch index"):
        BM25Engine.open(folder)


def test_a_missing_index_and_one_of_another_engine_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"no index at .*innersearch index"):
        BM25Engine.open(tmp_path / "nowhere")
    settings = folder / "settings.json"
    settings.write_text(settings.read_text().replace('"engine": "bm25"', '"engine": "dense"'))
    with pytest.raises(SearchError, match="index of 'dense', not of 'bm25'"):
        BM25Engine.open(folder)


_SLOW_BUILD = """
import sys, time
from pathlib import Path
from innersearch.search.index.bm25 import BM25Engine
from innersearch.types import Document

def slow():
    for i in range(10**6):
        if i == 100:
            print("under way", flush=True)
        time.sleep(0 if i < 100 else 1)
        yield Document(str(i), "", f"text {i}")

BM25Engine.build(slow(), Path(sys.argv[1]))
"""


def test_a_killed_build_never_looks_complete(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    command = [sys.executable, "-c", _SLOW_BUILD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as build:
        assert build.stdout.readline() == "under way\n"
        os.kill(build.pid, signal.SIGKILL)
    with pytest.raises(SearchError, match="unfinished build"):
        BM25Engine.open(folder)
    assert ids(search(BM25Engine.build(CITIES, folder), "paris")[0]) == ["p1"]
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_failed_build_leaves_the_old_index(folder: Path) -> None:
    def broken() -> Iterator[Document]:
        yield CITIES[0]
        raise DataError("row 2 is wrong")

    with pytest.raises(DataError):
        BM25Engine.build(broken(), folder)
    assert ids(search(BM25Engine.open(folder), "berlin")[0]) == ["b1"]
    BM25Engine.build(CITIES[:1], folder)
    assert ids(search(BM25Engine.open(folder), "berlin")[0]) == []
    assert [path.name for path in folder.parent.iterdir()] == ["index"]


def test_a_folder_with_other_things_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SearchError, match="in the way"):
        BM25Engine.build(CITIES, tmp_path)
    assert (tmp_path / "thesis.tex").is_file()


def test_no_documents_and_documents_without_words(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no documents"):
        BM25Engine.build([], tmp_path / "index")
    with pytest.raises(SearchError, match="no documents"):
        BM25Engine.from_documents([])
    wordless = BM25Engine.build([Document("1", "", "…"), Document("2", "", "")], tmp_path / "index")
    assert ids(search(wordless, "anything")[0]) == []


def test_progress_is_reported(tmp_path: Path) -> None:
    seen = []
    BM25Engine.build(CITIES, tmp_path / "index", progress=lambda *step: seen.append(step))
    assert ("documents", 6, 6) in seen
    assert ("words", 6, 6) in seen


def test_an_opened_index_holds_no_documents_in_memory(tmp_path: Path) -> None:
    big = [Document(str(i), "", f"word{i} " + "filler " * 20_000) for i in range(60)]
    BM25Engine.build(big, tmp_path / "index")
    tracemalloc.start()
    engine = BM25Engine.open(tmp_path / "index")
    assert ids(search(engine, "word7")[0]) == ["7"]
    assert tracemalloc.get_traced_memory()[1] < 4 * 10**6
    tracemalloc.stop()
    assert len(search(engine, "word8")[0].documents[0].text) > 10**5
    assert (tmp_path / "index" / "documents.jsonl").stat().st_size > 8 * 10**6


# The corpus reader.

WIKI = [
    {"id": "0", "contents": '"Aaron"\nAaron is a prophet.\nA second line.'},
    {"id": 1, "contents": '"""Heroes"" (song)"\nText'},
    {"contents": "No title here", "extra": [1]},
]
PLAIN = [
    {"id": "a", "title": "T", "text": "one", "url": "https://example.org", "sha": "x"},
    {"id": "b", "title": None, "text": "two"},
]


def lines(rows: list[dict[str, object]]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def test_wiki_18_rows_are_split_into_title_and_text(tmp_path: Path) -> None:
    path = tmp_path / "wiki.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines(WIKI) + b"\n\n")
    assert list(read_corpus(path)) == [
        Document("0", "Aaron", "Aaron is a prophet.\nA second line."),
        Document("1", '"Heroes" (song)', "Text"),
        Document("3", "", "No title here"),
    ]


def test_plain_rows_from_gzip_and_parquet(tmp_path: Path) -> None:
    packed, table = tmp_path / "c.jsonl.gz", tmp_path / "c.parquet"
    packed.write_bytes(gzip.compress(lines(PLAIN)))
    parquet.write_table(pa.Table.from_pylist(PLAIN), table, row_group_size=1)
    expected = [Document("a", "T", "one", url="https://example.org"), Document("b", "", "two")]
    assert list(read_corpus(packed)) == list(read_corpus(table)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": 1, "text": "a"}\n{"id": 2, "txt": "b"}', r"row 2 has neither .* \['id', 'txt'\]"),
        (b'{"id": 1, "text": "a"}\n{"id": 2', "row 2 is no JSON"),
        (b'{"text": "a"}\n["b"]', "row 2 is no JSON object"),
        (b'{"text": "caf\xe9"}', "row 1 is no UTF-8"),
        (b'{"text": "\\ud800"}', r"row 1 holds .*, half of a character"),
        (b"\n", "holds no documents"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_corpus(path))


def test_wrong_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.xlsx").write_text("id,text")
    (tmp_path / "c.parquet").write_text("no parquet")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines(PLAIN * 99))[:-20])
    parquet.write_table(pa.table({"id": [1]}), tmp_path / "bare.parquet")
    for name, message in {
        "none.jsonl": "no corpus at",
        "c.xlsx": "'.xlsx'",
        "c.parquet": "no readable Parquet",
        "c.jsonl.gz": "no complete gzip",
        "bare.parquet": "row 1 has neither",
    }.items():
        with pytest.raises(DataError, match=message):
            list(read_corpus(tmp_path / name))


def test_reading_streams_and_takes_long_documents(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(lines([{"text": "word " * 200_000}]) + b"\nbroken")
    reading = read_corpus(path)
    assert len(next(reading).text) == 10**6
    engine = BM25Engine.from_documents([*CITIES, Document("long", "", "paris word " * 10**5)])
    assert ids(search(engine, "word")[0]) == ["long"]
    with pytest.raises(DataError):
        next(reading)
