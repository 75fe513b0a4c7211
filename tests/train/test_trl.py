"""The contract with TRL: what is trained is exactly what was sampled, under exactly our mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from innersearch.config import PromptSettings, Recipe, SamplingSettings, TrainerSettings
from innersearch.grammar import MaskRule
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rewards import Rubric
from innersearch.rollout.run import Rollout
from innersearch.train.tasks import encode_prompts
from innersearch.train.trl.trainer import build_trainer, grpo_config
from innersearch.types import Sampling, Trajectory
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

OBJECTIVE = {
    "delta": None,
    "disable_dropout": False,
    "entropy_coef": 0.0,
    "entropy_coef_delta": 0.005,
    "entropy_coef_max": 1.0,
    "entropy_coef_min": 0.0,
    "entropy_target": 0.2,
    "importance_sampling_level": "token",
    "loss_type": "dapo",
    "mask_truncated_completions": False,
    "min_p": None,
    "num_iterations": 1,
    "off_policy_mask_threshold": None,
    "ref_model_mixup_alpha": 0.6,
    "ref_model_sync_steps": 512,
    "repetition_penalty": 1.0,
    "reward_weights": None,
    "router_aux_loss_coef": None,
    "sapo_temperature_neg": 1.05,
    "sapo_temperature_pos": 1.0,
    "sync_ref_model": False,
    "top_entropy_quantile": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "use_adaptive_entropy": False,
    "use_bias_correction_kl": False,
    "vespo_k_neg": 3.0,
    "vespo_k_pos": 2.0,
    "vespo_lambda_neg": 2.0,
    "vespo_lambda_pos": 3.0,
    "vllm_importance_sampling_cap": None,
    "vllm_importance_sampling_clip_max": 2.0,
    "vllm_importance_sampling_clip_min": None,
    "vllm_importance_sampling_correction": True,
    "vllm_importance_sampling_mode": "token_truncate",
}
"""What the loss depends on in TRL, beside the settings of a recipe."""


class GradientSpy(TrainerCallback):
    """Keeps the gradient of the first optimizer step."""

    def __init__(self) -> None:
        self.gradient: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **_) -> None:
        self.gradient = {name: p.grad.clone() for name, p in model.named_parameters()}


def oracle(
    model: torch.nn.Module,
    trajectories: list[Trajectory],
    group_size: int,
    *,
    kl: float = 0.0,
    reference: torch.nn.Module | None = None,
    limit: float | None = None,
    deviation: bool = True,
) -> dict[str, torch.Tensor]:
    """Gradient of the group-normalised, token-mean policy-gradient loss, one trajectory at a time.

    With `kl` times k3 = exp(d) − d − 1, d = log p_reference − log p; with `limit` each token's part of
    the first term is weighted by p / p_sampled, at most so much.
    """
    rewards = torch.tensor([t.reward for t in trajectories]).view(-1, group_size)
    spread = rewards.std(dim=1, keepdim=True)
    advantages = ((rewards - rewards.mean(dim=1, keepdim=True)) / (spread + 1e-4)).flatten()
    if not deviation:
        advantages = (rewards - rewards.mean(dim=1, keepdim=True)).flatten()
    trained = sum(sum(t.segments[0].loss_mask) for t in trajectories)
    for trajectory, advantage in zip(trajectories, advantages, strict=True):
        segment = trajectory.segments[0]
        ids = torch.tensor([segment.token_ids])
        logprobs = torch.log_softmax(model(ids).logits[0, :-1], -1)
        chosen = logprobs.gather(1, ids[0, 1:, None])[:, 0]
        terms = -advantage * chosen
        if limit is not None:
            sampled = torch.tensor([value or 0.0 for value in segment.logprobs[1:]])
            terms = terms * (chosen.detach() - sampled).exp().clamp(max=limit)
        if reference is not None:
            with torch.no_grad():
                others = torch.log_softmax(reference(ids).logits[0, :-1], -1)
                gap_to = others.gather(1, ids[0, 1:, None])[:, 0]
            gap = gap_to - chosen
            terms = terms + kl * (gap.exp() - gap - 1)
        loss = (terms * torch.tensor(segment.loss_mask[1:])).sum() / trained
        loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def trainer_of(
    recipe: Recipe,
    output: Path,
    mask: MaskRule,
    *callbacks: TrainerCallback,
    model: PreTrainedModel | None = None,
) -> tuple[GRPOTrainer, list[list[Trajectory]]]:
    """A trainer of the bundled model on eight questions, and where it puts each step's trajectories."""
    tokenizer, model = load_tokenizer(str(BUNDLED)), model or load_model(str(BUNDLED))
    policy = TransformersPolicy(model, end_ids(model, tokenizer))
    sampling = Sampling(max_new_tokens=recipe.sampling.max_new_tokens)
    chosen = questions(Encyclopedia.generate(0), Split.TRAIN)[:8]
    seen: list[list[Trajectory]] = []
    trainer = build_trainer(
        recipe,
        model,
        tokenizer,
        chosen,
        encode_prompts(tokenizer, recipe, chosen, 512),
        Rollout(policy, tokenizer, sampling, Rubric.of(recipe.reward).score, mask),
        Rubric.of(recipe.reward),
        output=output,
        on_rollout=lambda step, trajectories: seen.append(trajectories),
        callbacks=callbacks,
    )
    return trainer, seen


