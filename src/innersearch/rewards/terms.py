"""What a reward and an evaluation are made of: measures by name, and the terms that weigh them.

A measure is a function of a `Scored` trajectory: it reads what the policy wrote, the calls, and the
gold answers, and no document. It is found by its name here, or under the entry points
`innersearch.measures` of any installed package; a plain function can stand in a `Term` itself.

    >>> Term("0.5").measure
    Traceback (most recent call last):
    innersearch.errors.ConfigError: unknown measure '0.5'; known: answered, balanced, cover_em, ...
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from innersearch.config.reward import Role
from innersearch.errors import ConfigError
from innersearch.extensions import Offers
from innersearch.rewards.scored import Scored
from innersearch.types import Trajectory


class Measure(Protocol):
    """What a trajectory is worth in one respect; any function of that shape is one.

    `name` and `needs_gold` may be left out: then it has the name of the function, and questions must
    have gold answers.
    """

    def __call__(self, scored: Scored, /) -> float:
        """A finite number."""
        ...


@runtime_checkable
class GroupMeasure(Protocol):
    """A measure that is known once all trajectories of one question are there."""

    def of_group(self, group: Sequence[Trajectory], /) -> Sequence[float]:
        """A number for each, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """A measure of ours, under its name."""

    name: str
    of: Callable[[Scored], float]
    needs_gold: bool = False
    """Whether it says nothing of questions without gold answers."""

    def __call__(self, scored: Scored, /) -> float:
        """What it says of a trajectory."""
        return self.of(scored)


MEASURES: dict[str, Measure | GroupMeasure] = {}
"""Those of this package, by name."""

OFFERS: Offers[object] = Offers("innersearch.measures", object, "measure", MEASURES)
"""Those and what other packages offer."""


def measure(
    name: str, *, needs_gold: bool = False
) -> Callable[[Callable[[Scored], float]], Callable[[Scored], float]]:
    """Enter the function below under a name."""

    def enter(of: Callable[[Scored], float]) -> Callable[[Scored], float]:
        MEASURES[name] = Named(name, of, needs_gold)
        return of

    return enter


def find_measure(name: str) -> Measure | GroupMeasure:
    """The measure of a name; `not:NAME` is 1 minus NAME.

    Raises:
        ConfigError: There is none.
    """
    if name.startswith("not:"):
        other = find_measure(name.removeprefix("not:"))
        if isinstance(other, GroupMeasure):
            raise ConfigError(f"{name!r} is no measure: that of a group cannot be turned round")
        return Named(name, lambda scored: 1.0 - other(scored), needs_gold(other))
    if name.startswith("judge:"):
        raise ConfigError(
            f"{name!r} is no measure of rewards: judges score finished evaluations, with --metrics"
        )
    found = OFFERS.get(name)
    if isinstance(found, GroupMeasure):
        return found
    if not callable(found):
        raise ConfigError(
            f"the measure {name!r} is of type {type(found).__name__}: its package must offer a function "
            "of a Scored trajectory"
        )
    return found if isinstance(found, Named) else Named(name, found, needs_gold(found))


def known() -> list[str]:
    """The names of all measures."""
    return sorted(OFFERS.names())


def name_of(measure: Measure | GroupMeasure) -> str:
    """Under which name a measure is reported."""
    return str(getattr(measure, "name", None) or getattr(measure, "__name__", type(measure).__name__))


def needs_gold(measure: object) -> bool:
    """Whether it says nothing of questions without gold answers; of one that does not say, yes."""
    return bool(getattr(measure, "needs_gold", True))


def explained(measure: object) -> str:
    """What a measure says of a trajectory: the first paragraph of its docstring, if it has one."""
    said = inspect.getdoc(measure.of if isinstance(measure, Named) else measure) or ""
    return " ".join(said.partition("\n\n")[0].split())


class Term:
    """A measure and what becomes of it in a reward; see `innersearch.config.TermSettings`.

    It is reported under `name`, by default that of the measure.

    Raises:
        ConfigError: There is no measure of that name, or it is none, or a number is none.
    """

    __slots__ = ("measure", "name", "role", "value", "weight")

    def __init__(
        self,
        measure: str | Measure | GroupMeasure,
        weight: float = 1.0,
        role: Role = "add",
        value: float = 0.0,
        name: str = "",
    ) -> None:
        self.measure = find_measure(measure) if isinstance(measure, str) else measure
        self.name = name or (measure if isinstance(measure, str) else name_of(measure))
        self.weight, self.role, self.value = weight, role, value
        self._demand_sense()

    def _demand_sense(self) -> None:
        measure = self.measure
        if isinstance(measure, type) or not (isinstance(measure, GroupMeasure) or callable(measure)):
            raise ConfigError(
                f"{measure!r} is no measure: give a name, a function of a Scored trajectory, or an "
                "object with of_group"
            )
        if self.role not in ("add", "gate", "otherwise"):
            raise ConfigError(
                f"{self.name}: a term has the role add, gate or otherwise, given {self.role!r}; a floor "
                "is given to the Rubric"
            )
        for what in ("weight", "value"):
            number = getattr(self, what)
            if not isinstance(number, int | float) or not math.isfinite(number):
                raise ConfigError(f"{self.name}: the {what} is a finite number, given {number!r}")

    def __repr__(self) -> str:
        return f"Term({self.name!r}, {self.weight}, {self.role!r}, {self.value})"
