"""The claims and their tests, as they were written down before any run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from benchmarks.evidence.plan import Part, Plan, read_toml, shown
from benchmarks.evidence.stored import GREEDY, KNOWN
from pydantic import model_validator

from innersearch.errors import ConfigError

_TERM = re.compile(r"([+-]?\d*\.?\d+) (\S+) (\S+)(?: of (\S+))?(?: by (\S+))?")
SELF = "self"
"""The evaluation that is meant where none is named."""


@dataclass(frozen=True)
class Term:
    """A weighted mean: `-1 start greedy of depth_2 by engine`."""

    weight: float
    row: str
    measure: str
    questions: str
    evaluation: str

    @classmethod
    def read(cls, text: str) -> Self:
        """One from its text.

        Raises:
            ValueError: It is written otherwise.
        """
        found = _TERM.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is no term: write WEIGHT ROW MEASURE [of SET] [by EVALUATION]")
        weight, row, measure, questions, evaluation = found.groups()
        return cls(float(weight), row, measure, questions or "all", evaluation or SELF)


class QuestionSet(Part):
    """Questions by their fields."""

    name: str
    title: str
    where: Mapping[str, tuple[Any, ...]] = {}


class Claim(Part):
    """A claim with its test."""

    name: str
    short: str
    """For a list."""
    claim: str
    """In words."""
    expect: str
    """What whoever wrote it thought would come out."""
    statistic: Literal["mean", "rank correlation"] = "mean"
    """The weighted sum of means, or of the rank correlations of the measure with depth."""
    terms: tuple[str, ...]
    holds: Literal["above", "below", "within"]
    """Supported if the sum is above the margin, below it, or between it and its opposite."""
    margin: float
    """In points for shares, else in the unit of the measure."""
    each_world: bool = False
    """Whether it must hold in each world by itself."""

    @model_validator(mode="after")
    def _is_a_test(self) -> Self:
        if not self.terms:
            raise ValueError(f"claim {self.name} has no test: give terms")
        if self.holds == "within" and self.margin <= 0:
            raise ValueError(f"claim {self.name}: within needs a margin above 0")
        _ = self.parsed
        return self

    @property
    def parsed(self) -> list[Term]:
        """The terms."""
        return [Term.read(text) for text in self.terms]

    @property
    def in_points(self) -> bool:
        """Whether its values are shares, which are shown in per cent."""
        return self.statistic == "mean" and all(_is_share(term.measure) for term in self.parsed)

    def sentence(self) -> str:
        """The test in words."""
        sign = "−" if self.margin < 0 else ""
        unit = " points" if self.in_points else ""
        bound = f"{sign}{abs(self.margin):g}{unit}"
        held = {"above": f"above {bound}", "below": f"below {bound}", "within": f"within ±{bound}"}
        what = "rank correlation with depth of " if self.statistic != "mean" else ""
        return f"{what}{_joined(self.terms)} {held[self.holds]}" + ", in each world" * self.each_world


def _joined(terms: Sequence[str]) -> str:
    parts = [re.sub(r"^([+-]?)1 ", r"\1", term).lstrip("+") for term in terms]
    text = parts[0]
    for part in parts[1:]:
        text += f" − {part[1:]}" if part.startswith("-") else f" + {part}"
    return text.replace("_", " ")


def _is_share(measure: str) -> bool:
    return measure in ("greedy", "format") or measure.startswith(("pass@", "maj@", KNOWN))


class Claims(Part):
    """All of them, and the sets of questions that they and the tables name."""

    level: float
    """Of any false verdict at all, by Holm."""
    set: tuple[QuestionSet, ...]
    claim: tuple[Claim, ...]

    @model_validator(mode="after")
    def _names_are_known_and_single(self) -> Self:
        for parts in (self.set, self.claim):
            names = [part.name for part in parts]
            if len(set(names)) < len(names):
                raise ValueError(f"a name stands twice among {', '.join(names)}")
        sets = {part.name for part in self.set}
        for claim in self.claim:
            for term in claim.parsed:
                if term.questions not in sets:
                    raise ValueError(f"claim {claim.name}: no set of questions {term.questions!r}")
                measure = term.measure
                if measure not in GREEDY and not re.fullmatch(r"(pass|maj)@\d+|known:\S+", measure):
                    raise ValueError(f"claim {claim.name}: no measure {measure!r}")
        return self

    def questions(self, name: str) -> QuestionSet:
        """A set by its name."""
        return next(part for part in self.set if part.name == name)


def read_claims(path: Path) -> Claims:
    """The claims in a file.

    Raises:
        ConfigError: It holds none, or one without a test; what is wrong stands in one line.
    """
    return read_toml(path, Claims)


def claim_tests(claims: Claims) -> dict[str, str]:
    """A fingerprint of what decides each claim, questions included, and not of the words."""
    tests = {}
    for claim in claims.claim:
        parts = claim.model_dump(include={"statistic", "terms", "holds", "margin", "each_world"})
        parts["sets"] = [claims.questions(term.questions).where for term in claim.parsed]
        text = json.dumps(parts, sort_keys=True, default=list)
        tests[claim.name] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return tests


def demand_claims(plan: Plan, claims: Claims) -> None:
    """Refuse claims about rows or evaluations that the plan does not have, and rows without a claim.

    Raises:
        ConfigError: There are such.
    """
    rows = {row.name: row for row in plan.row}
    used = set()
    for claim in claims.claim:
        for term in claim.parsed:
            if term.row not in rows:
                raise ConfigError(f"claim {claim.name}: the plan has no row {term.row!r}")
            if term.evaluation not in rows[term.row].evaluations and not term.measure.startswith(KNOWN):
                raise ConfigError(
                    f"claim {claim.name}: row {term.row} has no evaluation {term.evaluation!r}"
                )
            used.add(term.row)
    if unused := rows.keys() - used:
        names = ", ".join(sorted(unused))
        raise ConfigError(
            f"no claim is about {names}: write its test into {shown(plan.claims)} before it runs"
        )