def train(
    recipe: Recipe, output: Path, mask: MaskRule, *callbacks: TrainerCallback
) -> list[list[Trajectory]]:
    """Train the bundled model on eight questions and return the trajectories of each step."""
    trainer, seen = trainer_of(recipe, output, mask, *callbacks)
    trainer.train()
    return seen


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("micro_batch", [8, 32])
def test_one_step_has_the_gradient_of_a_plain_torch_oracle(
    tmp_path, mask: bool, micro_batch: int
) -> None:
    trainer_settings = TrainerSettings(
        steps=1,
        prompts_per_step=8,
        group_size=4,
        micro_batch=micro_batch,
        kl=0.0,
        max_grad_norm=1e9,
    )
    recipe = Recipe(
        prompt=PromptSettings(name="world"),
        sampling=SamplingSettings(max_new_tokens=96),
        trainer=trainer_settings,
    )
    reference = load_model(str(BUNDLED))
    spy = GradientSpy()
    [sampled] = train(recipe, tmp_path, MaskRule(information=mask), spy)
    assert len(sampled) == 32
    assert len({t.reward for t in sampled}) > 1
    masked = sum(sum(t.segments[0].sampled_mask) - sum(t.segments[0].loss_mask) for t in sampled)
    assert (masked > 0) == mask
    expected = oracle(reference, sampled, 4)
    largest = max(g.abs().max() for g in expected.values())
    difference = max((spy.gradient[n] - g).abs().max() for n, g in expected.items())
    assert difference <= 1e-5 * largest


def moved() -> PreTrainedModel:
    """The bundled model, away from where it started."""
    model = load_model(str(BUNDLED))
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=noise)
    return model


def small(**trainer: object) -> Recipe:
    plan = {"steps": 1, "prompts_per_step": 4, "group_size": 4, "micro_batch": 8, "kl": 0.0}
    return Recipe(
        prompt=PromptSettings(name="world"),
        sampling=SamplingSettings(max_new_tokens=48),
        trainer=TrainerSettings(**plan | {"max_grad_norm": 1e9} | trainer),
    )


