"""Real search that is recorded, killed or without its server for a while comes out the same."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from innersearch.errors import SearchError
from innersearch.evaluate.run import EvalSettings, evaluate
from innersearch.net.patience import CallSettings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.search.base import Engine, SearchResult
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.wrappers.cached import CachedEngine
from innersearch.search.wrappers.reliable import Reliable
from innersearch.stored import read_lines
from innersearch.testing import ScriptedEngine
from tests.rollout.rolling import (
    TEST,
    Late,
    index,
    model,
    plan,
    roll,
    tasks,
    token_ids,
    tokenizer,
)
from tests.search_servers import Answer, Asked, LocalServer

QUESTIONS = TEST[::70]
SETTINGS = EvalSettings(
    prompt="world", samples=3, sample_questions=2, max_new_tokens=80, max_batch=16, seed=3
)
FILES = ("greedy.jsonl", "samples.jsonl", "trajectories.jsonl")


def run(
    path: Path, engine: Engine, router: str = "always", *, resume: bool = False, **changes: Any
) -> dict[str, Any]:
    """Evaluate, and return the summary and what was written."""
    search = plan(router, engine, **changes)
    summary = evaluate(
        TransformersPolicy.of(model(), tokenizer(), 16),
        tokenizer(),
        QUESTIONS,
        path,
        SETTINGS,
        search=search,
        resume=resume,
    )
    return {"summary": summary} | {name: list(read_lines(path / name)) for name in FILES}


def files(path: Path) -> list[bytes]:
    return [(path / name).read_bytes() for name in FILES]


@pytest.mark.parametrize("router", ["always", "gate:entropy:0.1"])
def test_a_replayed_evaluation_is_byte_for_byte_the_recorded_one(router: str, tmp_path: Path) -> None:
    """Its searches end in another order, so that its batches are composed differently."""
    kept = tmp_path / "searches.sqlite"
    recorded = run(tmp_path / "recorded", CachedEngine(Late(seed=1, latency_s=None), kept), router)
    engine = Late(CachedEngine(None, kept, "replay"), seed=2, latency_s=None)
    assert run(tmp_path / "replayed", engine, router) == recorded
    assert files(tmp_path / "replayed") == files(tmp_path / "recorded")
    calls = [c for t in recorded["trajectories.jsonl"] for c in t["calls"] if c["engine"]]
    assert len(calls) > 10
    assert len({call["latency_s"] for call in calls}) > 5


def evaluate_slowly(folder: str) -> None:
    """What the killed process does."""
    engine = CachedEngine(Late(longest_s=0.2, latency_s=None), Path(folder, "searches.sqlite"))
    run(Path(folder, "cut"), engine)


def test_an_evaluation_that_is_killed_goes_on_to_the_same_records(tmp_path: Path) -> None:
    script = f"from tests.search.test_replay import evaluate_slowly; evaluate_slowly({str(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    while len(list(read_lines(tmp_path / "cut" / "samples.jsonl"))) < 2:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tmp_path / "cut" / "summary.json").exists()
    kept = tmp_path / "searches.sqlite"
    resumed = run(tmp_path / "cut", CachedEngine(Late(latency_s=None), kept), resume=True)
    whole = run(tmp_path / "whole", CachedEngine(None, kept, "replay"))
    assert resumed == whole


def retrieve(asked: Asked) -> Answer:
    """A `/retrieve` server over the world's documents."""
    results = asyncio.run(index().search(asked.values["queries"], asked.values["topk"]))
    rows = [
        [{"document": {"id": d.id, "contents": f'"{d.title}"\n{d.text}'}} for d in result.documents]
        for result in results
    ]
    return Answer({"result": rows}, delay_s=0.02)


@contextmanager
def outage(server: LocalServer, after: int, seconds: float) -> Iterator[list[float]]:
    """Stop the server once it was asked a few times, and start it again; CPU seconds per second that
    this process took in between, once it had nothing left to do."""
    taken: list[float] = []

    def interrupt() -> None:
        while len(server.asked) < after:
            time.sleep(0.002)
        server.stop()
        while cpu_share(0.1) > 0.2:
            pass
        taken.append(cpu_share(seconds))
        server.start()

    thread = threading.Thread(target=interrupt)
    thread.start()
    yield taken
    thread.join()


def cpu_share(seconds: float) -> float:
    before = time.process_time()
    time.sleep(seconds)
    return (time.process_time() - before) / seconds


def survive(seconds: float, every: int = 30, in_flight: int = 12, **patience: float) -> None:
    """Roll out while the server is away for some seconds, and lose nothing."""
    wanted = tasks(every)
    expected = roll(plan("always"), wanted=wanted)
    settings = CallSettings(backoff_s=0.01, in_flight=8, **patience)
    with LocalServer(retrieve) as server:
        engine = Reliable(RemoteEngine(server.url), settings)
        with outage(server, after=15, seconds=seconds) as taken:
            trajectories = roll(plan("always", engine), wanted=wanted, in_flight=in_flight)
    assert token_ids(trajectories) == token_ids(expected)
    assert all(t.error is None and not t.stop_reason.failed for t in trajectories)
    assert all(call.error is None for t in trajectories for call in t.calls)
    assert max(call.latency_s for t in trajectories for call in t.calls) > seconds
    counts = engine.counts
    assert counts.outages >= 1
    assert counts.failures["network"] >= settings.open_after
    assert counts.lost == 0
    assert taken[0] < 0.05


def test_a_server_that_is_away_for_a_while_costs_nothing_but_time() -> None:
    survive(1.5, probe_s=0.4, probe_max_s=0.8)


def test_an_evaluation_with_too_many_failures_goes_on_once_the_engine_is_back(tmp_path: Path) -> None:
    """What failed before it stopped stays: a failed search is data."""
    failing = ScriptedEngine(lambda query: SearchResult(error="quota used up"))
    failing.name, failing.source, failing.identity = index().name, index().source, index().identity
    with pytest.raises(SearchError, match=r"quota used up.*--resume"):
        run(tmp_path / "cut", failing, max_error_rate=0.5)
    failed = {record["id"] for record in read_lines(tmp_path / "cut" / "greedy.jsonl")}
    assert len(failed) < len(QUESTIONS)
    resumed = run(tmp_path / "cut", Late(), max_error_rate=0.5, resume=True)
    whole = run(tmp_path / "whole", Late(), max_error_rate=0.5)
    for name in FILES[:2]:
        assert [r["id"] for r in resumed[name]] == [r["id"] for r in whole[name]]
    for record, other in zip(resumed["greedy.jsonl"], whole["greedy.jsonl"], strict=True):
        assert record["failed"] == record["calls"] if record["id"] in failed else record == other
    assert resumed["samples.jsonl"] == whole["samples.jsonl"]
