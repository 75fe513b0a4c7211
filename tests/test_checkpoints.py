"""Checkpoints are believed only as far as they look as they did when they were declared complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from innersearch import checkpoints as module
from innersearch.checkpoints import MARK, Checkpoints, digest
from innersearch.cli import main
from innersearch.errors import DataError, RunError
from innersearch.runs import Run
from innersearch.stored import read_lines
from innersearch.train.optimizer import MuonWithAdamW
from innersearch.train.trl.saving import STATE, load_tree, save_tree

TRAIN = [
    *("train", "recipes/ssrl-world.toml", "--trainer.steps", "4", "--trainer.save-every", "1"),
    *("--trainer.prompts-per-step", "2", "--trainer.group-size", "4", "--trainer.micro-batch", "8"),
    *("--sampling.max-new-tokens", "12", "--guard.no-enabled"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*TRAIN, "--output", str(output)]) == 0
    return output


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def garble(path: Path) -> None:
    path.write_bytes(b"\x00" * path.stat().st_size)


HARM: list[tuple[str, Callable[[Path], None], str]] = [
    ("model.safetensors", cut, "model.safetensors has"),
    ("model.safetensors", flip, "model.safetensors is not what was written"),
    (STATE, cut, f"{STATE} has"),
    (STATE, Path.unlink, f"{STATE} is missing"),
    ("trainer_state.json", garble, "trainer_state.json is not what was written"),
    ("trainer_state.json", cut, "trainer_state.json has"),
    ("config.json", Path.unlink, "config.json is missing"),
    (MARK, cut, f"{MARK} is no mark"),
    (MARK, garble, f"{MARK} is no mark"),
]


@pytest.mark.parametrize(("name", "harm", "said"), HARM)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    finished: Path, tmp_path: Path, caplog, name: str, harm: Callable[[Path], None], said: str
) -> None:
    run = Run(shutil.copytree(finished, tmp_path / "run"))
    newest, before = run.checkpoints / "checkpoint-4", run.checkpoints / "checkpoint-3"
    harm(newest / name)
    assert run.latest().path == before
    assert f"{newest} ({said}" in caplog.text
    assert "going back to step 3" in caplog.text


def test_training_goes_on_from_the_one_before_as_if_nothing_had_happened(
    finished: Path, tmp_path: Path, caplog
) -> None:
    output = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(output / "model")
    cut(output / "checkpoints" / "checkpoint-4" / STATE)
    assert main([*TRAIN, "--output", str(output), "--resume"]) == 0
    assert "checkpoint-4 (optimizer.safetensors has" in caplog.text
    lines = [(path / "trajectories.jsonl").read_bytes() for path in (output, finished)]
    assert lines[0] == lines[1]
    weights, others = (load_file(path / "model" / "model.safetensors") for path in (output, finished))
    assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())


def test_where_all_are_damaged_one_line_says_so_and_nothing_is_touched(
    finished: Path, tmp_path: Path, capsys
) -> None:
    output = shutil.copytree(finished, tmp_path / "run")
    folders = sorted((output / "checkpoints").iterdir())
    for folder in folders:
        cut(folder / "model.safetensors")
    capsys.readouterr()
    assert main([*TRAIN, "--output", str(output), "--resume"]) == 1
    [line] = [text for text in capsys.readouterr().err.splitlines() if text.startswith("innersearch: ")]
    assert "every checkpoint is damaged" in line
    assert all(str(folder) in line for folder in folders)
    assert sorted((output / "checkpoints").iterdir()) == folders
    assert len(list(read_lines(output / "metrics.jsonl"))) == 4


def test_records_that_lost_lines_take_their_checkpoint_with_them(finished: Path, tmp_path: Path) -> None:
    """After a power failure the records may be shorter than they were when the mark was written."""
    run = Run(shutil.copytree(finished, tmp_path / "run"))
    lines = run.trajectories.read_bytes().splitlines(keepends=True)
    run.trajectories.write_bytes(b"".join(lines[:-1]))
    assert run.latest().step == 3


def test_the_best_checkpoint_is_one_that_can_be_read(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step, score in ((1, 0.9), (2, 0.3), (3, 0.5)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").write_text("all of them")
        kept.mark_complete(step, score)
    assert kept.best().step == 1
    (tmp_path / "checkpoint-1" / "weights").write_text("all of tham")
    assert kept.best().step == 3


def test_everything_is_on_the_disk_before_the_mark_is_written(tmp_path: Path, monkeypatch) -> None:
    written: list[str] = []
    folder = tmp_path / "checkpoints" / "checkpoint-1"
    (folder / "shards").mkdir(parents=True)
    for name in ("model.safetensors", "shards/0.bin"):
        (folder / name).write_text(name)
    records = tmp_path / "metrics.jsonl"
    records.write_text("{}\n")
    monkeypatch.setattr(module, "to_disk", lambda path: written.append(str(path.relative_to(tmp_path))))
    monkeypatch.setattr(module, "write_json", lambda path, value: written.append("mark"))
    Checkpoints(folder.parent, (records,)).mark(folder, 1, 0.0)
    before = set(written[: written.index("mark")])
    inside = {"", "/model.safetensors", "/shards", "/shards/0.bin"}
    assert before >= {f"checkpoints/checkpoint-1{name}" for name in inside}
    assert before >= {"checkpoints", "metrics.jsonl"}
    assert written[-1] == "checkpoints/checkpoint-1"


def test_large_files_are_known_by_their_size_and_blocks_spread_over_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 10)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(100_000))
    before = digest(path)
    for place in (0, 99_999):
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        assert digest(path) != before
        before = digest(path)


def test_no_checkpoint_and_no_result_holds_pickle_or_paths_of_this_machine(finished: Path) -> None:
    allowed = {".safetensors", ".json", ".jsonl", ".jinja", ".txt", ".html", ".md", ".model"}
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {
        "checkpoint-3",
        "checkpoint-4",
    } | {f"checkpoint-{Run(finished).best().step}"}
    assert {path.suffix for path in files} <= allowed
    for path in (finished / "checkpoints").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert str(finished).encode() not in data, path
            assert str(Path.home()).encode() not in data, path


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd"])
def test_states_of_optimizers_come_back_bit_by_bit(tmp_path: Path, kind: str) -> None:
    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
        if kind == "muon":
            return model, MuonWithAdamW(model, muon_lr=0.1, adamw_lr=0.01)
        chosen = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind]
        return model, chosen(model.parameters(), lr=0.1)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.arange(8.0).view(2, 4)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model, optimizer = made()
    step(model, optimizer)
    save_tree(tmp_path / "state", {"optimizer": optimizer.state_dict()})
    again, other = made()
    again.load_state_dict(model.state_dict())
    other.load_state_dict(load_tree(tmp_path / "state")["optimizer"])
    for pair in ((model, optimizer), (again, other)):
        step(*pair)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_trees_keep_what_kind_everything_is(tmp_path: Path) -> None:
    tree = {0: [1, 2.5, None, True], "a": ("text", {"b": (), 3: []}), "nan": float("inf")}
    save_tree(tmp_path / "tree", tree)
    assert load_tree(tmp_path / "tree") == tree
    with pytest.raises(TypeError, match="holds a set"):
        save_tree(tmp_path / "tree", {"a": {1}})


def test_verls_word_for_its_step_is_checked(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.checkpoints.mkdir()
    mark = run.checkpoints / "latest_checkpointed_iteration.txt"
    for text in ("", "4x", "٤"):
        mark.write_text(text)
        with pytest.raises(DataError, match=r"latest_checkpointed_iteration\.txt says .* is no step"):
            run.verl_step()
    mark.write_text("4\n")
    assert run.verl_step() == 4


def test_marks_of_earlier_versions_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    (folder / MARK).write_text(json.dumps({"step": 3, "score": 0.5}))
    kept = Checkpoints(tmp_path)
    assert kept.latest() == (3, 0.5, folder)
    assert not kept.vouched(kept.latest())
    (folder / MARK).write_text("[]")
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        kept.latest()
