"""Trajectories as verl takes them: per segment token ids, one mask, log-probabilities, one reward.

verl puts the reward on the last response token, and two of its advantages go astray there. GAE and
REINFORCE++ are zero everywhere if that token is masked (core_algos.py 213-262, 680-735 of 0.9.1), and
with several outputs GRPO reads the last one's advantage at its first trained token
(trainer/ppo/v1/utils.py 208-213). So masked tokens at the end are left out, which changes no gradient
since attention is causal, and a segment with something to train comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from innersearch.config import Recipe
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.train.samples import Sample, samples
from innersearch.types import Finish, Sampling, Segment, Source, StopReason, Trajectory

Columns = dict[str, Any]
"""Fields of verl's `AgentLoopOutput`."""


def to_outputs(trajectory: Trajectory, extra: Mapping[str, Any] | None = None) -> list[Columns]:
    """One output per segment, the last of them with a trained token if any has one.

    `extra` goes into the `extra_fields` of each.
    """
    # Stable, so that segments stay in order otherwise.
    ordered = sorted(samples(trajectory), key=lambda sample: bool(sample.trained))
    fields = _extra_fields(trajectory) | dict(extra or {})
    turns = 2 + 2 * sum(call.source is not Source.SELF_SEARCH for call in trajectory.calls)
    return [_output(sample, fields) | {"num_turns": turns} for sample in ordered]


def _output(sample: Sample, fields: Mapping[str, Any]) -> Columns:
    """Tokens up to the last one that carries loss, at least one: verl takes no empty response."""
    end = max((place + 1 for place, loss in enumerate(sample.loss_mask) if loss), default=1)
    return {
        "prompt_ids": sample.prompt_ids,
        "response_ids": sample.completion_ids[:end],
        "response_mask": sample.loss_mask[:end],
        "response_logprobs": sample.logprobs[:end],
        "reward_score": float(sample.reward or 0.0),
        # A copy for each: verl writes into it.
        "extra_fields": dict(fields) | {"versions": sample.versions[:end]},
    }


def failed(
    recipe: Recipe, task: Task, sampling: Sampling, end_id: int, tokenizer_id: str, error: str
) -> Trajectory:
    """The trajectory of a rollout that failed: an end token that is not trained on, and no reward."""
    prompt = list(task.prompt_ids)
    nothing: list[float | None] = [None] * (len(prompt) + 1)
    masked = [False] * (len(prompt) + 1)
    segment = Segment([*prompt, end_id], len(prompt), masked, masked, nothing, [], Finish.ERROR)
    trajectory = Trajectory(
        uid=f"{task.group}/{task.repetition}",
        group_id=task.group,
        repetition=task.repetition,
        question=task.question,
        segments=[segment],
        calls=[],
        sampling=sampling,
        stop_reason=StopReason.ERROR,
        step=task.step,
        reward=0.0,
        tokenizer_id=tokenizer_id,
        error=error,
    )
    _, components = Rubric.of(recipe.reward).score(trajectory)
    return replace(trajectory, components=components)


def _extra_fields(trajectory: Trajectory) -> dict[str, Any]:
    """What goes along with a trajectory; the same names for all, failed ones too."""
    components = {name: float(value) for name, value in trajectory.components.items()}
    failed = trajectory.error is not None
    return {
        "trajectory": trajectory.uid,
        "stop_reason": str(trajectory.stop_reason),
        "error": trajectory.error or "",
        "calls": len(trajectory.calls),
        # verl reports the means of these, and reads them where several outputs share a reward.
        "reward_extra_info": {**components, "failed": float(failed)},
        "turn_scores": [],
        "tool_rewards": [],
    }
