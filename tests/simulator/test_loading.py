"""Simulators by name: opened, refused, and at work in this process."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innersearch.assemble.engines import open_engine
from innersearch.config import NoiseSettings, SearchSettings, SimulatorSettings
from innersearch.errors import ConfigError, ModelError, SearchError
from innersearch.records import write_json
from innersearch.search.base import SearchRequest
from innersearch.simulator.engine import SimulatedEngine
from innersearch.simulator.loading import TRAINED, as_trained, open_simulator
from innersearch.types import Source
from innersearch.world_1.bundled import BUNDLED
from tests.rollout.rolling import injected, plan, roll, tasks
from tests.search_servers import LocalServer
from tests.simulator.writing import (
    Writing,
    ask_at,
    asked,
    chat,
    echo,
    engine,
    slowly,
    texts,
)


def local(**settings: Any) -> SimulatedEngine:
    chosen = {"mode": "prompted", "prompt": "simulator-world", "max_new_tokens": 32} | settings
    return open_simulator(str(BUNDLED), SimulatorSettings(**chosen))


def test_a_local_model_writes_the_same_in_any_batch() -> None:
    searches = [
        SearchRequest(f"birthplace of {task.question.metadata['chain'][0]}", task.question)
        for task in tasks(60)
    ]

    def write(order: list[SearchRequest], **settings: Any) -> dict[str, list[str]]:
        results = ask_at(local(**settings), *order, k=1)
        for result in results:
            assert (result.error, result.label) == (None, "useful")
            assert set(result.faults) <= {"cut"}
            assert "<" not in texts(result)[0]
        return {one.query: texts(result) for one, result in zip(order, results, strict=True)}

    once = write(searches)
    assert len(once) > 25
    assert once == write(searches[::-1], max_batch=3)
    again = write(searches, seed=1)
    assert sum(once[query] != again[query] for query in once) > 5, "another seed, other documents"


def test_a_local_model_cannot_be_asked_at_any_length() -> None:
    long = SearchRequest("who " * 1000, tasks()[0].question)
    fine = SearchRequest("who founded it", tasks()[0].question)
    results = ask_at(local(), fine, long, replace(fine, query="who leads it"), k=1)
    assert "the simulator cannot be asked" in results[1].error
    assert [result.error for result in results[::2]] == [None, None]


def test_trajectories_read_what_was_written_for_their_own_question() -> None:
    writer = Writing(slowly(echo))
    simulator = engine(writer, noise=0.5)
    labels: Counter[str] = Counter()
    for trajectory in roll(plan("always", simulator, k=3), wanted=tasks(40, 2)):
        gold = trajectory.question.golden_answers[0]
        assert len(injected(trajectory)) <= len(trajectory.calls)
        for call in trajectory.calls:
            labels[call.label] += 1
            assert [document.text for document in call.documents] == [
                f"{call.label.capitalize()} {' '.join(call.input.split())}",
                f"{trajectory.question.question} {gold}",
            ]
            assert (call.source, call.engine) == (Source.SIMULATOR, "simulated")
            assert call.faults == ("few",)
            assert call.latency_s > 0
    assert min(labels["useful"], labels["noisy"]) > 20
    assert writer.closed


@pytest.mark.parametrize(
    ("engine", "changes", "error", "message"),
    [
        ("simulated:", {}, ConfigError, "write simulated:DIR, or simulated:URL#NAME"),
        ("simulated", {}, ConfigError, "write simulated:DIR, or simulated:URL#NAME"),
        ("simulated:/no/such", {}, ModelError, "no simulator at /no/such; .*simulator collect"),
        ("simulated:/no/such", {"mode": "prompted"}, ModelError, "/no/such"),
        (f"simulated:{BUNDLED}", {}, ConfigError, "not trained as a simulator.*mode prompted"),
        ("simulated:http://127.0.0.1:1", {}, ConfigError, "URL#NAME"),
        ("simulated:http://127.0.0.1:1#", {}, ConfigError, "URL#NAME"),
        ("simulated:http://u:p@127.0.0.1#m", {}, SearchError, "no user or password"),
        ("world,simulated:/no/such", {}, ConfigError, "neither fused nor cached"),
        ("simulated:/no/such,simulated:/no/other", {}, ConfigError, "neither fused nor cached"),
        ("simulatd:/no/such", {}, ConfigError, "did you mean 'simulated'"),
        ("simulated:http://127.0.0.1:1#m", {"prompt": "no-such"}, ConfigError, "no-such"),
    ],
)
def test_simulators_that_cannot_be_opened(
    engine: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    settings = SearchSettings(engine=engine, simulator=SimulatorSettings(**changes))
    with pytest.raises(error, match=message):
        open_engine(settings)


def test_a_simulator_cannot_be_cached(tmp_path: Path) -> None:
    settings = SearchSettings(engine="simulated:http://127.0.0.1:1#m", cache=str(tmp_path / "c.sqlite"))
    with pytest.raises(ConfigError, match="neither fused nor cached"):
        open_engine(settings)
    assert list(tmp_path.iterdir()) == []


def test_a_simulator_is_opened_with_its_noise() -> None:
    noise = NoiseSettings(curve="constant", end=1.0)
    with LocalServer(chat) as server:
        settings = SearchSettings(engine=f"simulated:{server.url}#m", noise=noise)
        opened = open_engine(settings)
        assert isinstance(opened, SimulatedEngine)
        [result] = ask_at(opened, asked())
    assert (result.label, texts(result)[0]) == ("noisy", "Noisy q")


def test_a_tuned_simulator_keeps_what_it_was_trained_with(tmp_path: Path) -> None:
    trained = {"prompt": "simulator-world", "words": 12, "gold": "none"}
    write_json(tmp_path / TRAINED, {"settings": trained})
    settings = as_trained(str(tmp_path), SimulatorSettings(temperature=0.1, gold="all"))
    assert settings == SimulatorSettings(**trained, temperature=0.1)
    prompted = SimulatorSettings(mode="prompted", gold="all")
    assert as_trained(str(tmp_path), prompted) == prompted
