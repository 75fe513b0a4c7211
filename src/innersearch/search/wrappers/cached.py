"""Answers of an engine, kept in SQLite: asked once, paid once, replayed exactly.

A kept answer belongs to the identity of its engine, to `k` and to the query, put on one line and in
the normal form NFC, which makes no two texts one but those that are drawn and meant alike. Upper and
lower case, full-width digits and superscripts ("10⁵" and "105") are kept apart: engines treat them
differently, and a replay has to return what its run saw. Failed, partial and empty answers are never
kept. Every row carries a digest; a damaged row counts as missing. Values are JSON text; the file may be
shared by tasks, threads and processes, and is replayed from places that cannot be written to.

An answer from the cache has the latency that was recorded, so that replayed records are byte for byte
the same, and costs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from innersearch.errors import SearchError
from innersearch.search.base import Engine, SearchResult
from innersearch.types import Document, Source

T = TypeVar("T")
Identity = Mapping[str, str | int | float | bool | None]

Mode = Literal["record", "refresh", "replay"]
"""record: look up, else ask and keep; refresh: ask and keep anew; replay: only what is kept."""

FORMAT = 1
"""Version of the tables, in `user_version`."""
_BY_NFC = 0x69736E66
"""The `application_id` of files without keys of the normal form NFKC, which earlier versions made."""

OPENED: Identity = {"method": "open"}
"""Part of the identity of what has pages: they are kept in the file of an engine, and are no answers."""

_BUSY_S = 60.0
_TABLES = """
CREATE TABLE IF NOT EXISTS engines (
    identity TEXT PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, query TEXT NOT NULL, k INTEGER NOT NULL, answer TEXT NOT NULL,
    created REAL NOT NULL, digest TEXT NOT NULL
);
"""


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _sha256(value: object) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def normalised(query: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    r"""The form of a query under which its answer is kept.

    >>> normalised("  Who\tfounded Coltek? ")
    'Who founded Coltek?'
    """
    return " ".join(unicodedata.normalize(form, query).split())


class _Answers:
    """The file. Everything happens in one thread of its own, which owns the connection."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self._path = path
        self.earlier = False
        """Whether an earlier version made the file."""
        self._copy: TemporaryDirectory[str] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search-cache")
        try:
            self._database = self._thread.submit(self._open, write=write).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Run a method of this class in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def now(self, work: Callable[..., T], *args: object) -> T:
        """Run a method of this class in the thread and wait for it."""
        return self._thread.submit(work, *args).result()

    def close(self) -> None:
        """Close the file."""
        self._thread.submit(self._database.close).result()
        self._thread.shutdown()
        if self._copy is not None:
            self._copy.cleanup()

    def keep_engine(self, name: str, source: str, identity: Identity) -> None:
        """Note whose answers the file holds."""
        with self._clear_errors(), self._database:
            self._database.execute(
                "INSERT OR IGNORE INTO engines VALUES (?, ?, ?)", (_canonical(identity), name, source)
            )

    def engines(self) -> list[tuple[str, str, str]]:
        """Identity, name and source of every engine of the file."""
        with self._clear_errors():
            return self._database.execute("SELECT identity, name, source FROM engines").fetchall()

    def keep(self, rows: Sequence[tuple[str, str, int, SearchResult]], created: float) -> None:
        """Keep answers, (key, query, k, result) each, in place of older ones."""
        with self._clear_errors(), self._database:
            for key, query, k, result in rows:
                answer = _written(result)
                line = _line(query)
                digest = _sha256([key, line, k, answer, created])
                self._database.execute(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                    (key, line, k, answer, created, digest),
                )

    def find(self, keys: Sequence[str], since: float | None) -> list[SearchResult | str]:
        """For each key its answer, or why there is none: `missing`, `damaged` or `too old`."""
        with self._clear_errors():
            return [self._find(key, since) for key in keys]

    def other_counts(self, query: str) -> list[int]:
        """The numbers of documents for which answers to a query are kept, whoever gave them."""
        with self._clear_errors():
            rows = self._database.execute(
                "SELECT DISTINCT k FROM answers WHERE query = ? ORDER BY k", (_line(query),)
            ).fetchall()
        return [k for (k,) in rows if isinstance(k, int)]

    def _find(self, key: str, since: float | None) -> SearchResult | str:
        row = self._database.execute(
            "SELECT key, query, k, answer, created, digest FROM answers WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return "missing"
        *content, digest = row
        if any(isinstance(value, bytes) for value in content) or _sha256(content) != digest:
            return "damaged"
        if since is not None and row[4] < since:
            return "too old"
        return _read(row[3])

    def _open(self, *, write: bool) -> sqlite3.Connection:
        if not write and not self._path.is_file():
            raise SearchError(f"no cache at {self._path}: record one first, or give its path")
        with self._clear_errors():
            if write:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return self._connect(self._path, "mode=rwc", write=True)
            try:
                return self._connect(self._path, "mode=ro", write=False)
            except sqlite3.OperationalError:
                return self._open_where_nothing_can_be_written()

    def _open_where_nothing_can_be_written(self) -> sqlite3.Connection:
        """SQLite keeps an index beside a file in WAL mode, also for readers.

        Nobody can change the file, so it is read without; but where whoever recorded was killed, the
        last answers are in a second file, and SQLite needs a copy of both to put them together.
        """
        log = self._path.with_name(self._path.name + "-wal")
        if not log.is_file() or not log.stat().st_size:
            return self._connect(self._path, "immutable=1", write=False)
        self._copy = TemporaryDirectory(prefix="innersearch-", ignore_cleanup_errors=True)
        copy = Path(self._copy.name) / "cache.sqlite"
        shutil.copyfile(self._path, copy)
        shutil.copyfile(log, f"{copy}-wal")
        return self._connect(copy, "mode=rw", write=False)

    def _connect(self, path: Path, how: str, *, write: bool) -> sqlite3.Connection:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", timeout=_BUSY_S, uri=True)
        # Damaged text then fails its digest, instead of failing to be read.
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            self._prepare(database, write=write)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection, *, write: bool) -> None:
        # One transaction, or the tables that another process makes could appear between the two.
        database.execute("BEGIN")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (kind,) = database.execute("PRAGMA application_id").fetchone()
        database.execute("COMMIT")
        if version != FORMAT and (tables or not write):
            raise SearchError(f"{self._path} is no cache of this version: give another path")
        if write:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        if write and version != FORMAT:
            numbers = f"PRAGMA application_id = {_BY_NFC}; PRAGMA user_version = {FORMAT};"
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} {numbers} COMMIT;")
        self.earlier = version == FORMAT and kind != _BY_NFC

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise SearchError(
                f"cannot use the cache {self._path}: {error}; check space, rights and other programs "
                "that use it"
            ) from error
        except sqlite3.DatabaseError as error:
            raise SearchError(
                f"the cache {self._path} is damaged: {error}; it was left as it is: restore a copy, or "
                "move it away and record again"
            ) from error


