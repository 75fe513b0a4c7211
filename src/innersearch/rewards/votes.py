"""Test-time RL (TTRL, arXiv 2504.16084): the majority of a group's answers stands in for the gold one.

The rules, which the published code leaves to its answer extractor:

* A trajectory votes with its last closed answer, normalised as for exact match. No answer, or one that
  normalises to nothing, is no vote and agrees with nobody.
* The label is the answer with most votes; of equals the one that was seen first, by repetition.
* The answer's part of the reward is 1 for a trajectory whose vote is the label and 0 for the others. A
  group without any vote has no label, and 0 for everybody.

Gold answers are not read here. What they say, `em` and `f1`, stays in the components, to be watched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from innersearch.config import RewardSettings
from innersearch.metrics import majority, vote
from innersearch.types import Trajectory

VOTE = "vote"
"""The component: 1.0 for a trajectory that agrees with its group's label, else 0.0."""


def label_of(answers: Sequence[str | None]) -> str | None:
    """The normalised answer with most votes, or None if nobody voted.

    >>> label_of(["Paris.", "Rome", None, "paris", "the"]), label_of(["Rome", "Paris"]), label_of([None])
    ('paris', 'rome', None)
    """
    return vote(majority(answers))


def settle(trajectories: Sequence[Trajectory], settings: RewardSettings) -> list[Trajectory]:
    """The trajectories of whole groups, one after another, rewarded for agreement with their label."""
    settled: list[Trajectory] = []
    for _, members in groupby(trajectories, key=lambda trajectory: trajectory.group_id):
        group = list(members)
        label = label_of([trajectory.answer for trajectory in group])
        settled += [_judged(trajectory, label, settings) for trajectory in group]
    return settled


def _judged(trajectory: Trajectory, label: str | None, settings: RewardSettings) -> Trajectory:
    agrees = float(label is not None and vote(trajectory.answer) == label)
    reward = (trajectory.reward or 0.0) + (1 - settings.format_weight) * agrees
    return replace(trajectory, reward=reward, components=trajectory.components | {VOTE: agrees})
