"""What trainers take of a trajectory: one sample per segment, by the same mapping for all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from innersearch.types import Segment, Trajectory


@dataclass(frozen=True, slots=True)
class Sample:
    """A segment, cut into what the policy was given and what followed.

    `loss_mask`, `logprobs` and `versions` have one entry per token of the completion.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    loss_mask: list[int]
    """1 where a token is trained on, else 0."""
    logprobs: list[float]
    """Natural log of the probability under which a token was sampled; 0 where none was."""
    versions: list[int]
    """The step whose weights sampled a token; that of the trajectory where none did."""
    reward: float | None
    """That of the trajectory."""

    @property
    def trained(self) -> int:
        """How many tokens carry loss."""
        return sum(self.loss_mask)


def samples(trajectory: Trajectory) -> list[Sample]:
    """One sample per segment, in their order."""
    return [_sample(segment, trajectory) for segment in trajectory.segments]


def trained_samples(trajectory: Trajectory) -> list[Sample]:
    """The samples with something to train; the last one where there is none."""
    every = samples(trajectory)
    return [sample for sample in every if sample.trained] or every[-1:]


def mixed(trajectories: Sequence[Trajectory]) -> list[bool]:
    """Of each trajectory, whether the rewards of its group differ."""
    rewards: dict[str, set[float | None]] = {}
    for trajectory in trajectories:
        rewards.setdefault(trajectory.group_id, set()).add(trajectory.reward)
    return [len(rewards[trajectory.group_id]) > 1 for trajectory in trajectories]


def without_failed(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The same, where what ended by a failure teaches nothing: none of its tokens is trained on, and its
    reward is the mean of its group's others, so that it moves no baseline.
    """
    if not any(trajectory.stop_reason.failed for trajectory in trajectories):
        return list(trajectories)
    others: dict[str, list[float]] = {}
    for one in trajectories:
        if not one.stop_reason.failed:
            others.setdefault(one.group_id, []).append(one.reward or 0.0)
    means = {group: statistics.fmean(rewards) for group, rewards in others.items()}
    return [
        _untrained(one, means.get(one.group_id, 0.0)) if one.stop_reason.failed else one
        for one in trajectories
    ]


def _untrained(trajectory: Trajectory, reward: float) -> Trajectory:
    segments = [replace(s, loss_mask=[False] * len(s.token_ids)) for s in trajectory.segments]
    return replace(trajectory, segments=segments, reward=reward)


def _sample(segment: Segment, trajectory: Trajectory) -> Sample:
    start = segment.prompt_len
    return Sample(
        prompt_ids=segment.token_ids[:start],
        completion_ids=segment.token_ids[start:],
        loss_mask=[int(loss) for loss in segment.loss_mask[start:]],
        logprobs=[value or 0.0 for value in segment.logprobs[start:]],
        versions=_versions(segment, trajectory.step)[start:],
        reward=trajectory.reward,
    )


def _versions(segment: Segment, step: int) -> list[int]:
    told = segment.versions or [None] * len(segment.token_ids)
    return [step if version is None else version for version in told]