def _line(query: str) -> str:
    """A query as the file can hold it."""
    return query.encode("utf-8", "replace").decode()


def _written(result: SearchResult) -> str:
    documents = [asdict(document) for document in result.documents]
    return _canonical(
        {"documents": documents, "latency_s": result.latency_s, "cost_usd": result.cost_usd}
    )


def _read(answer: str) -> SearchResult:
    value = json.loads(answer)
    documents = tuple(Document(**document) for document in value["documents"])
    return SearchResult(documents, latency_s=value["latency_s"], cost_usd=value["cost_usd"])


class CachedEngine:
    """An engine with a memory; its identity is that of the engine.

    Queries that miss at the same time are asked once, and whoever did not ask pays nothing. A call whose
    asker is cancelled goes on and is kept, until `close`.

    Args:
        engine: Whose answers are kept; None only in replay, for a file that holds one engine.
        path: The SQLite file, made if it is missing and not in replay.
        mode: See `Mode`. In replay a search that is not kept fails, and says why.
        ttl_s: Seconds after which a kept answer is too old; None for never.
        clock: Seconds since 1970.

    Raises:
        SearchError: The file is damaged, no cache or missing; or no engine was given and it takes one.
    """

    def __init__(
        self,
        engine: Engine | None,
        path: Path,
        mode: Mode = "record",
        *,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if mode not in ("record", "refresh", "replay"):
            raise SearchError(f"no cache mode {mode!r}: record, refresh or replay")
        if engine is None and mode != "replay":
            raise SearchError(f"a cache in mode {mode} needs an engine to ask: give one, or use replay")
        self.mode, self.ttl_s = mode, ttl_s
        self.counts: Counter[str] = Counter()
        """Searches by where they were answered: `kept`, `asked`, `shared` with one under way; in replay
        `missing`, `damaged` and `too old`. `damaged` and `too old` rows are counted in every mode."""
        self._engine, self._path, self._clock = engine, path, clock
        self._answers = _Answers(path, write=mode != "replay")
        self._under_way: dict[str, asyncio.Task[dict[str, SearchResult]]] = {}
        self.name: str
        self.source: Source
        self.identity: Identity
        try:
            self._introduce()
        except BaseException:
            self._answers.close()
            raise

    def _introduce(self) -> None:
        if self._engine is None:
            self.identity, self.name, self.source = self._only_engine()
            return
        self.name, self.source = self._engine.name, self._engine.source
        self.identity = self._engine.identity
        if self.mode != "replay":
            self._answers.now(self._answers.keep_engine, self.name, self.source.value, self.identity)

    def _only_engine(self) -> tuple[Identity, str, Source]:
        every = self._answers.now(self._answers.engines)
        engines = [engine for engine in every if not OPENED.items() <= json.loads(engine[0]).items()]
        if len(engines) != 1:
            names = ", ".join(sorted(name for _, name, _ in engines)) or "none"
            raise SearchError(
                f"{self._path} holds {len(engines)} engines ({names}): give the one to replay"
            )
        identity, name, source = engines[0]
        return json.loads(identity), name, Source(source)

    @property
    def inner(self) -> Engine | None:
        """The engine whose answers are kept."""
        return self._engine

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order."""
        asked = {self._key(query, k): query for query in queries}
        new = {key: query for key, query in asked.items() if key not in self._under_way}
        if new:
            task = asyncio.create_task(self._find_or_ask(new, k))
            self._under_way |= dict.fromkeys(new, task)
        found: dict[str, SearchResult] = {}
        for task in {self._under_way[key]: None for key in asked}:
            # A task may answer for others as well, who are not to be cancelled with this one.
            found |= await asyncio.shield(task)
        results = []
        for query in queries:
            key = self._key(query, k)
            shared = key not in new
            new.pop(key, None)
            self.counts["shared"] += shared
            results.append(replace(found[key], cost_usd=0.0) if shared else found[key])
        return results

    async def close(self) -> None:
        """Close the file and the engine; calls under way are cancelled."""
        tasks = set(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._answers.close()
        if self._engine is not None:
            await self._engine.close()

    def _key(self, query: str, k: int, form: Literal["NFC", "NFKC"] = "NFC") -> str:
        return _sha256([self.identity, k, normalised(query, form)])

    async def _find_or_ask(self, asked: Mapping[str, str], k: int) -> dict[str, SearchResult]:
        try:
            found, missing = await self._find(list(asked))
            if self._engine is None or self.mode == "replay":
                if self._answers.earlier and missing:
                    found |= await self._find_earlier({key: asked[key] for key in missing}, k)
                    missing = {key: why for key, why in missing.items() if key not in found}
                self.counts.update(missing.values())
                lost = {key: await self._not_kept(asked[key], k, why) for key, why in missing.items()}
                return found | lost
            self.counts.update(why for why in missing.values() if why != "missing")
            if missing:
                found |= await self._ask(self._engine, {key: asked[key] for key in missing}, k)
            return found
        finally:
            for key in asked:
                self._under_way.pop(key, None)

    async def _find(self, keys: Sequence[str]) -> tuple[dict[str, SearchResult], dict[str, str]]:
        """What is kept, and for the other keys why it is not."""
        if self.mode == "refresh":
            return {}, dict.fromkeys(keys, "missing")
        since = None if self.ttl_s is None else self._clock() - self.ttl_s
        answers = await self._answers.run(self._answers.find, keys, since)
        found, missing = {}, {}
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, str):
                missing[key] = answer
            else:
                found[key] = replace(answer, cost_usd=0.0)
        self.counts["kept"] += len(found)
        return found, missing

    async def _find_earlier(self, asked: Mapping[str, str], k: int) -> dict[str, SearchResult]:
        """What an earlier version kept under the form that it gave queries."""
        keys = {key: self._key(query, k, "NFKC") for key, query in asked.items()}
        found, _ = await self._find(list(dict.fromkeys(keys.values())))
        return {key: found[other] for key, other in keys.items() if other in found}

    async def _ask(self, engine: Engine, asked: Mapping[str, str], k: int) -> dict[str, SearchResult]:
        results = await engine.search(list(asked.values()), k)
        self.counts["asked"] += len(results)
        answered = dict(zip(asked, results, strict=True))
        rows = [
            (key, normalised(asked[key]), k, result)
            for key, result in answered.items()
            if result.error is None and result.partial is None and result.documents
        ]
        if rows:
            await self._answers.run(self._answers.keep, rows, self._clock())
        return answered

    async def _not_kept(self, query: str, k: int, why: str) -> SearchResult:
        kept = ""
        if why == "missing":
            counts = await self._answers.run(self._answers.other_counts, normalised(query))
            keys = [self._key(query, other) for other in counts]
            answers = await self._answers.run(self._answers.find, keys, None)
            own = [
                n for n, found in zip(counts, answers, strict=True) if isinstance(found, SearchResult)
            ]
            if own:
                others = ", ".join(f"k = {other}" for other in own)
                kept = f" for k = {k} (it is kept for {others})"
            elif counts:
                kept = " for this engine or index (it is kept for another)"
        name = self._path.name
        return SearchResult(
            error=f"{self.name} is replayed, and the answer in {name} is {why}{kept}: record it"
        )
