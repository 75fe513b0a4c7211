"""Rollouts in bfloat16 under a trainer in float32: they follow the weights, and say how far they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from innersearch.assemble.sources import load_questions
from innersearch.config import Recipe
from innersearch.errors import ConfigError
from innersearch.policy.base import Request
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.stored import read_json, read_lines
from innersearch.train.rounded import RoundedPolicy, rollout_dtype, rounds
from innersearch.train.run import train
from innersearch.types import Sampling
from innersearch.world.bundled import BUNDLED

PLAN = {"steps": 2, "prompts_per_step": 2, "group_size": 2, "micro_batch": 2, "kl": 0.0, "kl_monitor": 0}


def recipe(dtype: str, **trainer: object) -> Recipe:
    return Recipe.model_validate(
        {
            "model": str(BUNDLED),
            "prompt": {"name": "world"},
            "sampling": {"max_new_tokens": 48, "dtype": dtype},
            "trainer": PLAN | {"learning_rate": 1e-3} | trainer,
        }
    )


def test_a_run_says_what_its_rollouts_computed_in_and_how_far_they_were(tmp_path: Path) -> None:
    questions = load_questions("world:train")[:8]
    run = train(recipe("bfloat16"), questions, tmp_path / "run")
    assert read_json(run.path / "environment.json")["rollouts"] == {
        "dtype": "bfloat16",
        "reason": "as asked",
    }
    steps = list(read_lines(run.metrics))
    assert len(steps) == 2
    for step in steps:
        assert 0 < step["policy/logprob_gap"] < 0.1
        assert 0 <= step["policy/weights_cut"] <= 1
    # Master weights are float32, and so is what comes of them.
    assert load_model(str(run.model), dtype="auto").dtype is torch.float32


def test_the_copy_follows_the_weights() -> None:
    tokenizer, model = load_tokenizer(str(BUNDLED)), load_model(str(BUNDLED))
    policy = RoundedPolicy.following(model, tokenizer, 4)
    request = Request(tuple(tokenizer.encode("Who founded", add_special_tokens=False)))

    def written() -> list[float]:
        [done] = policy.stream([request], Sampling(0.0, 6, 0))
        return done.completion.logprobs

    before = written()
    assert written() == before
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    after = written()
    assert after != before
    assert policy.model.dtype is torch.bfloat16
    assert model.dtype is torch.float32


def test_what_training_computes_in_decides_where_it_can() -> None:
    assert not rounds(recipe("auto"))
    assert rounds(recipe("bfloat16"))
    assert not rounds(recipe("bfloat16", bf16=True))
    assert rollout_dtype(recipe("auto", lora={"rank": 2})).dtype == "float32"


def test_adapters_are_not_rounded_without_themselves(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adapters"):
        train(recipe("bfloat16", lora={"rank": 2}), load_questions("world:train")[:8], tmp_path / "run")
