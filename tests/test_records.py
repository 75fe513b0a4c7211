from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.config import Recipe
from innersearch.errors import DataError, RunError
from innersearch.records import LineWriter, claim, keep_lines, read_json, read_lines, write_json
from innersearch.runs import Run


def test_a_torn_line_is_dropped_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    writer = LineWriter(path)
    writer.write({"step": 1}, {"step": 2})
    with path.open("a") as file:
        file.write('{"step": 3, "x')
    assert [record["step"] for record in read_lines(path)] == [1, 2]
    LineWriter(path).write({"step": 3, "é": "漢"})
    assert list(read_lines(path)) == [{"step": 1}, {"step": 2}, {"step": 3, "é": "漢"}]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"cannot write .*full.jsonl: No space left on device.*--resume"):
        LineWriter(tmp_path / "full.jsonl").write({"step": 1})


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}


def test_keep_lines_rewrites_what_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    LineWriter(path).write(*({"step": step} for step in range(4)))
    with path.open("a") as file:
        file.write('{"step":1.50}\n{"step": 2')
    written = path.read_text().splitlines(keepends=True)
    keep_lines(path, lambda record: record["step"] < 2)
    assert path.read_text() == "".join([*written[:2], '{"step":1.50}\n'])
    keep_lines(tmp_path / "none.jsonl", lambda record: True)


def test_a_run_keeps_its_last_two_checkpoints_and_the_best(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", Recipe(), resume=False)
    for step, score in ((1, 0.1), (2, 0.9), (3, 0.3), (4, 0.4)):
        (run.checkpoints / f"checkpoint-{step}").mkdir(parents=True)
        run.mark_complete(step, score)
    assert [checkpoint.step for checkpoint in run.complete()] == [2, 3, 4]
    assert (run.latest().step, run.best().step) == (4, 2)


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", Recipe(), resume=False)
    LineWriter(run.metrics).write(*({"step": step} for step in (1, 2, 3)))
    for step in (2, 3):
        (run.checkpoints / f"checkpoint-{step}").mkdir(parents=True)
    run.mark_complete(2, 0.5)
    again = Run.start(tmp_path / "run", Recipe(), resume=True)
    assert [record["step"] for record in read_lines(again.metrics)] == [1, 2]
    assert sorted(path.name for path in again.checkpoints.iterdir()) == ["checkpoint-2"]


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(name="x", groups=("a", "b"), seed=3)
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe


def test_a_directory_is_claimed_once_and_by_one(tmp_path: Path) -> None:
    def open_as(seed: int, *, resume: bool) -> bool:
        settings = {"seed": seed, "share": 0.3}
        return claim(tmp_path / "x", settings, resume=resume, what="build", otherwise="is another")

    assert not open_as(1, resume=False)
    assert open_as(1, resume=True)
    with pytest.raises(RunError, match="add --resume to continue that build"):
        open_as(1, resume=False)
    with pytest.raises(RunError, match=r"is another \(seed\): give another directory"):
        open_as(2, resume=True)
    (tmp_path / "x" / "settings.json").write_text('{"seed": 1, "sh')
    with pytest.raises(DataError, match=r"x/settings\.json is no JSON"):
        open_as(1, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        claim(tmp_path / "file", {}, resume=True, what="build", otherwise="")
    with pytest.raises(RunError, match=r"file/x cannot be written to, because of \S+file: give another"):
        claim(tmp_path / "file" / "x", {}, resume=True, what="build", otherwise="")
