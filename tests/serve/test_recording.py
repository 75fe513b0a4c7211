"""Records of answers: byte for byte the same in a replay, whole after a kill, without tokens."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from innersearch.errors import SearchError
from innersearch.search.wrappers.failing import Failing
from innersearch.serve.serving import Serving
from innersearch.serve.tape import Tape
from innersearch.testing import ScriptedEngine
from tests.serve.gateways import gateway

TOKEN = "canary-77ab01"
Sent = tuple[str, str, dict[str, Any]]


def requests() -> list[Sent]:
    session = {"question": "Who?", "golden_answers": ["Belira"], "step": 3}
    asked: list[Sent] = [("POST", "/sessions", {"json": session})] * 2
    for query in ("a", "b", "a", "broken"):
        asked += [
            ("POST", "/tavily/search", {"json": {"query": query, "api_key": TOKEN}}),
            ("GET", "/search", {"params": {"q": query, "format": "json", "api_key": TOKEN}}),
            ("POST", "/retrieve", {"json": {"queries": [query, query], "topk": 2}}),
            ("POST", "/exa/search", {"json": {"wrong": query}}),
        ]
    return asked


def ask(client: httpx2.Client, sent: Sent) -> tuple[int, list[tuple[str, str]], bytes]:
    method, path, values = sent
    answer = client.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"}, **values)
    kept = [(name, value) for name, value in answer.headers.items() if name != "date"]
    return answer.status_code, kept, answer.content


def counting() -> ScriptedEngine:
    """An engine that answers each time another thing."""
    times = Counter[str]()

    def answer(query: str) -> list[str]:
        times[query] += 1
        if query == "broken":
            raise OSError
        return [f"{query}, time {times[query]}", "ünïcode"]

    return ScriptedEngine(answer)


def test_a_replay_is_the_same_byte_for_byte_without_an_engine(tmp_path: Path) -> None:
    file = tmp_path / "tape.sqlite"
    with gateway(Serving(counting(), tape=Tape(file, "record"), token=TOKEN)) as client:
        session = json.loads(ask(client, requests()[0])[2])["id"]
        asked = requests() + [
            (method, f"/s/{session}{path}", values) for method, path, values in requests()[2:]
        ]
        recorded = [ask(client, sent) for sent in asked]
    assert len({answer for _, _, answer in recorded}) > 10
    with gateway(Serving(tape=Tape(file, "replay"), token=TOKEN)) as client:
        assert json.loads(ask(client, requests()[0])[2])["id"] == session
        assert [ask(client, sent) for sent in asked] == recorded
        unknown = ask(client, ("POST", "/tavily/search", {"json": {"query": "c"}}))
        again = ask(client, asked[2])
    assert unknown[0] == 404
    assert "record it" in json.loads(unknown[2])["detail"]["error"]
    assert again == recorded[10]
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_recording_goes_on_in_the_same_file(tmp_path: Path) -> None:
    file, sent = tmp_path / "tape.sqlite", requests()[2]
    answers = []
    for _ in range(2):
        with gateway(Serving(Failing(counting(), 0.0), tape=Tape(file, "record"))) as client:
            answers += [ask(client, sent), ask(client, sent)]
    with gateway(Serving(tape=Tape(file, "replay"))) as client:
        assert [ask(client, sent) for _ in range(4)] == answers


def test_files_that_are_no_record_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no record at"):
        Tape(tmp_path / "none.sqlite", "replay")
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1);")
    for mode in ("record", "replay"):
        with pytest.raises(SearchError, match="no record of a server"):
            Tape(other, mode)  # type: ignore[arg-type]
    (tmp_path / "text").write_text("no database at all, but long enough to be read as one\n" * 99)
    with pytest.raises(SearchError, match="damaged"):
        Tape(tmp_path / "text", "replay")


def test_a_damaged_answer_is_not_given(tmp_path: Path) -> None:
    file, sent = tmp_path / "tape.sqlite", requests()[2]
    with gateway(Serving(counting(), tape=Tape(file, "record"))) as client:
        ask(client, sent)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE answers SET body = replace(CAST(body AS TEXT), 'time', 'tame')")
    with gateway(Serving(tape=Tape(file, "replay"))) as client:
        status, _, body = ask(client, sent)
    assert status == 500
    assert "damaged" in json.loads(body)["detail"]["error"]


SERVER = """
import sys
from pathlib import Path
from innersearch.serve.app import build_app
from innersearch.serve.server import bound, serve
from innersearch.serve.serving import Serving
from innersearch.serve.tape import Tape
from innersearch.testing import ScriptedEngine
serving = Serving(ScriptedEngine(lambda query: [query]), tape=Tape(Path(sys.argv[1]), "record"))
with bound("127.0.0.1", int(sys.argv[2])) as listening:
    serve(build_app(serving), listening)
"""


def test_a_server_that_is_killed_loses_nothing_that_it_answered(tmp_path: Path) -> None:
    file = tmp_path / "tape.sqlite"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(file), str(port)])
    answered: dict[str, bytes] = {}

    def client(number: int) -> None:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            for turn in range(10_000):
                query = f"{number} {turn}"
                try:
                    answered[query] = http.post("/tavily/search", json={"query": query}).content
                except httpx2.TransportError:
                    return

    try:
        _until_up(port, process)
        threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while len(answered) < 100:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
    finally:
        process.kill()
        process.wait()
    with gateway(Serving(tape=Tape(file, "replay"))) as http:
        for query, body in answered.items():
            assert http.post("/tavily/search", json={"query": query}).content == body
    assert len(answered) >= 100


def _until_up(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(3_000):
        try:
            httpx2.get(f"http://127.0.0.1:{port}/healthz")
        except httpx2.TransportError:
            assert process.poll() is None
            time.sleep(0.01)
        else:
            return
    raise AssertionError("the server did not start")
