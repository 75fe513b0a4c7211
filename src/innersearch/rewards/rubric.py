"""A reward as a list of terms: the sum of what is added, times the gates, replaced by the first
`otherwise` whose measure is 0, and never below the floor.

`em`, `f1` and `format` are reported with every reward, whatever it is made of, since monitors, the
collapse guard and reports read them; `format` is the first format term of the reward, else the strict
one. Any other term is reported under its own name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType

from pydantic import TypeAdapter, ValidationError

from innersearch.config.reward import Reward, TermSettings
from innersearch.errors import ConfigError, InnersearchError, RunError
from innersearch.grammar import TAGS, Grammar
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import GroupMeasure, Measure, Named, Term, find_measure, needs_gold
from innersearch.rewards.votes import MAJORITY, VOTE
from innersearch.types import Trajectory

Components = dict[str, float]
_TERMS: TypeAdapter[tuple[TermSettings, ...]] = TypeAdapter(Reward)

_FORMAT = "format"
_BY_GOLD = ("em", "f1")
"""Reported of every question that has gold answers."""


class Rubric:
    """What trajectories are worth.

    Args:
        terms: What is measured. Group measures count once `settle` sees whole groups.
        floor: The least sum; None for no limit.
        grammar: How policies write.

    Raises:
        ConfigError: Two different measures have the same name, or the floor is no number.
    """

    def __init__(
        self, terms: Iterable[Term], floor: float | None = None, grammar: Grammar = TAGS
    ) -> None:
        # What is known of each trajectory comes first, so that settling a group only adds to it.
        self.terms = sorted(terms, key=lambda term: isinstance(term.measure, GroupMeasure))
        self.floor, self.grammar = floor, grammar
        shape = next((t.name for t in self.terms if t.name.startswith(f"{_FORMAT}:")), "format:strict")
        self._reported = {shape: _FORMAT, MAJORITY: VOTE}
        self._demand_names()
        if floor is not None and not math.isfinite(floor):
            raise ConfigError(f"the floor of a reward is a finite number, given {floor}")
        self._measured = self._measures(shape)

    def _demand_names(self) -> None:
        named: dict[str, Term] = {}
        for term in self.terms:
            other = named.setdefault(self.reported(term.name), term)
            # Terms of the same spelling measure the same, however often it is looked up.
            looked_up = isinstance(term.measure, Named) and isinstance(other.measure, Named)
            if other.measure is not term.measure and not (looked_up and other.name == term.name):
                raise ConfigError(
                    f"two measures of this reward are reported as {self.reported(term.name)!r}, "
                    f"{other.measure!r} and {term.measure!r}: give each a name of its own"
                )

    @classmethod
    def of(
        cls,
        reward: Iterable[TermSettings],
        grammar: Grammar = TAGS,
        measures: Mapping[str, Measure | GroupMeasure] = MappingProxyType({}),
    ) -> Rubric:
        """The rubric of a recipe; its names are looked up in `measures` first.

        Raises:
            ConfigError: There is no measure of some name.
        """
        settings = list(reward)
        floors = [term.value for term in settings if term.role == "floor"]
        terms = [
            Term(measures.get(t.measure, t.measure), t.weight, t.role, t.value, t.measure)
            for t in settings
            if t.role != "floor"
        ]
        return cls(terms, max(floors, default=None), grammar)

    @classmethod
    def read(cls, line: str, grammar: Grammar = TAGS) -> Rubric:
        """The rubric of a line such as `0.9*em + 0.1*format:strict`.

        Raises:
            ConfigError: It cannot be read, or there is no measure of some name.
        """
        try:
            return cls.of(_TERMS.validate_python(line), grammar)
        except ValidationError as error:
            raise ConfigError(
                f"reward: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
            ) from error

    def written_in(self, grammar: Grammar) -> Rubric:
        """The same for policies that write so."""
        found = copy(self)
        found.grammar = grammar
        return found

    def _measures(self, shape: str) -> dict[str, Measure]:
        """What is measured of each trajectory, under the names it is reported by."""
        found: dict[str, Measure] = {}
        named = [(name, find_measure(name)) for name in (*_BY_GOLD, shape)]
        for name, measure in [*named, *((term.name, term.measure) for term in self.terms)]:
            if not isinstance(measure, GroupMeasure):
                found[self.reported(name)] = measure
        return found

    def reported(self, name: str) -> str:
        """Under which name a measure stands in the components of a trajectory."""
        return self._reported.get(name, name)

    @property
    def needs_gold(self) -> bool:
        """Whether questions without gold answers can teach nothing by it."""
        return any(needs_gold(term.measure) for term in self.terms)

    @property
    def needs_groups(self) -> bool:
        """Whether only whole groups can be rewarded."""
        return any(isinstance(term.measure, GroupMeasure) for term in self.terms)

    def score(self, trajectory: Trajectory) -> tuple[float, Components]:
        """The reward and its named components; what depends on the group is not in it yet.

        Raises:
            RunError: A measure fails, or says no finite number.
        """
        scored = Scored(trajectory, self.grammar)
        left_out = () if scored.golds else _BY_GOLD
        components: Components = {}
        for name, of in self._measured.items():
            if name not in left_out:
                with _blamed(name):
                    components[name] = _number(name, of(scored))
        return self.reward(components), components

    def settle(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Whole groups, one after another, with what depends on the group in their rewards.

        Raises:
            RunError: A measure fails, or says no finite number for each.
        """
        if not self.needs_groups:
            return list(trajectories)
        groups = groupby(trajectories, key=lambda trajectory: trajectory.group_id)
        return [settled for _, members in groups for settled in self._settled(list(members))]

    def _settled(self, group: list[Trajectory]) -> list[Trajectory]:
        components = [dict(trajectory.components) for trajectory in group]
        for term in self.terms:
            if isinstance(term.measure, GroupMeasure):
                with _blamed(name := self.reported(term.name)):
                    values = [_number(name, value) for value in term.measure.of_group(group)]
                    for found, value in zip(components, values, strict=True):
                        found[name] = value
        pairs = zip(group, components, strict=True)
        return [replace(one, reward=self.reward(found), components=found) for one, found in pairs]

    def reward(self, components: Mapping[str, float]) -> float:
        """The reward by its components. A term that is not among them, for it waits for its group, adds
        nothing and decides nothing.
        """
        known = [(t, components[n]) for t in self.terms if (n := self.reported(t.name)) in components]
        for term, measured in known:
            if term.role == "otherwise" and not measured:
                return term.value
        total = 0.0
        for term, measured in known:
            total += term.weight * measured if term.role == "add" else 0.0
        for term, measured in known:
            total *= measured if term.role == "gate" else 1.0
        return total if self.floor is None else max(self.floor, total)


@contextmanager
def _blamed(name: str) -> Iterator[None]:
    """What goes wrong inside is told as the fault of a measure, which is code of others."""
    try:
        yield
    except InnersearchError:
        raise
    except Exception as error:
        raise RunError(
            f"the measure {name!r} failed with {type(error).__name__}: {error}; mend it"
        ) from error


def _number(name: str, value: float) -> float:
    """What a measure says, if it can be averaged into anything."""
    number = float(value)
    if not math.isfinite(number):
        raise RunError(f"a reward is a finite number, given {name} = {number}: mend the reward function")
    return number
