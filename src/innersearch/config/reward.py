"""What trajectories are worth, and which of their tokens are trained on.

A reward is a list of terms, as tables in a recipe or as one line on the command line:

    >>> read_reward("0.9*em + 0.1*format:strict")
    [{'measure': 'em', 'weight': 0.9}, {'measure': 'format:strict', 'weight': 0.1}]
    >>> read_reward("f1_set + gate(one_action) + otherwise(not_refused, -0.5)")[2]
    {'measure': 'not_refused', 'role': 'otherwise', 'value': -0.5}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from innersearch.config.base import Settings

Role = Literal["add", "gate", "otherwise", "floor"]

_NAME = r"[A-Za-z_](?:[\w.:/@-]*\w)?"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_TERM = re.compile(
    rf"\s*(?P<sign>[+-])?\s*(?:"
    rf"gate\(\s*(?P<gate>{_NAME})\s*\)"
    rf"|otherwise\(\s*(?P<otherwise>{_NAME})\s*,\s*(?P<value>{_NUMBER})\s*\)"
    rf"|floor\(\s*(?P<floor>{_NUMBER})\s*\)"
    rf"|(?:(?P<weight>{_NUMBER})\s*\*\s*)?(?P<add>{_NAME}))\s*",
    re.IGNORECASE,
)


class TermSettings(Settings):
    """One term of a reward: what is measured, and what becomes of it."""

    measure: str = ""
    """Its name, such as em, f1 or format:strict; not:NAME is 1 minus it. A floor has none."""
    weight: float = 1.0
    """What an added measure is multiplied by; below 0 it is a penalty."""
    role: Role = "add"
    """add: weighed, into the sum. gate: the sum is multiplied by it. otherwise: where it is 0, `value`
    replaces the reward, the first such term counting. floor: the sum is at least `value`."""
    value: float = 0.0
    """Of otherwise and of floor."""

    def __str__(self) -> str:
        """As it stands in a line."""
        return written([self])

    @model_validator(mode="after")
    def _is_complete(self) -> TermSettings:
        if bool(self.measure) == (self.role == "floor"):
            raise ValueError(
                "a floor takes a value and no measure" if self.measure else "a term needs a measure"
            )
        return self


def read_reward(given: object) -> object:
    """Terms as tables from however they were given: tables, a line, or lines of the command line.

    Raises:
        ValueError: It is one table, or a line that cannot be read.
    """
    if isinstance(given, Mapping):
        raise ValueError(
            'a reward is a list of terms: write reward = "0.9*em + 0.1*format:strict", '
            "or [[reward]] tables"
        )
    if isinstance(given, str):
        return _parsed(given)
    if isinstance(given, list | tuple) and given and all(isinstance(part, str) for part in given):
        return [term for part in given for term in _parsed(part)]
    return given


def _parsed(line: str) -> list[dict[str, Any]]:
    terms: list[dict[str, Any]] = []
    at = 0
    while at < len(line):
        found = _TERM.match(line, at)
        if found is None or (terms and not found["sign"]):
            raise ValueError(
                f"{line[at:].strip()[:40]!r} is no term: write for example 0.9*em + 0.1*format:strict, "
                "with spaces around + and -; gate(NAME), otherwise(NAME, VALUE) and floor(VALUE) are "
                "terms too"
            )
        terms.append(_term(found))
        at = found.end()
    if not terms:
        raise ValueError("a reward needs a term, for example 0.9*em + 0.1*format:strict")
    return terms


def _term(found: re.Match[str]) -> dict[str, Any]:
    if found["sign"] == "-" and not found["add"]:
        raise ValueError(
            f"{found[0].strip()!r} is no term: a minus goes with a measure that is added, as in - 0.1*em"
        )
    if found["gate"]:
        return {"measure": found["gate"], "role": "gate"}
    if found["otherwise"]:
        value = float(found["value"])
        return {"measure": found["otherwise"], "role": "otherwise", "value": value}
    if found["floor"]:
        return {"role": "floor", "value": float(found["floor"])}
    weight = float(found["weight"] or 1.0) * (-1.0 if found["sign"] == "-" else 1.0)
    return {"measure": found["add"]} | ({"weight": weight} if weight != 1.0 else {})


def written(terms: Iterable[TermSettings | Mapping[str, Any]]) -> str:
    """Terms as one line, which `read_reward` reads as the same terms.

    >>> written([TermSettings(measure="em", weight=0.9), TermSettings(measure="f1", weight=-2.0)])
    '0.9*em - 2.0*f1'
    """
    line = ""
    for given in terms:
        term = given if isinstance(given, TermSettings) else TermSettings.model_validate(given)
        sign = "-" if term.role == "add" and term.weight < 0 else "+"
        line += f" {sign} {_written(term)}" if line else ("-" * (sign == "-")) + _written(term)
    return line


def _written(term: TermSettings) -> str:
    if term.role == "floor":
        return f"floor({term.value!r})"
    if term.role == "otherwise":
        return f"otherwise({term.measure}, {term.value!r})"
    if term.role == "gate":
        return f"gate({term.measure})"
    return term.measure if abs(term.weight) == 1.0 else f"{abs(term.weight)!r}*{term.measure}"


Reward = Annotated[tuple[TermSettings, ...], BeforeValidator(read_reward), Field(min_length=1)]

SSRL: Reward = (
    TermSettings(measure="em", weight=0.9),
    TermSettings(measure="format:strict", weight=0.1),
)
"""R = 0.9·EM + 0.1·F (naive.py 473 of the released SSRL code)."""


class MaskSettings(Settings):
    """Which tokens carry no loss."""

    information: bool = True
    """Mask the content and the closing tag of self-written information."""
    opening_tag: bool = False
    """Mask the opening tag too, as the released code does."""
