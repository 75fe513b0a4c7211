from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import sqlite3
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from innersearch.errors import SearchError
from innersearch.records import to_json
from innersearch.search.base import SearchResult
from innersearch.search.remote.web import WebEngine
from innersearch.search.wrappers import cached
from innersearch.search.wrappers.budget import Budget, Budgeted
from innersearch.search.wrappers.cached import CachedEngine, normalised
from innersearch.search.wrappers.reliable import Reliable
from innersearch.types import Document, Source
from tests.search_servers import KEY, LocalServer, api, ask


class Index:
    """An engine in memory that counts what it is asked."""

    name, source = "index", Source.WEB

    def __init__(self, version: int = 1, wait_s: float = 0.0) -> None:
        self.identity: dict[str, Any] = {"engine": "index", "version": version}
        self.asked: list[str] = []
        self.closed = False
        self._wait_s = wait_s

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.asked += queries
        await asyncio.sleep(self._wait_s)
        return [self._answer(query, k) for query in queries]

    def _answer(self, query: str, k: int) -> SearchResult:
        if query.startswith("fail"):
            return SearchResult(error="down", latency_s=0.5)
        if query.startswith("nothing"):
            return SearchResult(latency_s=0.5)
        documents = (
            Document(f"{query} {n}", f"T{n}", f"text\n{n} of call {len(self.asked)}", f"u{n}", 1 / 3)
            for n in range(k)
        )
        return SearchResult(tuple(documents), latency_s=0.1 + len(self.asked) / 3, cost_usd=0.001)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder with spaces & #" / "cache.sqlite"


def test_what_is_kept_is_not_asked_again_and_costs_nothing(path: Path) -> None:
    index = Index()
    first = ask(CachedEngine(index, path), "a", "b")
    cached = CachedEngine(index, path)
    second = ask(cached, "b", " a\n")
    assert index.asked == ["a", "b"]
    assert [r.documents for r in second] == [first[1].documents, first[0].documents]
    assert [r.latency_s for r in second] == [first[1].latency_s, first[0].latency_s]
    assert [r.cost_usd for r in first + second] == [0.001, 0.001, 0, 0]
    assert cached.counts == {"kept": 2, "shared": 0}
    assert (cached.name, cached.source, cached.identity) == ("index", Source.WEB, index.identity)
    assert index.closed


def test_a_replay_needs_no_engine_and_gives_the_recorded_bytes(path: Path) -> None:
    def lines(results: Sequence[SearchResult]) -> list[str]:
        free = [replace(result, cost_usd=0.0) for result in results]
        return [to_json(TypeAdapter(SearchResult), result) for result in free]

    recorded = lines(ask(CachedEngine(Index(), path), "a", "b"))
    for _ in range(2):
        replay = CachedEngine(None, path, "replay")
        assert (replay.name, replay.source, replay.identity) == ("index", Source.WEB, Index().identity)
        results = ask(replay, "a", "b")
        assert lines(results) == recorded
        assert [result.cost_usd for result in results] == [0, 0]


def test_a_miss_in_replay_is_a_failed_search(path: Path) -> None:
    ask(CachedEngine(Index(), path), "a")
    index = Index()
    replay = CachedEngine(index, path, "replay")
    found, missing = ask(replay, "a", "b")
    assert found.error is None
    assert missing.error == "index is replayed, and the answer in cache.sqlite is missing: record it"
    assert missing.documents == ()
    assert index.asked == []
    assert replay.counts["missing"] == 1


def test_a_miss_in_replay_says_for_what_the_query_is_kept(path: Path) -> None:
    recorded = CachedEngine(Index(), path)
    asyncio.run(recorded.search(["a"], 1))
    ask(recorded, "a", k=5)
    (missing,) = ask(CachedEngine(Index(), path, "replay"), "a", k=3)
    assert "is missing for k = 3 (it is kept for k = 1, k = 5): record it" in missing.error
    (missing,) = ask(CachedEngine(Index(version=2), path, "replay"), " a\t", k=5)
    assert "is missing for this engine or index (it is kept for another)" in missing.error


def as_somebody_without_rights(folder: Path, work: Callable[[], object]) -> None:
    """Do the work in a process that can write nothing in `folder`: rights bind everybody but root."""
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return
    status = 1
    try:
        if os.geteuid() == 0:
            os.setuid(65534)
        assert not os.access(folder, os.W_OK)
        work()
        status = 0
    finally:
        os._exit(status)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that others can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="innersearch-test-"))
    (folder / "cache").mkdir()
    folder.chmod(0o755)
    yield folder / "cache"
    (folder / "cache").chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("shared_memory", [False, True])
