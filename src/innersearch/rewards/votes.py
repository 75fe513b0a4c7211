"""Test-time RL (TTRL, arXiv 2504.16084): the majority of a group's answers stands in for the gold one.

The rules, which the published code leaves to its answer extractor:

* A trajectory votes with its last closed answer, normalised as for exact match. No answer, or one that
  normalises to nothing, is no vote and agrees with nobody.
* The label is the answer with most votes; of equals the one that was seen first, by repetition.
* The measure is 1 for a trajectory whose vote is the label and 0 for the others. A group without any
  vote has no label, and 0 for everybody.

Gold answers are not read here. What they say, `em` and `f1`, stays in the components, to be watched.
"""

from __future__ import annotations

from collections.abc import Sequence

from innersearch.metrics import majority, vote
from innersearch.rewards.terms import MEASURES
from innersearch.types import Trajectory

MAJORITY = "majority"
VOTE = "vote"
"""The component: 1.0 for a trajectory that agrees with its group's label, else 0.0."""


def label_of(answers: Sequence[str | None]) -> str | None:
    """The normalised answer with most votes, or None if nobody voted.

    >>> label_of(["Paris.", "Rome", None, "paris", "the"]), label_of(["Rome", "Paris"]), label_of([None])
    ('paris', 'rome', None)
    """
    return vote(majority(answers))


class Majority:
    """Agreement with the majority, a measure of groups."""

    name, needs_gold = MAJORITY, False

    def of_group(self, group: Sequence[Trajectory], /) -> list[float]:
        """1.0 for each that votes for the label."""
        label = label_of([trajectory.answer for trajectory in group])
        return [float(label is not None and vote(one.answer) == label) for one in group]


MEASURES[MAJORITY] = Majority()
