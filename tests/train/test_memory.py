"""The memory estimate against what torch really allocates, and `--dry-run`, which prints it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from innersearch.cli import main
from innersearch.config import LoraSettings, Recipe, SamplingSettings, TrainerSettings
from innersearch.policy.base import Request
from innersearch.policy.transformers import TransformersPolicy
from innersearch.train import processes
from innersearch.train.adapters import adapters
from innersearch.train.memory import Shape, estimate, kept_bytes
from innersearch.train.optimizer import MuonWithAdamW
from innersearch.train.trl.trainer import precision
from innersearch.types import Sampling
from innersearch.world.tokenizer import POSITIONS

SIZES = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
BATCH, LENGTH = 4, 64
TOKENS = BATCH * LENGTH


def tiny(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=48))
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SIZES))
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def recipe(**trainer: object) -> Recipe:
    plan = {"prompts_per_step": 4, "group_size": 2, "micro_batch": BATCH, "kl": 0.0, "kl_monitor": 0}
    sampling = SamplingSettings(max_new_tokens=LENGTH - 16, max_batch=8)
    return Recipe(sampling=sampling, trainer=TrainerSettings(**plan | trainer))


def kept(model: PreTrainedModel, *, bf16: bool) -> int:
    """Bytes of all storages that a forward pass keeps for the backward pass, weights left out."""
    storages: dict[int, torch.UntypedStorage] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, SIZES["vocab_size"], (BATCH, LENGTH))
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        out = model.model(input_ids=ids, use_cache=False).last_hidden_state
    found = sum(storage.nbytes() for storage in storages.values())
    del out
    return found


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("bf16", [False, True])
def test_activations_are_what_autograd_keeps(kind: str, bf16: bool) -> None:
    model = tiny(kind).train()
    shape = Shape.of(model)
    measured = kept(model, bf16=bf16)
    estimated = kept_bytes(shape, TOKENS, bf16=bf16, checkpointing=False)
    # Autocast's copies of the matrices are kept too; the estimate lists them apart.
    estimated += 2 * shape.matrices if bf16 else 0
    assert estimated == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("bf16", [False, True])
def test_with_checkpointing_layers_keep_their_input(bf16: bool) -> None:
    model = tiny("llama").train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    shape = Shape.of(model)
    one_layer = kept_bytes(shape, TOKENS, bf16=bf16, checkpointing=True) - TOKENS * 4 * (
        shape.layers * shape.hidden + 2 * shape.hidden
    )
    assert one_layer > 0
    estimated = kept_bytes(shape, TOKENS, bf16=bf16, checkpointing=True) - one_layer
    assert estimated == pytest.approx(kept(model, bf16=bf16), rel=0.02)


def bytes_of(tensors) -> int:
    return sum(t.nbytes for t in tensors if isinstance(t, torch.Tensor) and t.ndim)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_gradients_and_optimizer_are_exact(optimizer: str) -> None:
    model = tiny("qwen2")
    memory = estimate(recipe(optimizer=optimizer, bf16=False), Shape.of(model), 16)
    chosen = (
        torch.optim.AdamW(model.parameters())
        if optimizer == "adamw"
        else MuonWithAdamW(model, muon_lr=0.01, adamw_lr=0.01)
    )
    model(input_ids=torch.zeros((1, 4), dtype=torch.long)).logits.sum().backward()
    chosen.step()
    assert memory.weights == bytes_of(model.parameters())
    assert memory.gradients == bytes_of(p.grad for p in model.parameters())
    assert memory.optimizer == bytes_of(v for s in chosen.state.values() for v in s.values())


@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "v_proj")])
def test_adapters_are_exact(targets: tuple[str, ...]) -> None:
    from peft import get_peft_model

    settings = LoraSettings(rank=4, targets=targets)
    shape = Shape.of(tiny("qwen3"))
    memory = estimate(recipe(lora=settings, bf16=True), shape, 16)
    model = get_peft_model(tiny("qwen3").to(torch.bfloat16), adapters(settings))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == shape.adapted(settings)
    assert memory.weights == bytes_of(model.parameters())
    assert memory.gradients == bytes_of(trained)


@pytest.mark.parametrize("bf16", [False, True])
def test_keys_and_values_are_what_the_policy_holds(bf16: bool) -> None:
    model = tiny("qwen2")
    made = recipe(bf16=bf16)
    policy = TransformersPolicy(model, [], max_batch=made.sampling.max_batch)
    with precision(made):
        requests = [Request(tuple(range(16)), (i,)) for i in range(8)]
        list(policy.stream(requests, Sampling(max_new_tokens=LENGTH - 16)))
    assert policy._cache is not None
    layers = policy._cache.slot_layers
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    assert estimate(made, Shape.of(model), 16).keys_and_values == held


@pytest.mark.usefixtures("in_empty_folder")
def test_dry_run_shows_everything_and_leaves_nothing(capsys) -> None:
    arguments = [
        "train",
        "recipes/ssrl-world.toml",
        "--dry-run",
        "--seed",
        "3",
        "--trainer.lora.rank",
        "4",
    ]
    assert main([*arguments, "--trainer.optimizer", "adamw"]) == 0
    shown = capsys.readouterr().out
    rows = {
        cells[0]: cells[1:]
        for line in shown.splitlines()
        if line.startswith("|") and len(cells := [c.strip() for c in line.strip("|").split("|")]) == 3
    }
    assert rows["seed"] == ["3", "command line"]
    assert rows["trainer.lora.rank"] == ["4", "command line"]
    assert rows["trainer.steps"] == ["80", "recipe"]
    assert rows["trainer.clip"] == ["0.2", "default"]
    assert "80 steps of 16 questions × 8 trajectories = 10,240 trajectories" in shown
    assert "at most 30,720 sampled" in shown
    assert "964,480 parameters, " in shown
    assert "20,480 searches" in shown
    assert "peak of a training step" in shown
    assert not list(Path().iterdir())


@pytest.mark.usefixtures("in_empty_folder")
def test_dry_run_counts_no_tokens_beyond_the_context(capsys) -> None:
    def shown(tokens: int) -> tuple[int, str]:
        arguments = ["--dry-run", "--sampling.max-new-tokens", str(tokens)]
        assert main(["train", "recipes/ssrl-world.toml", *arguments]) == 0
        out = capsys.readouterr().out
        sampled = re.search(r"sampled \(([\d,]+) each", out)
        assert sampled
        return int(sampled[1].replace(",", "")), out[out.index("estimated memory") :]

    most, memory = shown(4096)
    assert most < POSITIONS
    assert shown(100_000) == (most, memory)


@pytest.mark.usefixtures("in_empty_folder")
def test_dry_run_refuses_what_training_would(capsys) -> None:
    run = ["train", "recipes/ssrl-world.toml", "--dry-run"]
    assert main([*run, "--model", "gone"]) == 1
    assert main([*run, "--prompt.max-tokens", "3"]) == 1
    assert main([*run, "--trainer.prompts-per-step", "100000"]) == 1
    errors = capsys.readouterr().err
    assert "no model directory at gone" in errors
    assert "more than prompt.max_tokens = 3" in errors
    assert "cannot fill a step" in errors
    assert not list(Path().iterdir())


REFUSED = {
    "--search.router alwys": "unknown router 'alwys'; did you mean 'always'?; write self, always",
    "--search.router always": "no engine given",
    "--search.router always --search.engine bm25:nowhere": "no index at nowhere",
    "--search.router always --search.engine serper": "serper needs a key",
    "--search.router always --search.engine simulated:nowhere": "no simulator at nowhere",
    "--sampling.policy vllm": "sampling.policy vllm needs vLLM",
    "--trainer.lora.rank 4 --trainer.lora.targets lm_head": "'lm_head' is the head",
    "--output full": "full is not empty",
    "--output full --resume": "full holds no run",
}


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize("settings", REFUSED)
@pytest.mark.parametrize("dry", [True, False])
def test_dry_run_and_training_refuse_the_same(capsys, monkeypatch, settings: str, dry: bool) -> None:
    if "vllm" in settings and find_spec("vllm"):
        pytest.skip("vLLM is installed")
    monkeypatch.delenv("SERPER_API_KEY", raising=False)
    Path("full").mkdir()
    Path("full/precious.txt").write_text("mine")
    recipe = ["train", "recipes/ssrl-world.toml", "--trainer.optimizer", "adamw"]
    assert main([*recipe, *settings.split(), *["--dry-run"] * dry]) > 0
    assert REFUSED[settings] in capsys.readouterr().err
    assert sorted(map(str, Path().rglob("*"))) == ["full", "full/precious.txt"]


@pytest.mark.usefixtures("in_empty_folder")
def test_dry_run_opens_the_engine_and_makes_no_cache(capsys) -> None:
    recipe = ["train", "recipes/search-r1-world.toml", "--dry-run"]
    assert main([*recipe, "--search.cache", "made/cache.sqlite"]) == 0
    assert "nothing was started and nothing written" in capsys.readouterr().out
    assert main([*recipe, "--search.cache", "made/cache.sqlite", "--search.offline"]) == 1
    assert "no cache at" in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("router", "at_once"), [("self", 6), ("gate:entropy:1", 6), ("gate:consistency:0.5", 30)]
)
def test_a_step_with_few_trajectories_needs_few_slots(router: str, at_once: int) -> None:
    small = Recipe.model_validate(
        {
            "trainer": {"prompts_per_step": 3, "group_size": 2, "micro_batch": 6},
            "sampling": {"max_batch": 256},
            "search": {"router": router, "engine": "world-1", "samples": 4},
        }
    )
    assert processes.sequences_at_once(small) == at_once
    shape = Shape.of(tiny("llama"))
    few = estimate(small, shape, 16)
    most = estimate(small.model_copy(update={"trainer": TrainerSettings()}), shape, 16)
    assert few.logits < most.logits
    plan = small.trainer.model_copy(update={"ahead": 2})
    ahead = small.model_copy(update={"trainer": plan})
    assert processes.sequences_at_once(ahead) == 3 * at_once
    further = estimate(ahead, shape, 16)
    assert further.sampled_from == few.weights
    # Rollouts go on while training computes.
    assert further.training - few.training == few.weights + further.keys_and_values + further.logits
