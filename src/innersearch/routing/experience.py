"""What an agent finds out in use about its own memory: which kinds of queries it is out of date on.

A gate knows doubt, not staleness: a fact that changed after training is remembered without any doubt.
But where a policy that is sure writes first and an engine is asked all the same, the two can be held
against each other. `Experience` counts those checks, and how many ended in a contradiction, per kind of
query. No gold answer is needed and no gradient.

The share of contradictions of a kind has a Beta posterior. Its prior is undecided: one contradiction in
as many checks as `tolerance` allows. Kinds that share words lend each other their counts, by how many
they share (`innersearch.routing.kinds.alike`). Old checks fade once a kind has many, so that a later
change is noticed.

    >>> experience = Experience()
    >>> for n in range(12):
    ...     experience.add("employer", contradicted=n % 2 == 0)
    ...     experience.add("birthplace", contradicted=False)
    >>> [round(experience.distrust(kind, 0.2), 2) for kind in ("employer", "birthplace", "mayor")]
    [0.97, 0.03, 0.41]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from innersearch.errors import InnersearchError, RunError
from innersearch.records import write_json
from innersearch.routing.kinds import alike
from innersearch.stored import read_object

EXPERIENCE = "experience.json"
_REMEMBERED = 60.0
"""Checks of one kind, after which those before begin to fade."""
_Amount = Annotated[float, Field(ge=0)]


class _Kind(TypedDict):
    checks: _Amount
    contradicted: _Amount


class _Stored(TypedDict):
    """What experience.json holds."""

    version: Annotated[int, Field(ge=1, le=1)]
    questions: Annotated[int, Field(ge=0)]
    kinds: dict[str, _Kind]


@dataclass
class Experience:
    """Checks, and those that ended in a contradiction, per kind of query."""

    questions: int = 0
    """Trajectories that it was made from."""
    kinds: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Kind → checks and contradictions, as far as they are remembered."""

    def add(self, kind: str, *, contradicted: bool) -> None:
        """Count a check."""
        checks, bad = self.kinds.get(kind, (0.0, 0.0))
        fading = min(1.0, _REMEMBERED / (checks + 1))
        self.kinds[kind] = ((checks + 1) * fading, (bad + contradicted) * fading)

    def checks(self, kind: str) -> float:
        """Checks that say something about a kind, its own and those of kinds like it."""
        return sum(alike(kind, other) * found[0] for other, found in self.kinds.items())

    def distrust(self, kind: str, tolerance: float) -> float:
        """How likely more than `tolerance` of what is remembered of a kind would be contradicted."""
        from scipy.special import betainc

        near = [(alike(kind, other), *found) for other, found in self.kinds.items()]
        bad = sum(share * contradicted for share, _, contradicted in near)
        good = sum(share * (checks - contradicted) for share, checks, contradicted in near)
        # One contradiction in 1 / tolerance checks: undecided.
        return 1.0 - float(betainc(1.0 + bad, 1.0 / tolerance - 1.0 + good, tolerance))

    def copy(self) -> Experience:
        """One that goes its own way."""
        return Experience(self.questions, dict(self.kinds))

    def record(self) -> dict[str, Any]:
        """As experience.json has it, kinds with most contradictions first."""
        order = sorted(self.kinds.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))
        kinds = {
            kind: {"checks": round(checks, 6), "contradicted": round(bad, 6)}
            for kind, (checks, bad) in order
        }
        return {"version": 1, "questions": self.questions, "kinds": kinds}

    def save(self, file: Path) -> None:
        """Write it, atomically."""
        write_json(file, self.record())


def load_experience(file: Path) -> Experience:
    """What `Experience.save` wrote.

    Raises:
        RunError: There is none, or it is damaged, or newer than this code.
    """
    if not file.is_file():
        raise RunError(f"no experience at {file}: `--search learning` makes one, in the run's directory")
    try:
        stored: Mapping[str, Any] = read_object(file, _Stored)
    except InnersearchError as error:
        raise RunError(f"{file} holds no experience ({error}): delete it, or give another") from error
    kinds = {kind: (found["checks"], found["contradicted"]) for kind, found in stored["kinds"].items()}
    if any(bad > checks for checks, bad in kinds.values()):
        raise RunError(f"{file} holds no experience (more contradictions than checks): delete it")
    return Experience(stored["questions"], kinds)
