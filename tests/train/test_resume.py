"""A killed run goes on and ends where the uninterrupted one ends."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from innersearch.cli import main
from innersearch.runs import Run
from innersearch.stored import read_lines

STEPS = 6
TRAIN = [
    *(sys.executable, "-m", "innersearch", "train", "recipes/ssrl-world.toml"),
    *("--trainer.steps", str(STEPS), "--trainer.save-every", "2", "--trainer.prompts-per-step", "4"),
    *("--trainer.group-size", "4", "--trainer.micro-batch", "8", "--sampling.max-new-tokens", "64"),
]


def finish(output: Path, *arguments: str) -> None:
    done = subprocess.run([*TRAIN, "--output", str(output), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def kill_after(output: Path, lines: int, *arguments: str, signal_: int = signal.SIGKILL) -> int:
    """Start training and send a signal as soon as `metrics.jsonl` has so many lines."""
    process = subprocess.Popen([*TRAIN, "--output", str(output), *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list(read_lines(output / "metrics.jsonl"))) < lines:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal_)
    process.communicate()
    return process.returncode


def curve(output: Path) -> list[dict[str, float]]:
    return [
        {key: value for key, value in record.items() if not key.startswith("time/")}
        for record in read_lines(output / "metrics.jsonl")
    ]


def tokens(output: Path) -> list[tuple[str, list[int]]]:
    return [
        (record["uid"], record["segments"][0]["token_ids"])
        for record in read_lines(output / "trajectories.jsonl")
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    finish(output)
    return output


def test_kill_9_changes_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    assert kill_after(output, 3) == -signal.SIGKILL
    with (output / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "reward/me')
    (output / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    finish(output, "--resume")
    assert [record["step"] for record in curve(output)] == list(range(1, STEPS + 1))
    assert curve(output) == curve(uninterrupted)
    assert tokens(output) == tokens(uninterrupted)
    weights = [load_file(path / "model" / "model.safetensors") for path in (output, uninterrupted)]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    endless = ["100000" if argument == str(STEPS) else argument for argument in TRAIN]
    process = subprocess.Popen(
        [*endless, "--output", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True
    )
    while not list(read_lines(tmp_path / "run" / "metrics.jsonl")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert curve(tmp_path / "run")


def test_a_full_disk_is_one_clear_line_and_resumes(uninterrupted: Path, tmp_path: Path) -> None:
    """A limit on file size stands for the full disk; it fails in the same system call."""
    output = tmp_path / "run"
    done = subprocess.run(
        [*TRAIN, "--output", str(output)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
    )
    assert done.returncode == 1
    assert "innersearch: cannot write" in done.stderr
    assert "run again with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    finish(output, "--resume")
    assert curve(output) == curve(uninterrupted)


def test_resume_with_other_settings_is_refused(
    uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN[3:], "--output", str(uninterrupted), "--resume", "--seed", "7"]) == 1
    assert "the recipe differs in seed 0 → 7" in capsys.readouterr().err
    assert len(curve(uninterrupted)) == STEPS


def test_resuming_a_finished_run_changes_nothing(uninterrupted: Path) -> None:
    model = uninterrupted / "model" / "model.safetensors"
    before = model.read_bytes(), (uninterrupted / "metrics.jsonl").read_bytes()
    assert main([*TRAIN[3:], "--output", str(uninterrupted), "--resume"]) == 0
    assert (model.read_bytes(), (uninterrupted / "metrics.jsonl").read_bytes()) == before


def test_checkpoints_kept_are_the_last_two_and_the_best(uninterrupted: Path) -> None:
    run = Run(uninterrupted)
    kept = [checkpoint.step for checkpoint in run.complete()]
    assert kept[-2:] == [4, 6]
    assert run.best().step in kept
    assert len(kept) <= 3
