"""The contract with TRL: what is trained is exactly what was sampled, under exactly our mask."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from innersearch.config import PromptSettings, Recipe, SamplingSettings, TrainerSettings
from innersearch.grammar import MaskRule
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.run import Rollout
from innersearch.train.tasks import encode_prompts, score
from innersearch.train.trl import build_trainer
from innersearch.types import Sampling, Trajectory
from innersearch.world.encyclopedia import Encyclopedia, Split
from innersearch.world.questions import questions
from innersearch.world.shipped import SHIPPED


class GradientSpy(TrainerCallback):
    """Keeps the gradient of the first optimizer step."""

    def __init__(self) -> None:
        self.gradient: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **_) -> None:
        self.gradient = {name: p.grad.clone() for name, p in model.named_parameters()}


def oracle(
    model: torch.nn.Module, trajectories: list[Trajectory], group_size: int
) -> dict[str, torch.Tensor]:
    """Gradient of the group-normalised, token-mean policy-gradient loss, one trajectory at a time."""
    rewards = torch.tensor([t.reward for t in trajectories]).view(-1, group_size)
    spread = rewards.std(dim=1, keepdim=True)
    advantages = ((rewards - rewards.mean(dim=1, keepdim=True)) / (spread + 1e-4)).flatten()
    trained = sum(sum(t.segments[0].loss_mask) for t in trajectories)
    for trajectory, advantage in zip(trajectories, advantages, strict=True):
        segment = trajectory.segments[0]
        ids = torch.tensor([segment.token_ids])
        logprobs = torch.log_softmax(model(ids).logits[0, :-1], -1)
        chosen = logprobs.gather(1, ids[0, 1:, None])[:, 0]
        loss = -(advantage * chosen * torch.tensor(segment.loss_mask[1:])).sum() / trained
        loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def train(
    recipe: Recipe, output: Path, mask: MaskRule, *callbacks: TrainerCallback
) -> list[list[Trajectory]]:
    """Train the shipped model on eight questions and return the trajectories of each step."""
    tokenizer, model = load_tokenizer(str(SHIPPED)), load_model(str(SHIPPED))
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
        Rollout(policy, tokenizer, sampling, partial(score, recipe), mask),
        output=output,
        on_rollout=lambda step, trajectories: seen.append(trajectories),
        callbacks=callbacks,
    )
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
    reference = load_model(str(SHIPPED))
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
