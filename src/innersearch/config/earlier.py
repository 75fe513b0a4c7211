"""What earlier versions called keys of recipes and options of `train`, and what is written today.

Recipes and command lines with an old name are refused, and told the new one. The recipe.json of a run
that an earlier version began is read under the names of today.

    >>> of_today({"trainer": {"engine": "verl", "steps": 3}})
    {'trainer': {'kind': 'verl', 'steps': 3}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from innersearch.config.reward import TermSettings, written
from innersearch.errors import ConfigError

Table = Mapping[str, Any]
"""A table of a recipe, or as much of it as is known."""


class Renamed(NamedTuple):
    """Keys of one table of recipes that are spelled in another way today."""

    table: str
    keys: tuple[str, ...]
    today: Callable[[Table], Any]
    """The whole table as it is written today; raises a ValueError or TypeError if it makes no sense."""
    in_recipe: Callable[[Table], str]
    """What to say of the old keys in a recipe."""
    as_option: Callable[[Table], str]
    """What to say of them as options."""
    options: Mapping[str, str] = MappingProxyType({})
    """Further options that stood for a key."""

    def key(self, option: str) -> str | None:
        """The old key that an option stands for; None for an option of today."""
        name = option.removeprefix(f"--{self.table}.").replace("-", "_")
        own = name if option.startswith(f"--{self.table}.") and name in self.keys else None
        return self.options.get(option, own)


def terms_of(given: Table) -> list[dict[str, Any]]:
    """The terms that mean what the keys of a reward meant, to the last bit.

    >>> written(terms_of({"answer": "f1", "format_weight": 0.0, "no_search_penalty": 0.1}))
    'f1 - 0.1*not:searched'
    """
    weight = float(given.get("format_weight", 0.1))
    shape = given.get("format", "strict")
    terms = [{"measure": given.get("answer", "em"), "weight": 1 - weight}]
    if weight or shape != "strict":
        terms.append({"measure": f"format:{shape}", "weight": weight})
    for what in ("answer", "search"):
        if penalty := float(given.get(f"no_{what}_penalty", 0.0)):
            terms.append({"measure": f"not:{what}ed", "weight": -penalty})
    return [TermSettings.model_validate(term).model_dump() for term in terms]


def _line(given: Table) -> str:
    try:
        return written(terms_of(given))
    except (TypeError, ValueError):
        return "0.9*em + 0.1*format:strict"


RENAMED = (
    Renamed(
        "trainer",
        ("engine",),
        today=lambda table: {"kind" if key == "engine" else key: table[key] for key in table},
        in_recipe=lambda given: (
            f"is the search engine only: write kind = {given['engine']!r} below [trainer], "
            f"or --trainer {given['engine']}"
        ),
        as_option=lambda given: (
            f"is no option of training any more: write --trainer {given['engine'] or 'verl'} for what "
            "trains, --search.engine for what is searched"
        ),
        options=MappingProxyType({"--engine": "engine"}),
    ),
    Renamed(
        "reward",
        ("answer", "format", "format_weight", "no_answer_penalty", "no_search_penalty"),
        today=terms_of,
        in_recipe=lambda given: (
            f'is gone, a reward is a list of terms: write reward = "{_line(given)}", '
            "or [[reward]] tables"
        ),
        as_option=lambda given: f'is gone: write --reward "{_line(given)}"',
    ),
)
"""Every old name, with what stands in its place."""


def demand_todays_keys(recipe: Mapping[str, Any]) -> None:
    """Refuse the values of a recipe where one has an old name.

    Raises:
        ConfigError: One has.
    """
    for old in RENAMED:
        table = recipe.get(old.table)
        found = [key for key in old.keys if key in table] if isinstance(table, Mapping) else []
        if found:
            names = ", ".join(f"{old.table}.{key}" for key in found)
            raise ConfigError(f"{names} {old.in_recipe(recipe[old.table])}")


def demand_todays_options(words: Sequence[str]) -> None:
    """Refuse the words of a command line where one is an old name.

    Raises:
        ConfigError: One is.
    """
    for old in RENAMED:
        found: dict[str, str] = {}
        given: dict[str, str] = {}
        for word, following in zip(words, [*words[1:], ""], strict=True):
            option, equals, value = word.partition("=")
            if (key := old.key(option)) is not None:
                found[option] = given[key] = value if equals else following
        if found:
            raise ConfigError(f"{', '.join(found)} {old.as_option(given)}")


def of_today(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe.json under the names of today; what makes no sense is left as it is."""
    values = dict(recipe)
    for old in RENAMED:
        table = values.get(old.table)
        if isinstance(table, Mapping) and any(key in table for key in old.keys):
            try:
                values[old.table] = old.today(table)
            except (TypeError, ValueError):
                continue
    return values
