"""Rollouts in bfloat16 of a model that is trained in float32.

What samples is a copy of the weights, rounded anew before every batch of rollouts. Its log-probabilities
differ from the trainer's by rounding: how far, `policy/logprob_gap` says at every step, and every token
is weighted by the ratio of its probabilities.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from innersearch.assemble.policies import TRANSFORMERS
from innersearch.config import Recipe
from innersearch.errors import ConfigError
from innersearch.policy.dtype import AUTO, BFLOAT16, FLOAT32, Choice, choose
from innersearch.policy.transformers import TransformersPolicy
from innersearch.train.trl.trainer import uses_bf16
from innersearch.types import Sampling


def rollout_dtype(recipe: Recipe) -> Choice:
    """What the rollouts of a recipe compute in, and why."""
    sampling, plan = recipe.sampling, recipe.trainer
    if sampling.policy != TRANSFORMERS or uses_bf16(recipe) or torch.cuda.is_available():
        return Choice(BFLOAT16 if uses_bf16(recipe) else FLOAT32, "as training does")
    if plan.lora.rank and sampling.dtype == AUTO:
        return Choice(FLOAT32, "adapters are part of the weights that are trained")
    return choose(sampling.dtype, recipe.model)


def demand_roundable(recipe: Recipe) -> None:
    """Refuse to round weights that adapters are not merged into.

    Raises:
        ConfigError: The recipe asks for that, or for rounding by a policy that has weights of its own.
    """
    if recipe.sampling.dtype != BFLOAT16:
        return
    if recipe.trainer.lora.rank:
        raise ConfigError(
            "sampling.dtype bfloat16 with adapters: rollouts would sample without them; leave it out, "
            "or train in bfloat16 (trainer.bf16)"
        )
    if recipe.sampling.policy != TRANSFORMERS:
        raise ConfigError(
            f"sampling.dtype is for the policy {TRANSFORMERS}, not for {recipe.sampling.policy}: leave "
            "it out"
        )


def rounds(recipe: Recipe) -> bool:
    """Whether rollouts are sampled from rounded weights."""
    return rollout_dtype(recipe).dtype == BFLOAT16 and not uses_bf16(recipe)


class RoundedPolicy(TransformersPolicy):
    """Samples from a copy in bfloat16 of a model that changes between sessions."""

    source: PreTrainedModel

    @classmethod
    def following(
        cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_batch: int
    ) -> RoundedPolicy:
        """The policy of a model that is being trained."""
        rounded = copy.deepcopy(model).requires_grad_(requires_grad=False)
        torch.nn.Module.to(rounded, torch.bfloat16)
        policy = cls.of(rounded, tokenizer, max_batch)
        assert isinstance(policy, RoundedPolicy)  # noqa: S101
        policy.source = model
        return policy

    @contextmanager
    def _batch(self, sampling: Sampling) -> Iterator[Any]:
        self._round()
        with super()._batch(sampling) as queue:
            yield queue

    @torch.no_grad()
    def _round(self) -> None:
        pairs = zip(self.model.parameters(), self.source.parameters(), strict=True)
        for mine, theirs in pairs:
            mine.copy_(theirs)