def test_a_replay_from_a_place_that_cannot_be_written_to(
    public: Path, killed: bool, shared_memory: bool
) -> None:
    file = public / "a b#?.sqlite"
    recording = CachedEngine(Index(), file)
    asyncio.run(recording.search(["a"], 3))
    if killed:
        # What lies there while it is recorded, and after a kill.
        left = {end: Path(f"{file}{end}").read_bytes() for end in ("", "-wal", "-shm")}
    asyncio.run(recording.close())
    if killed:
        assert left["-wal"]
        for end in ("", "-wal", "-shm")[: 3 if shared_memory else 2]:
            Path(f"{file}{end}").write_bytes(left[end])
    before = {path.name: path.read_bytes() for path in public.iterdir()}

    def replay() -> None:
        for engine in (None, Index()):
            (found,) = ask(CachedEngine(engine, file, "replay"), "a", k=3)
            assert found.documents[0].id == "a 0"

    as_somebody_without_rights(public, replay)
    assert {path.name: path.read_bytes() for path in public.iterdir()} == before


def test_partial_answers_are_never_kept(path: Path) -> None:
    class Half(Index):
        def _answer(self, query: str, k: int) -> SearchResult:
            return replace(super()._answer(query, k), partial="serper: HTTP 503")

    index = Half()
    for mode in ("record", "record", "refresh"):
        (result,) = ask(CachedEngine(index, path, mode), "a")
        assert (result.error, result.partial) == (None, "serper: HTTP 503")
    assert len(index.asked) == 3
    assert "is missing" in ask(CachedEngine(index, path, "replay"), "a")[0].error


def test_refresh_asks_again_and_keeps_the_new_answer(path: Path) -> None:
    index = Index()
    ask(CachedEngine(index, path), "a")
    (fresh,) = ask(CachedEngine(index, path, "refresh"), "a")
    assert fresh.cost_usd == 0.001
    assert ask(CachedEngine(None, path, "replay"), "a")[0].documents == fresh.documents
    assert "call 2" in fresh.documents[0].text


@pytest.mark.parametrize("query", ["fail", "nothing"])
def test_failed_and_empty_answers_are_never_kept(query: str, path: Path) -> None:
    index = Index()
    for _ in range(2):
        (result,) = ask(CachedEngine(index, path), query)
        assert (result.error is None) == (query == "nothing")
    assert index.asked == [query, query]


def test_k_engine_and_case_decide_which_answer_it_is(path: Path) -> None:
    index = Index()
    ask(CachedEngine(index, path), "Turkey", k=2)
    assert len(ask(CachedEngine(index, path), "Turkey", k=3)[0].documents) == 3
    ask(CachedEngine(index, path), "turkey", k=2)
    assert index.asked == ["Turkey", "Turkey", "turkey"]
    other = Index(version=2)
    ask(CachedEngine(other, path), "Turkey", k=2)
    assert other.asked == ["Turkey"]
    with pytest.raises(SearchError, match=r"holds 2 engines \(index, index\)"):
        CachedEngine(None, path, "replay")


@given(st.text(), st.text(" \t\n\r", max_size=3))
def test_normalisation_is_idempotent_and_blind_to_outer_space(query: str, space: str) -> None:
    once = normalised(query)
    assert normalised(once) == once
    assert normalised(space + query + space) == once
    assert normalised(unicodedata.normalize("NFD", query)) == once


DIFFERENT = [
    *(
        "10⁵",
        "105",
        "10₅",
        "１０５",
        "①05",
        "x²",
        "x2",
        "H₂O",
        "H2O",
        "½",
        "1⁄2",
        "1/2",
        "ﬁrst",
        "first",
    ),
    *("Straße", "Strasse", "STRASSE", "№ 1", "No 1", "Ⅳ", "IV", "ªb", "ab", "µm", "μm", "ſo", "so"),
    *(
        "ｱｲ",
        "アイ",
        "…",
        "...",
        "™",
        "TM",
        "İ",
        "I",
        "ı",
        "i",
        "naïve",
        "naive",
        "ﷺ",
        "a-b",
        "a‑b",
        "a–b",
    ),
]


