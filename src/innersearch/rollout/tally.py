"""What failed in a run so far, and when it is too much."""

from __future__ import annotations

from dataclasses import dataclass

from innersearch.errors import PolicyError, SearchError
from innersearch.search.base import SearchResult

_TALLY_FLOOR = 20
"""Searches, or trajectories, before the share of failed ones is judged."""
_MOST_REFUSED, _MOST_OF_FEW = 0.2, 0.5
"""Share of trajectories that a policy may refuse to write, and of fewer than those."""


@dataclass
class Tally:
    """Searches and trajectories of a run, and how many of them failed."""

    calls: int = 0
    failures: int = 0
    """Partly failed ones included: they are not what the engine finds either."""
    last_error: str | None = None
    trajectories: int = 0
    refused: int = 0
    last_refusal: str | None = None

    def add(self, result: SearchResult, limit: float) -> None:
        """Count a result.

        Raises:
            SearchError: More than `limit` of all searches failed, wholly or in part, or the budget is
                used up.
        """
        self.calls += 1
        error = result.error or result.partial
        self.failures += error is not None
        self.last_error = error or self.last_error
        if result.used_up:
            raise SearchError(f"{error}; what is written stays, and --resume goes on from it")
        if self.calls >= _TALLY_FLOOR and self.failures > limit * self.calls:
            raise SearchError(
                f"{self.failures} of {self.calls} searches failed, more than max_error_rate = {limit}; "
                f"the last one: {self.last_error}; what is written stays, and --resume goes on from it"
            )

    def end(self, error: str | None) -> None:
        """Count a trajectory that ended, and whether the policy refused to go on.

        Raises:
            PolicyError: It refused too many.
        """
        self.trajectories += 1
        self.refused += error is not None
        self.last_refusal = error or self.last_refusal
        if self.trajectories >= _TALLY_FLOOR:
            self.judge()

    def judge(self) -> None:
        """Find out whether a policy wrote enough to be measured.

        Raises:
            PolicyError: It refused too many.
        """
        most = _MOST_REFUSED if self.trajectories >= _TALLY_FLOOR else _MOST_OF_FEW
        if self.refused > most * self.trajectories:
            raise PolicyError(
                f"the policy refused {self.refused} of {self.trajectories} trajectories; the last "
                f"reason: {self.last_refusal}; what is written stays, and --resume asks again for "
                "those that were refused"
            )
