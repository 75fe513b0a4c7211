"""Records of what a server answered, and their replay: the same bytes, without an engine.

    innersearch serve simulated:runs/simulator --record runs/tape.sqlite
    innersearch serve --replay runs/tape.sqlite

An answer is on disk before its last byte is sent, so that a server that is killed loses none that was
answered. It is kept by session, method, path and what was asked; who asks the same several times is
given the answers of then in their order, and the last one from there on. Tokens stand in no record.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

from innersearch.errors import SearchError
from innersearch.serve.sessions import ENGINE, HEADER, SCOPE
from innersearch.serve.tokens import PARAMETER

FORMAT = 1
_KIND = 0x69736774
"""The `application_id` of the files."""
_BUSY_S = 60.0
_TABLES = """
CREATE TABLE answers (
    key TEXT NOT NULL, number INTEGER NOT NULL, session TEXT NOT NULL, method TEXT NOT NULL,
    path TEXT NOT NULL, request TEXT NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL,
    body BLOB NOT NULL, created REAL NOT NULL, digest TEXT NOT NULL, UNIQUE (key, number)
);
"""
_INSERT = """
INSERT INTO answers SELECT ?1, (SELECT count(*) FROM answers WHERE key = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8,
    ?9, ?10
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as its answer depends on it; without tokens."""

    session: str
    method: str
    path: str
    request: str
    """What was asked, as JSON: parameters of the address, and the body."""

    @classmethod
    def of(cls, scope: Mapping[str, Any], body: bytes) -> Asked:
        """The request of a scope and its body."""
        headers = dict(scope["headers"])
        session = scope.get(SCOPE) or headers.get(HEADER.lower().encode(), b"").decode("latin-1")
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        parameters = sorted([name, value] for name, value in pairs if name != PARAMETER)
        request = json.dumps([parameters, _readable(body)], sort_keys=True, ensure_ascii=False)
        text = request.encode("utf-8", "replace").decode()
        path = f"/with/{engine}{scope['path']}" if (engine := scope.get(ENGINE)) else scope["path"]
        return cls(session, scope["method"], path, text)

    @property
    def key(self) -> str:
        """What an answer is kept by."""
        named = json.dumps([self.session, self.method, self.path, self.request])
        return hashlib.sha256(named.encode()).hexdigest()


def _readable(body: bytes) -> Any:
    """A body as JSON: two that differ in blanks or in the order of fields ask for the same."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    if isinstance(value, dict):
        value.pop(PARAMETER, None)
    return value


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def digest(self) -> str:
        """Of all of it, by which damage is found."""
        head = json.dumps([self.status, self.headers]).encode()
        return hashlib.sha256(head + self.body).hexdigest()


class Tape:
    """A file of answers. What is kept at the same time is written at once.

    Args:
        path: The SQLite file.
        mode: record adds to it, and makes it if it is missing; replay only reads.

    Raises:
        SearchError: It is missing, damaged, or something else.
    """

    def __init__(self, path: Path, mode: Literal["record", "replay"]) -> None:
        self.path, self.mode = path, mode
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tape")
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._given: Counter[str] = Counter()
        try:
            self._database = self._thread.submit(self._open).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def keep(self, asked: Asked, answer: Answer) -> None:
        """Keep an answer; it is on disk afterwards, whatever becomes of this process.

        Raises:
            SearchError: The file cannot be written.
        """
        row = (
            asked.key,
            asked.session,
            asked.method,
            asked.path,
            asked.request,
            answer.status,
            json.dumps(answer.headers),
            answer.body,
            time.time(),
            answer.digest,
        )
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((row, kept))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await kept

    async def find(self, asked: Asked) -> Answer | None:
        """The next answer to a request; None if there never was one.

        Raises:
            SearchError: The file is damaged.
        """
        number = self._given[asked.key]
        self._given[asked.key] += 1
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._find, asked.key, number)

    def close(self) -> None:
        """Close the file."""
        self._thread.submit(self._database.close).result()
        self._thread.shutdown()

    async def _write_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            rows, loop = [row for row, _ in waiting], asyncio.get_running_loop()
            error: Exception | None = None
            try:
                await loop.run_in_executor(self._thread, self._write, rows)
            except Exception as reason:
                error = reason
            for _, kept in waiting:
                if kept.done():
                    continue
                if error is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(error)

    def _write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._clear_errors(), self._database:
            for row in rows:
                self._database.execute(_INSERT, row)

    def _find(self, key: str, number: int) -> Answer | None:
        with self._clear_errors():
            row = self._database.execute(
                "SELECT status, headers, body, digest FROM answers WHERE key = ? AND number <= ? "
                "ORDER BY number DESC LIMIT 1",
                (key, number),
            ).fetchone()
        if row is None:
            return None
        status, headers, body, digest = row
        try:
            answer = Answer(status, tuple((name, value) for name, value in json.loads(headers)), body)
            whole = answer.digest == digest
        except (ValueError, TypeError):
            whole = False
        if not whole:
            raise SearchError(f"an answer in {self.path} is damaged: record it again")
        return answer

    def _open(self) -> sqlite3.Connection:
        write = self.mode == "record"
        if not write and not self.path.is_file():
            raise SearchError(f"no record at {self.path}: make one with innersearch serve --record")
        with self._clear_errors():
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            how = "rwc" if write else "ro"
            database = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode={how}", timeout=_BUSY_S, uri=True
            )
            try:
                self._prepare(database, write=write)
            except BaseException:
                database.close()
                raise
        return database

    def _prepare(self, database: sqlite3.Connection, *, write: bool) -> None:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (kind,) = database.execute("PRAGMA application_id").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (version, kind) != (FORMAT, _KIND) and (tables or not write):
            raise SearchError(f"{self.path} is no record of a server: give another path")
        if write:
            database.execute("PRAGMA journal_mode = WAL")
            # Survives the end of this process; FULL would also survive that of the machine.
            database.execute("PRAGMA synchronous = NORMAL")
        if write and not tables:
            numbers = f"PRAGMA application_id = {_KIND}; PRAGMA user_version = {FORMAT};"
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} {numbers} COMMIT;")

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise SearchError(
                f"cannot use the record {self.path}: {error}; check space, rights and other programs "
                "that use it"
            ) from error
        except sqlite3.DatabaseError as error:
            raise SearchError(
                f"the record {self.path} is damaged: {error}; it was left as it is: restore a copy, or "
                "give another path"
            ) from error