def test_queries_that_are_written_differently_have_answers_of_their_own(path: Path) -> None:
    index = Index()
    ask(CachedEngine(index, path), *DIFFERENT)
    results = ask(CachedEngine(index, path), *DIFFERENT)
    assert index.asked == DIFFERENT
    assert [result.documents[0].id for result in results] == [f"{query} 0" for query in DIFFERENT]
    same = [unicodedata.normalize(form, "Ångström é") for form in ("NFD", "NFC")] + ["\u212bngström  é "]
    ask(CachedEngine(index, path), *same)
    assert len(index.asked) == len(DIFFERENT) + 1


def test_a_file_of_an_earlier_version_replays_what_it_kept_under_its_form_of_queries(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(cached, "normalised", lambda query, form="": normalised(query, "NFKC"))
        ask(CachedEngine(Index(), path), "10⁵ ﬁsh")
    [result] = ask(CachedEngine(Index(), path, "replay"), "10⁵ ﬁsh")
    assert result.error is not None, "a file of this version keeps such queries apart"
    database = sqlite3.connect(path)
    database.execute("PRAGMA application_id = 0")
    database.close()
    [result] = ask(CachedEngine(Index(), path, "replay"), "10⁵ ﬁsh")
    assert result.error is None
    assert result.documents


def test_odd_queries_are_kept(path: Path) -> None:
    queries = ["\ud800", "\x00", "", "'; DROP TABLE answers; --", "é" * 10_000]
    index = Index()
    first = ask(CachedEngine(index, path), *queries)
    second = ask(CachedEngine(index, path), *queries)
    assert [r.documents for r in first] == [r.documents for r in second]
    assert len(index.asked) == len(queries)


def test_odd_documents_of_a_megabyte_are_kept(path: Path) -> None:
    class Large(Index):
        def _answer(self, query: str, k: int) -> SearchResult:
            return SearchResult((Document("1", "\ud800", "漢" * 1_000_000),))

    ask(CachedEngine(Large(), path), "a")
    (document,) = ask(CachedEngine(None, path, "replay"), "a")[0].documents
    assert (document.title, document.text) == ("\ud800", "漢" * 1_000_000)


def test_old_answers_are_asked_again(path: Path) -> None:
    now = 1_000.0

    def clock() -> float:
        return now

    index = Index()
    ask(CachedEngine(index, path, ttl_s=60, clock=clock), "a")
    now = 1_060.0
    ask(CachedEngine(index, path, ttl_s=60, clock=clock), "a")
    assert len(index.asked) == 1
    now = 1_060.1
    assert "too old" in ask(CachedEngine(None, path, "replay", ttl_s=60, clock=clock), "a")[0].error
    cached = CachedEngine(index, path, ttl_s=60, clock=clock)
    ask(cached, "a")
    assert len(index.asked) == 2
    assert cached.counts["too old"] == 1
    assert ask(CachedEngine(None, path, "replay"), "a")[0].error is None


TAMPERINGS = [
    "answer = replace(answer, 'call 2', 'call 7')",
    "answer = 'not json'",
    "answer = x'80ff'",
    "answer = CAST(x'80ff' AS TEXT)",
    "created = created + 1000000",
    "created = 'later'",
    "query = 'c'",
    "k = 9",
    "digest = ''",
    "digest = 'é'",
    "(answer, digest) = (SELECT answer, digest FROM answers WHERE query = 'b')",
]


@pytest.mark.parametrize("change", TAMPERINGS)
def test_a_damaged_row_is_reported_in_replay_and_replaced_in_record(change: str, path: Path) -> None:
    index = Index()
    ask(CachedEngine(index, path), "a", "b")
    with sqlite3.connect(path) as database:
        assert database.execute(f"UPDATE answers SET {change} WHERE query = 'a'").rowcount == 1
    database.close()
    damaged, intact = ask(CachedEngine(None, path, "replay"), "a", "b")
    assert "is damaged" in damaged.error
    assert intact.error is None
    cached = CachedEngine(index, path)
    assert ask(cached, "a")[0].error is None
    assert cached.counts["damaged"] == 1
    assert ask(CachedEngine(None, path, "replay"), "a")[0].documents


@pytest.mark.parametrize("mode", ["record", "replay"])
def test_a_file_that_is_no_cache_is_refused_and_left(mode: Any, tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("my notes " * 1_000)
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    for file, message in ((text, "move it away"), (other, "give another path")):
        before = file.read_bytes()
        with pytest.raises(SearchError, match=message):
            CachedEngine(Index(), file, mode)
        assert file.read_bytes() == before
    with pytest.raises(SearchError, match="cannot use the cache"):
        CachedEngine(Index(), tmp_path, "record")


def test_a_damaged_file_is_reported_and_left(path: Path) -> None:
    ask(CachedEngine(Index(), path), *map(str, range(200)))
    pages = bytearray(path.read_bytes())
    pages[8_192:] = b"\x55" * len(pages[8_192:])
    path.write_bytes(pages)
    with pytest.raises(SearchError, match=r"damaged.*left as it is"):
        ask(CachedEngine(Index(), path), *map(str, range(200)))
    assert path.read_bytes() == pages


def test_what_is_missing_is_said(path: Path) -> None:
    with pytest.raises(SearchError, match="no cache at"):
        CachedEngine(None, path, "replay")
    with pytest.raises(SearchError, match="needs an engine"):
        CachedEngine(None, path)
    with pytest.raises(SearchError, match="record, refresh or replay"):
        CachedEngine(Index(), path, "offline")
    asyncio.run(CachedEngine(Index(), path).close())
    assert ask(CachedEngine(None, path, "replay"), "a")[0].error is not None


def test_equal_queries_at_once_are_asked_once_and_paid_once(path: Path) -> None:
    async def run() -> list[SearchResult]:
        cached = CachedEngine(index, path)
        searches = [cached.search(["same", f"own {n}", "same"], 1) for n in range(64)]
        results = [result for answered in await asyncio.gather(*searches) for result in answered]
        await cached.close()
        return results

    index = Index(wait_s=0.05)
    results = asyncio.run(run())
    assert index.asked.count("same") == 1
    assert len(index.asked) == 65
    assert sum(result.cost_usd for result in results) == pytest.approx(0.065)
    assert len({result.documents for result in results if result.documents[0].id == "same 0"}) == 1


@pytest.mark.usefixtures("virtual_time")
def test_a_failure_is_shared_by_those_who_wait_for_it(path: Path) -> None:
    async def run() -> None:
        cached = CachedEngine(index, path)
        results = await asyncio.gather(*(cached.search(["fail"], 1) for _ in range(9)))
        assert {result.error for (result,) in results} == {"down"}
        assert index.asked == ["fail"]
        await cached.search(["fail"], 1)
        assert index.asked == ["fail", "fail"]
        await cached.close()

    index = Index(wait_s=0.01)
    asyncio.run(run())


@pytest.mark.usefixtures("virtual_time")
def test_an_answer_is_kept_even_if_its_asker_is_cancelled(path: Path) -> None:
    async def run() -> None:
        cached = CachedEngine(index, path)
        first = asyncio.create_task(cached.search(["a"], 1))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(cached.search(["a"], 1))
        first.cancel()
        assert (await second)[0].documents
        await cached.close()

    index = Index(wait_s=0.1)
    asyncio.run(run())
    assert ask(CachedEngine(None, path, "replay"), "a", k=1)[0].documents
    assert index.asked == ["a"]


def test_an_engine_that_cannot_be_used_is_not_hidden(path: Path) -> None:
    class Broken(Index):
        async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
            raise SearchError("no")

    with pytest.raises(SearchError, match="no"):
        ask(CachedEngine(Broken(), path), "a")


def write(path: Path, start: int, count: int) -> None:
    async def run() -> None:
        cached = CachedEngine(Index(), path)
        await asyncio.gather(*(cached.search([f"q{start + n}"], 1) for n in range(count)))
        await cached.close()

    asyncio.run(run())


def test_two_processes_with_64_tasks_each_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    # They overlap by half, so that they write the same rows as well.
    processes = [context.Process(target=write, args=(path, start, 64)) for start in (0, 32)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    results = ask(CachedEngine(None, path, "replay"), *(f"q{n}" for n in range(96)), k=1)
    assert [result.error for result in results] == [None] * 96


def test_the_whole_stack_pays_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", KEY)
    budget = Budget(calls=3)

    def stack(server: LocalServer) -> CachedEngine:
        web = WebEngine("serper", base_url=server.url)
        return CachedEngine(Reliable(Budgeted(web, budget)), path)

    with LocalServer(api("serper")) as server:
        first = ask(stack(server), "a", "b", "a")
        second = ask(stack(server), "a", "c", "d")
    assert [r.error is None for r in first + second] == [True] * 5 + [False]
    assert len(server.asked) == budget.spent.calls == 3
    replay = CachedEngine(None, path, "replay")
    assert replay.name == "serper"
    assert [r.error is None for r in ask(replay, "a", "b", "c", "d", k=2)] == [True] * 3 + [False]
    assert KEY.encode() not in path.read_bytes()
