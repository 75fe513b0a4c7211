from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from innersearch.config import Recipe
from innersearch.errors import DataError, RunError
from innersearch.records import LineWriter, claim, keep_lines, write_json
from innersearch.runs import Run
from innersearch.stored import read_json, read_lines


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
    keep_lines(path, dict[str, float], lambda record: record["step"] < 2)
    assert path.read_text() == "".join([*written[:2], '{"step":1.50}\n'])
    keep_lines(tmp_path / "none.jsonl", dict, lambda record: True)


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


FULL_DISK = """
import resource, shutil, sys
from pathlib import Path
import numpy, torch
from safetensors.torch import save_file
from innersearch.errors import RunError
from innersearch.locks import held
from innersearch.records import write_json

folder, source, big = Path(sys.argv[1]), Path(sys.argv[2]), torch.zeros(500_000)
source.write_bytes(bytes(500_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

def opened():
    with (folder / "opened.pt").open("wb") as file:
        torch.save(big, file)

for name, write in {
    "torch.pt": lambda: torch.save(big, folder / "torch.pt"),
    "legacy.pt": lambda: torch.save(big, folder / "legacy.pt", _use_new_zipfile_serialization=False),
    "opened.pt": opened,
    "copy.bin": lambda: shutil.copy(source, folder / "copy.bin"),
    "numpy.npy": lambda: numpy.save(folder / "numpy.npy", big.numpy()),
    "text.json": lambda: write_json(folder / "text.json", "x" * 500_000),
    "": lambda: save_file({"a": big}, folder / "model.safetensors"),
}.items():
    try:
        with held(folder, "run"):
            write()
    except RunError as error:
        assert str(folder / name) in str(error), error
        assert "free some space and run again with --resume" in str(error)
        assert len(str(error).splitlines()) == 1
        print(name)
"""


def test_every_writer_of_ours_says_that_the_disk_is_full_and_of_which_file(tmp_path: Path) -> None:
    """A limit on file size stands for the full disk; it fails in the same system call."""
    (tmp_path / "run").mkdir()
    arguments = [sys.executable, "-c", FULL_DISK, str(tmp_path / "run"), str(tmp_path / "source")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 7
