"""What every trainer makes of a recipe: prompts, rewards, rollouts, and enough questions for a step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from innersearch import prompts
from innersearch.config import Recipe
from innersearch.errors import DataError, ModelError
from innersearch.grammar import MaskRule
from innersearch.policy.base import Policy, demand_room
from innersearch.rewards import outcome_reward, transcript
from innersearch.rollout.episode import SearchPlan
from innersearch.rollout.run import Rollout
from innersearch.types import Question, Sampling, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def demand_a_full_step(recipe: Recipe, questions: Sequence[Question]) -> None:
    """Refuse questions that are fewer than a step takes.

    Raises:
        DataError: They are.
    """
    needed = recipe.trainer.prompts_per_step
    if len(questions) < needed:
        raise DataError(
            f"{len(questions)} questions cannot fill a step of trainer.prompts_per_step = {needed}: "
            "lower it (trainer.micro_batch must divide prompts_per_step × group_size) or give more"
        )


def demand_weights(model: str) -> None:
    """Refuse a model directory without weights.

    Raises:
        ModelError: It has none.
    """
    folder = Path(model)
    if folder.is_dir() and not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise ModelError(f"{model} holds no weights: it has neither .safetensors nor .bin files")


def encode_prompts(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, questions: Sequence[Question], context: int
) -> list[tuple[int, ...]]:
    """Prompt tokens of every question for a model with a context of so many tokens.

    Raises:
        DataError: A prompt is longer than the recipe allows, or leaves no room in the model's context.
    """
    encoded = [prompts.encode(tokenizer, recipe.prompt.name, q.question) for q in questions]
    for question, ids in zip(questions, encoded, strict=True):
        if len(ids) > recipe.prompt.max_tokens:
            raise DataError(
                f"the prompt of question {question.id!r} has {len(ids)} tokens, more than "
                f"prompt.max_tokens = {recipe.prompt.max_tokens}: raise the limit or drop the question"
            )
    by_id = {question.id: ids for question, ids in zip(questions, encoded, strict=True)}
    demand_room(by_id, context, recipe.model)
    return encoded


def score(recipe: Recipe, trajectory: Trajectory) -> tuple[float, dict[str, float]]:
    """The reward of a trajectory by the settings of a recipe."""
    return outcome_reward(transcript(trajectory), trajectory.question.golden_answers, recipe.reward)


def rollout_of(
    recipe: Recipe, policy: Policy, tokenizer: PreTrainedTokenizerFast, plan: SearchPlan | None
) -> Rollout:
    """The rollouts that a recipe asks for, scored by its rewards."""
    sampling = recipe.sampling
    return Rollout(
        policy,
        tokenizer,
        Sampling(sampling.temperature, sampling.max_new_tokens, recipe.seed),
        partial(score, recipe),
        MaskRule(information=recipe.mask.information, opening_tag=recipe.mask.opening_tag),
        tokenizer_id=recipe.model,
        plan=plan,
        in_flight=2 * sampling.max_batch,
    )
