"""A folder is claimed before anything in it is opened, by one process at a time."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.errors import RunError
from innersearch.evaluate import run as evaluation
from innersearch.locks import held, locked
from innersearch.records import begun, write_json
from innersearch.stored import read_json, read_lines
from innersearch.train import run as training
from tests.cli.test_cli import fails
from tests.search_servers import Answer, Asked, LocalServer

QUESTIONS = ("--data", "world-1:validation", "--groups", "one_hop_unseen")
SMALL = (
    *("--trainer.steps", "1", "--trainer.prompts-per-step", "2", "--trainer.group-size", "2"),
    *("--trainer.micro-batch", "4", "--sampling.max-new-tokens", "32"),
)


def one_page(asked: Asked) -> Answer:
    return Answer(body={"organic": [{"title": "T", "link": "http://x/", "snippet": "A town."}]})


@pytest.fixture
def serper(monkeypatch: pytest.MonkeyPatch, in_empty_folder: None):
    """A paid engine, as documented, on this machine."""
    monkeypatch.setenv("SERPER_API_KEY", "a-key-of-16-chars")
    with LocalServer(one_page) as server:
        yield f"serper:{server.url}"


def dies_before_its_claim(monkeypatch: pytest.MonkeyPatch, where, name: str, *arguments: str) -> None:
    """As a kill between opening the engine and writing what the folder belongs to."""
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(where, name, killed)
        assert main(arguments) == 130


@pytest.mark.parametrize("cache", [(), ("--cache", "out/deep/any name")])
def test_an_evaluation_with_a_paid_engine_starts_in_a_fresh_folder(
    serper: str, monkeypatch: pytest.MonkeyPatch, capsys, cache: tuple[str, ...]
) -> None:
    command = ("eval", "world-1", *QUESTIONS, "--search", serper, "--output", "out", *cache)
    dies_before_its_claim(monkeypatch, evaluation, "claim", *command)
    assert list(Path("out").iterdir())
    assert main(command) == 0
    assert read_json(Path("out/summary.json"))["calls"] > 0
    capsys.readouterr()
    assert "add --resume" in fails(capsys, *command)
    assert main([*command, "--resume"]) == 0


@pytest.mark.parametrize("verb", ["sim2real", "calibrate"])
def test_verbs_of_several_evaluations_start_in_a_fresh_folder(
    serper: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    from tests.search.test_search_cli import copy_of_world

    model = copy_of_world()
    rate = ("--call-rate", "0.5") if verb == "calibrate" else ()
    command = (verb, model, *QUESTIONS, "--engine", serper, "--output", "out", *rate)
    dies_before_its_claim(monkeypatch, evaluation, "claim", *command)
    assert main(command) == 0


def test_a_training_run_with_a_paid_engine_starts_in_a_fresh_folder(
    serper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ("--search.engine", serper, "--search.cache", "out/kept.sqlite", "--output", "out")
    command = ("train", "recipes/search-r1-world.toml", *SMALL, *search)
    dies_before_its_claim(monkeypatch, training.Run, "start", *command)
    assert Path("out/kept.sqlite").is_file()
    assert main(command) == 0
    [step] = read_lines(Path("out/metrics.jsonl"))
    assert step["search/real"] > 0


def test_pairs_are_collected_with_a_paid_engine(serper: str) -> None:
    command = (
        "simulator",
        "collect",
        "world",
        *QUESTIONS,
        "--engine",
        serper,
        "--output",
        "out/p.jsonl",
    )
    short = ("--max-questions", "2", "--samples", "1", "--pages", "1")
    assert main([*command, *short]) == 0
    assert list(read_lines(Path("out/p.jsonl")))
    assert main([*command, *short, "--resume"]) == 0


def test_what_may_lie_beside_records_does_not_fill_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "caches").mkdir(parents=True)
    (folder / ".cache").mkdir()
    with sqlite3.connect(folder / "caches" / "any name") as database:
        database.execute("CREATE TABLE answers (key TEXT)")
    database.close()
    for name in ("budget.json", "budget-3.json", "nohup.out", "train.log", ".nfs01", "other.lock"):
        (folder / name).write_text("{}")
    (folder / ".cache" / "file").write_text("x")
    (folder / "empty.jsonl").touch()
    assert not begun(folder, resume=False, what="run")
    assert not begun(folder, resume=True, what="run")
    for name in ("notes.txt", "caches/greedy.jsonl", "budget.json.old"):
        (folder / name).write_text("{}")
        with pytest.raises(RunError, match=rf"out is not empty: .*\(it holds {name}\)"):
            begun(folder, resume=False, what="run")
        assert begun(folder, resume=True, what="run")
        (folder / name).unlink()


def test_what_this_process_prints_to_does_not_fill_a_folder(tmp_path: Path, capfd) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "said").open("w") as said:
        said.write("…")
        said.flush()
        kept = os.dup(1)
        try:
            os.dup2(said.fileno(), 1)
            assert not begun(tmp_path / "out", resume=False, what="run")
        finally:
            os.dup2(kept, 1)
            os.close(kept)
    with pytest.raises(RunError, match=r"\(it holds said\)"):
        begun(tmp_path / "out", resume=False, what="run")


def commands_that_write(model: str) -> dict[str, tuple[str, ...]]:
    sources = (model, *QUESTIONS)
    return {
        "eval": ("eval", *sources),
        "sim2real": ("sim2real", *sources),
        "calibrate": ("calibrate", *sources),
        "coverage": ("data", "coverage", "world-1:validation", "--engine", "world-1", "-k", "1"),
        "train": ("train", "recipes/ssrl-world.toml", *SMALL),
        "build": ("world", "build", "out"),
        "demo": ("demo", "out", "--small"),
    }


@pytest.mark.parametrize("verb", ["eval", "sim2real", "calibrate", "coverage", "train", "build", "demo"])
@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_second_process_is_refused_and_told_who_the_first_is(
    in_empty_folder: None, capsys, verb: str, resume: tuple[str, ...]
) -> None:
    from tests.search.test_search_cli import copy_of_world

    command = commands_that_write(copy_of_world())[verb]
    output = () if verb in ("build", "demo") else ("--output", "out")
    with held(Path("out"), "run", ".demo.lock" if verb == "demo" else ".lock"):
        message = fails(capsys, *command, *output, *resume)
    assert f"out is being written by process {os.getpid()}" in message
    assert not Path("out").exists()


def test_pairs_are_written_by_one_process(in_empty_folder: None, capsys) -> None:
    with locked(Path(".p.jsonl.lock"), "the file p.jsonl"):
        collect = ("simulator", "collect", "world-1", *QUESTIONS, "--engine", "world-1")
        message = fails(capsys, *collect, "--output", "p.jsonl")
        assert f"p.jsonl is being written by process {os.getpid()}" in message


def test_a_holder_that_was_killed_blocks_nobody(in_empty_folder: None, capsys) -> None:
    code = (
        "import sys; from pathlib import Path; from innersearch.locks import held\n"
        "with held(Path('out'), 'evaluation'): print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        command = ("eval", "world-1", *QUESTIONS, "--output", "out")
        assert f"by process {holder.pid}" in fails(capsys, *command)
        holder.kill()
        holder.wait()
    assert Path("out/.lock").is_file()
    assert main(command) == 0
    assert not Path("out/.lock").exists()


def test_records_that_two_processes_wrote_are_refused(in_empty_folder: None, capsys) -> None:
    command = ("eval", "world-1", *QUESTIONS, "--output", "out")
    assert main(command) == 0
    file = Path("out/greedy.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, *lines[:5]]))
    message = fails(capsys, *command, "--resume")
    assert "greedy.jsonl holds 5 questions more than once" in message
    assert repr(json.loads(lines[0])["id"]) in message


def test_two_writers_of_a_file_do_not_share_what_is_unfinished(tmp_path: Path, monkeypatch) -> None:
    """As two calibrations that keep a gate beside the same model."""
    path = tmp_path / "gate.json"
    replace = Path.replace

    def meanwhile(partial: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(os, "getpid", lambda: 7)
        write_json(path, {"of": "the other"})
        return replace(partial, target)

    monkeypatch.setattr(Path, "replace", meanwhile)
    write_json(path, {"of": "this"})
    assert read_json(path) == {"of": "this"}
    assert [file.name for file in tmp_path.iterdir()] == ["gate.json"]
