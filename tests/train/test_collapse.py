"""A run that falls apart stops with the reason, and its best checkpoint is the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from innersearch.cli import main
from innersearch.runs import Run
from innersearch.stored import read_lines

SHORT = (
    "--trainer.steps 20 --trainer.prompts-per-step 8 --trainer.group-size 4 --trainer.micro-batch 16 "
    "--trainer.save-every 1 --trainer.warmup-steps 2 --guard.window 2"
)


def test_an_absurd_learning_rate_is_stopped_and_the_best_checkpoint_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    absurd = ["--trainer.muon-learning-rate", "0.3"]
    arguments = ["train", "recipes/ssrl-world.toml", "--output", str(output), *SHORT.split(), *absurd]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "innersearch: training collapsed at step" in error
    assert "the best checkpoint, of step" in error
    assert len(list(read_lines(output / "metrics.jsonl"))) < 20
    best = Run(output).best()
    assert f"of step {best.step}" in error
    kept, chosen = (load_file(path / "model.safetensors") for path in (output / "model", best.path))
    assert all(torch.equal(kept[name], tensor) for name, tensor in chosen.items())
    assert json.loads((output / "model" / "config.json").read_text())["use_cache"] is True
    assert not (output / "model" / "optimizer.pt").exists()
    assert main(["ask", str(output / "model"), "In which city was Tilorn born?"]) == 0


def test_damaged_weights_are_a_collapse_and_never_the_best_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    absurd = ["--trainer.optimizer", "adamw", "--trainer.learning-rate", "1e30"]
    arguments = ["train", "recipes/ssrl-world.toml", "--output", str(output), *SHORT.split(), *absurd]
    assert main(arguments) == 1
    assert "innersearch: training collapsed at step" in capsys.readouterr().err
    for checkpoint in Run(output).complete():
        weights = load_file(checkpoint.path / "model.safetensors")
        assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
