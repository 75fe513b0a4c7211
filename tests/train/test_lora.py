"""Low-rank adapters: trained, kept in checkpoints, resumed, and merged into the model at the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from innersearch.cli import main
from innersearch.policy.loading import load_model
from innersearch.stored import read_lines
from innersearch.world.bundled import BUNDLED

TRAIN = [
    *("train", "recipes/ssrl-world.toml", "--trainer.optimizer", "adamw"),
    *("--trainer.learning-rate", "1e-2", "--trainer.warmup-steps", "0", "--trainer.save-every", "2"),
    *("--trainer.steps", "4", "--trainer.prompts-per-step", "4", "--trainer.group-size", "4"),
    *("--trainer.micro-batch", "8", "--sampling.max-new-tokens", "48"),
    *(
        "--trainer.lora.rank",
        "4",
        "--trainer.lora.targets",
        "q_proj",
        "--trainer.lora.targets",
        "down_proj",
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "lora"
    assert main([*TRAIN, "--output", str(output)]) == 0
    return output


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_model_is_the_base_with_the_adapters_merged_in(run: Path) -> None:
    before, after = weights(Path(str(BUNDLED))), weights(run / "model")
    assert before.keys() == after.keys()
    adapters = load_file(run / "adapters" / "adapter_model.safetensors")
    assert adapters
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    targets = ("q_proj.weight", "down_proj.weight")
    assert changed == {name for name in before if name.endswith(targets)}
    for name in changed:
        part = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = adapters[f"{part}.lora_A.weight"], adapters[f"{part}.lora_B.weight"]
        assert a.shape[0] == 4
        # alpha is twice the rank by default.
        assert torch.allclose(after[name], before[name] + 2 * b @ a, atol=1e-6)
    assert load_model(str(run / "model")).config.use_cache


def test_checkpoints_hold_adapters_only(run: Path) -> None:
    checkpoints = list((run / "checkpoints").glob("checkpoint-*"))
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        assert (checkpoint / "adapter_model.safetensors").is_file()
        assert not (checkpoint / "model.safetensors").exists()


def test_a_stopped_run_goes_on_where_it_was(run: Path, tmp_path: Path) -> None:
    """As after a kill in step 3: the records, but no checkpoint after step 2 and no result."""
    stopped = tmp_path / "stopped"
    shutil.copytree(run, stopped)
    for folder in ("model", "adapters", "checkpoints/checkpoint-4"):
        shutil.rmtree(stopped / folder)
    assert main([*TRAIN, "--output", str(stopped), "--resume"]) == 0
    tokens = [
        [t["segments"][0]["token_ids"] for t in read_lines(path / "trajectories.jsonl")]
        for path in (run, stopped)
    ]
    assert tokens[0] == tokens[1]
    for name, tensor in weights(run / "model").items():
        assert torch.equal(tensor, weights(stopped / "model")[name])


def test_rollouts_are_those_of_the_adapted_model(run: Path) -> None:
    """Adapters begin as zero, so step 1 is the base model's; later steps must not be."""
    metrics = list(read_lines(run / "metrics.jsonl"))
    assert metrics[0]["policy/kl"] == pytest.approx(0, abs=1e-6)
    assert metrics[-1]["policy/kl"] > 1e-4


def test_frozen_weights_are_bfloat16_where_bf16_is_on(tmp_path: Path) -> None:
    output = tmp_path / "run"
    exact = ["--trainer.bf16", "--trainer.gradient-checkpointing", "--trainer.kl", "0.01"]
    one_step = ["1" if i and TRAIN[i - 1] == "--trainer.steps" else a for i, a in enumerate(TRAIN)]
    assert main([*one_step, *exact, "--output", str(output)]) == 0
    assert {tensor.dtype for tensor in weights(output / "model").values()} == {torch.float32}
    assert list(read_lines(output / "metrics.jsonl"))


def test_adapters_that_fit_nothing_are_refused(tmp_path: Path, capsys) -> None:
    arguments = TRAIN[: TRAIN.index("--trainer.lora.targets")]
    targets = ["--trainer.lora.targets", "q_proj", "--trainer.lora.targets", "v_projj"]
    for last in (["--output", str(tmp_path / "run")], ["--dry-run"]):
        assert main([*arguments, *targets, *last]) == 1
        assert "no linear layer 'v_projj'; did you mean 'v_proj'?" in capsys.readouterr().err
        assert main([*arguments, "--trainer.lora.targets", "lm_head", *last]) == 1
        error = capsys.readouterr().err
        assert "'lm_head' is the head, which takes no adapter; known: down_proj" in error
    assert not (tmp_path / "run").exists()
    muon = ["--trainer.lora.rank", "4", "--output", str(tmp_path / "other")]
    assert main(["train", "recipes/ssrl-world.toml", *muon]) == 2
    assert "adapters are trained with optimizer adamw" in capsys.readouterr().err