def assert_equal_gradients(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    largest = max(float(g.abs().max()) for g in other.values())
    assert largest > 0
    assert max(float((one[name] - g).abs().max()) for name, g in other.items()) <= 1e-5 * largest


@pytest.mark.parametrize("advantage", ["group", "rloo"])
def test_the_divergence_in_the_loss_is_plain_k3(tmp_path, advantage: str) -> None:
    """Its weight is large and the model far from its start, so that other estimators would show."""
    spy = GradientSpy()
    recipe = small(kl=0.5, advantage=advantage)
    trainer, seen = trainer_of(recipe, tmp_path, MaskRule(), spy, model=moved().double())
    trainer.train()
    # In double precision: the rounding of single precision is as large as the bound on some CPUs.
    reference = load_model(str(BUNDLED)).double()
    named = {"kl": 0.5, "reference": reference, "deviation": advantage == "group"}
    expected = oracle(moved().double(), seen[0], 4, **named)
    assert_equal_gradients(spy.gradient, expected)


def apart(logprobs: Sequence[float]) -> list[float]:
    """Log-probabilities as another engine may tell them: every fifth is far away."""
    return [value - (0.9 if place % 5 == 0 else 0.02) for place, value in enumerate(logprobs)]


class OtherEngine:
    """Stands for a vLLM engine whose log-probabilities differ from the trainer's."""

    def sync_weights(self) -> None:
        pass


def test_tokens_of_another_engine_are_weighted_and_none_is_dropped(tmp_path) -> None:
    """TRL's default would drop each trajectory whose ratios multiply to more than 3."""
    spy, recipe = GradientSpy(), small()
    trainer, seen = trainer_of(recipe, tmp_path, MaskRule(), spy)
    told = trainer.rollout_func

    def tell_others(*arguments: Any) -> dict[str, Any]:
        columns = told(*arguments)
        columns["logprobs"] = [apart(values) for values in columns["logprobs"]]
        return columns

    trainer.rollout_func, trainer.use_vllm = tell_others, True
    trainer.vllm_generation, trainer._last_loaded_step = OtherEngine(), -1
    trainer.train()
    sampled = []
    for trajectory in seen[0]:
        segment = trajectory.segments[0]
        before, after = segment.logprobs[: segment.prompt_len], segment.logprobs[segment.prompt_len :]
        other = replace(segment, logprobs=(*before, *apart([value or 0.0 for value in after])))
        sampled.append(replace(trajectory, segments=(other,)))
    # In double precision, so that of single precision's rounding the trainer's share alone counts.
    expected = oracle(load_model(str(BUNDLED)).double(), sampled, 4, limit=2.0)
    assert_equal_gradients(spy.gradient, expected)
    logged = next(entry for entry in trainer.state.log_history if "policy/weights_cut" in entry)
    # e^0.9 is above 2, and every fifth token has it.
    assert 0.15 < logged["policy/weights_cut"] < 0.25
    assert logged["policy/weights_low"] == 0


def test_everything_the_loss_depends_on_is_set_on_purpose(tmp_path) -> None:
    """A setting of TRL's that is new, or a default that changes, is to be looked at by somebody."""
    made = grpo_config(small(kl=0.5, clip=0.3, advantage="rloo"), tmp_path)
    assert (made.beta, made.epsilon, made.epsilon_high, made.scale_rewards) == (0.5, 0.3, 0.3, "none")
    words = "loss delta sampling importance mask entropy kl sapo vespo reward iterations ref_model"
    words += " policy top_ min_p penalty dropout advantage clip"
    others = {field.name for field in fields(TrainingArguments)}
    others |= {"scale_rewards", "max_tool_calling_iterations"}
    names = {field.name for field in fields(GRPOConfig)} - others
    concerned = {name for name in names if any(word in name for word in words.split())}
    assert {name: getattr(made, name) for name in concerned} == OBJECTIVE


def test_groups_share_a_question_and_differ_in_repetition(tmp_path) -> None:
    """TRL hands every prompt over group-size times; each entry must become one trajectory."""
    recipe = Recipe(
        prompt=PromptSettings(name="world"),
        sampling=SamplingSettings(max_new_tokens=8),
        trainer=TrainerSettings(steps=2, prompts_per_step=4, group_size=3, micro_batch=6, kl=0.0),
    )
    seen = train(recipe, tmp_path, MaskRule())
    assert [len(trajectories) for trajectories in seen] == [12, 12]
    for step, trajectories in enumerate(seen, 1):
        assert {t.step for t in trajectories} == {step}
        assert len({t.uid for t in trajectories}) == 12
        for group in range(4):
            members = trajectories[3 * group : 3 * group + 3]
            assert len({t.question.id for t in members}) == 1
            assert [t.repetition for t in members] == [0, 1, 2]


def first_gradient(folder: Path, **settings: object) -> dict[str, torch.Tensor]:
    """Gradient of the first step with some trainer settings; the trajectories may depend on them too."""
    plan = {"steps": 1, "prompts_per_step": 4, "group_size": 4, "micro_batch": 8, "kl": 0.0}
    recipe = Recipe(
        prompt=PromptSettings(name="world"),
        sampling=SamplingSettings(max_new_tokens=48),
        trainer=TrainerSettings(**plan | {"max_grad_norm": 1e9} | settings),
    )
    spy = GradientSpy()
    train(recipe, folder, MaskRule(), spy)
    return spy.gradient


def test_checkpointing_changes_no_gradient_and_bf16_little(tmp_path) -> None:
    plain = first_gradient(tmp_path / "plain", bf16=False, gradient_checkpointing=False)
    again = first_gradient(tmp_path / "again", gradient_checkpointing=True)
    largest = max(float(g.abs().max()) for g in plain.values())
    assert largest > 0
    assert max(float((again[n] - g).abs().max()) for n, g in plain.items()) <= 1e-5 * largest
    rough = first_gradient(tmp_path / "rough", bf16=True)
    assert {g.dtype for g in rough.values()} == {torch.float32}
    one, other = (torch.cat([grads[n].flatten() for n in plain]) for grads in (plain, rough))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.7
    assert not torch.equal(one, other)
