"""Trajectories in the formats of others, read back; `make test-exports` has the programs themselves."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.config import Recipe
from innersearch.policy.loading import load_tokenizer
from innersearch.public import read_trajectories
from innersearch.types import Kind
from innersearch.view.card import model_card
from innersearch.view.exports.parts import messages, parts
from tests.cli.test_cli import fails
from tests.view.exporting import make_run

PARTS = {
    *("careful-encyclopedia", "careful-first-lines", "careful-half-noise", "hasty-encyclopedia"),
    *("hasty-first-lines", "hasty-half-noise", "silent", "training"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("exports") / "My run")


def exported(run: Path, to: str, output: Path, *more: str) -> Path:
    assert main(["export", str(run), "--to", to, "--output", str(output), *more]) == 0
    return output


def test_messages_hold_all_that_was_written(run: Path) -> None:
    found = parts(run)
    assert {part.name for part in found} == PARTS
    for part in found:
        for trajectory in part.trajectories():
            said = messages(trajectory)
            spans = [s for g in trajectory.segments for s in g.spans if s.kind is not Kind.PROMPT]
            written = "".join(span.text for span in spans)
            assert "".join(m["content"] for m in said[1:]).split() == written.split()
            results = [m["tool_call_id"] for m in said if m["role"] == "tool"]
            made = [c["id"] for m in said if m["role"] == "assistant" for c in m["tool_calls"]]
            assert results == made == [f"call-{call.id}" for call in trajectory.calls]
            assert said[0]["content"] == trajectory.question.question


def test_a_data_set_of_hugging_face(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = exported(run, "hf", tmp_path / "hf")
    assert set(datasets.get_dataset_config_names(str(folder))) == PARTS
    name, cache = "careful-encyclopedia", str(tmp_path / "cache")
    rows = datasets.load_dataset(str(folder), name, split="train", cache_dir=cache)
    there = list(read_trajectories(run / "eval" / name))
    assert len(rows) == len(there) == 6
    for row, trajectory in zip(rows, there, strict=True):
        assert row["segments"][0]["token_ids"] == trajectory.segments[0].token_ids
        assert row["segments"][0]["loss_mask"] == trajectory.segments[0].loss_mask
        assert row["golden_answers"] == list(trajectory.question.golden_answers)
        assert json.loads(row["components"]) == trajectory.components
        assert [call["input"] for call in row["calls"]] == [c.input for c in trajectory.calls]
    assert "| training | 3 |" in (folder / "README.md").read_text()


def test_logs_of_inspect(run: Path, tmp_path: Path) -> None:
    files = sorted(exported(run, "inspect", tmp_path / "logs").iterdir())
    logs = {log["eval"]["task"]: log for log in map(json.loads, (f.read_text() for f in files))}
    assert set(logs) == PARTS
    log = logs["careful-encyclopedia"]
    assert [score["name"] for score in log["results"]["scores"]] == ["em", "f1", "format"]
    assert log["results"]["scores"][0]["metrics"]["mean"]["value"] == 1.0
    sample = log["samples"][0]
    assert sample["scores"]["em"] == {"value": 1.0, "answer": sample["target"][0]}
    assert sample["output"]["choices"][0]["message"]["content"].endswith("</answer>")


def test_an_environment_of_verifiers(run: Path, tmp_path: Path, capsys) -> None:
    folder = exported(run, "verifiers", tmp_path / "environment")
    package = folder / "innersearch_my_run"
    compile((package / "__init__.py").read_text(), "taskset", "exec")
    rows = [json.loads(line) for line in (package / "questions.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["id"] for row in rows}) == 6
    assert json.loads((package / "settings.json").read_text()) == {"engine": "world", "k": 2}
    part, given = run / "eval" / "hasty-first-lines", ("--engine", "world-leads", "-k", "5")
    alone = exported(part, "verifiers", tmp_path / "alone", *given)
    settings = json.loads((alone / "innersearch_hasty_first_lines" / "settings.json").read_text())
    assert settings == {"engine": "world-leads", "k": 5}
    said = fails(capsys, *("export", str(part), "--to", "verifiers", "--output", str(tmp_path / "none")))
    assert "add --engine" in said
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_exported(run: Path, tmp_path: Path, capsys) -> None:
    assert "did you mean 'hf'" in fails(capsys, "export", str(run), "--to", "hff")
    assert "holds no trajectories.jsonl" in fails(capsys, "export", str(tmp_path), "--to", "hf")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    arguments = ("export", str(run), "--to", "hf", "--output", str(tmp_path / "full"))
    assert "is not empty" in fails(capsys, *arguments)


def test_a_model_is_pushed_with_its_card(run: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "agent"
    assert main(["push", str(run), "--to", str(folder)]) == 0
    assert len(load_tokenizer(str(folder))) == len(load_tokenizer(str(run / "model")))
    recipe = Recipe.model_validate_json((folder / "recipe.json").read_text())
    assert recipe.name == "tried"
    card = (folder / "README.md").read_text()
    assert card == model_card(run, "agent")
    for said in (
        "| recipe | `tried` |",
        "| trained from | `world` |",
        "world:train",
        "0.9*em + 0.1*format:strict",
        "100.0 [54.1, 100.0]",
    ):
        assert said in card, said
    assert "is not empty" in fails(capsys, "push", str(run), "--to", str(folder))
    assert "holds no model/" in fails(capsys, "push", str(tmp_path), "--to", "x")


WANDB = """
import sys
from pathlib import Path
from innersearch.config import Recipe
from innersearch.runs import Run
from innersearch.train.start import Silent
from innersearch.train.tracking import TRACKERS, Tracked
tracked = Tracked(Silent(), TRACKERS.get(sys.argv[1]), Path("tracking"))
for stage in ("training", "training"):
    tracked.begins(Recipe(name="tried"), stage, 3)
    for step in (1, 2, 3):
        tracked.step(stage, step, 3, {"reward/mean": step / 10, "search/calls": 2.0})
    tracked.ends(Run(Path(".")), stage)
"""


def tracked(name: str, folder: Path) -> Path:
    around = os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", WANDB, name], cwd=folder, env=around, check=True)
    return folder / "tracking"


def test_tensorboard_mirrors_metrics(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tracked("tensorboard", tmp_path)
    for stage in ("run", "2-training"):
        events = reading.EventAccumulator(str(folder / stage)).Reload()
        found = [(event.step, round(event.value, 6)) for event in events.Scalars("reward/mean")]
        assert found == [(1, 0.1), (2, 0.2), (3, 0.3)]


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of an offline run: a log of LevelDB behind 7 bytes, in blocks of 32 KiB."""
    data, at, begun = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        begun += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield begun
            begun = b""


def test_wandb_mirrors_metrics_offline(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    files = sorted(tracked("wandb", tmp_path).rglob("*.wandb"))
    assert len(files) == 2
    for file in files:
        found = []
        for data in wandb_records(file):
            items = wandb.Record.FromString(data).history.item
            values = {"/".join(i.nested_key) or i.key: i.value_json for i in items}
            found += [float(values["reward/mean"])] if "reward/mean" in values else []
        assert found == [0.1, 0.2, 0.3]


def test_a_tracker_that_is_not_installed_is_named_before_anything_begins(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("innersearch.train.tracking.find_spec", lambda module: None)
    said = fails(capsys, "train", "recipes/ssrl-world.toml", "--track", "wandb", "--output", "run")
    assert "needs wandb" in said
    assert "[track]" in said
    assert not Path("run").exists()
    assert "did you mean 'wandb'" in fails(capsys, "train", "recipes/ssrl-world.toml", "--track", "wand")
