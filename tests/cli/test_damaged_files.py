"""Commands on damaged and odd files, in the ways of `tests.damaged`: one line, and no traceback."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.damaged import EVAL, ODD, RAW, damages, dumped, evaluated, tried

RESUME = ["eval", "model", *EVAL, "-n", "2", "--output", "half", "--resume"]
FILES = [
    (["compare", "ev", "other", "--resamples", "100"], "ev/greedy.jsonl"),
    (["compare", "ev", "other", "--resamples", "100"], "ev/samples.jsonl"),
    (["compare", "ev", "other", "--resamples", "100"], "ev/summary.json"),
    (["compare", "ev", "other", "--resamples", "100"], "ev/identity.json"),
    (["compare", "ev", "other", "--cluster", "answer"], "ev/trajectories.jsonl"),
    (RESUME, "half/greedy.jsonl"),
    (RESUME, "half/samples.jsonl"),
    (RESUME, "half/samples-begun.jsonl"),
    (RESUME, "half/trajectories.jsonl"),
    (RESUME, "half/settings.json"),
    (["search", "bm25:ix", "text"], "ix/settings.json"),
    (["simulator", "label", "p.jsonl", "--output", "l.jsonl", "--resume"], "l.jsonl"),
    (["cost", "--run", "run"], "run/trajectories.jsonl"),
    (["cost", "--run", "run"], "run/metrics.jsonl"),
    (["cost", "--run", "run"], "run/budget.json"),
    (["report", "run"], "run/metrics.jsonl"),
    (["data", "ls", "data"], "data/bamboogle.manifest.json"),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that commands wrote."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluated()
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(good, tmp_path / "files")
    monkeypatch.chdir(tmp_path / "files")
    return tmp_path / "files"


@pytest.mark.parametrize(("command", "name"), FILES, ids=lambda part: str(part)[-40:])
def test_commands_read_or_refuse_damaged_files(folder: Path, command: list[str], name: str) -> None:
    rng, data, statuses = random.Random(name), Path(name).read_bytes(), set()
    for what, damaged in list(damages(name, data, rng, few=2)):
        kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        Path(name).write_bytes(damaged)
        outcome = tried(command)
        assert not outcome.wrong, (what, outcome)
        statuses.add(outcome.status)
        for path, content in kept.items():
            path.write_bytes(content)
    if not name.endswith("manifest.json"):
        assert 1 in statuses


def test_every_key_that_a_resumed_evaluation_needs_is_named(folder: Path) -> None:
    lines = Path("half/greedy.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    for key in ("id", "em", "unfinished", "tokens", "golden_answers"):
        damaged = {name: value for name, value in first.items() if name != key}
        Path("half/greedy.jsonl").write_text("\n".join([json.dumps(damaged), *lines[1:]]) + "\n")
        [line] = tried(RESUME).lines
        assert f"half is damaged: line 1 of greedy.jsonl has no {key}" in line
    other = json.dumps(first | {"id": "of no question"})
    Path("half/greedy.jsonl").write_text("\n".join([other, *lines[1:]]) + "\n")
    [line] = tried(RESUME).lines
    assert "greedy.jsonl has a record of 'of no question', which is none of the questions" in line
    assert not Path("half/summary.json").exists()
    Path("half/greedy.jsonl").write_text("\n".join(lines) + "\n")
    assert tried(RESUME).status == 0


@pytest.mark.parametrize("what", ["5,000 digits", "a deep list", "half a character", "a name twice"])
def test_what_no_record_of_ours_holds_is_refused(folder: Path, what: str) -> None:
    first, *rest = Path("ev/greedy.jsonl").read_text().splitlines()
    line = dumped(json.loads(first) | {"note": ODD[what]})
    Path("ev/greedy.jsonl").write_text("\n".join([line, *rest]) + "\n")
    [said] = tried(["compare", "ev", "other"]).lines
    assert said.startswith("innersearch: ev/greedy.jsonl, line 1 ")
    assert len(said) < 300


def test_damage_is_seen_as_such() -> None:
    """What the other tests look for would be found."""
    assert len(RAW) >= 15
    assert tried(["data", "check"]).status == 2
    assert not tried(["data", "check"]).wrong


@pytest.mark.parametrize("path", ["~nobody-of-that-name/q.jsonl", "q\udcff.jsonl", ",", "x" * 5000])
def test_odd_paths_of_questions(in_empty_folder, path: str) -> None:
    for command in (["data", "check", path], ["eval", "world-1", "--data", path]):
        outcome = tried(command)
        assert (outcome.status, outcome.wrong) == (1, "")
