"""Everything that has a name, as rows for people: what `innersearch ls` prints.

>>> heads, rows = listing("grammars")
>>> heads, rows[0][0]
(('name', 'searches and answers with'), 'tags')
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from innersearch.errors import ConfigError, did_you_mean
from innersearch.extensions import Offers


class Listing(NamedTuple):
    """What there is of one sort."""

    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


def listing(topic: str) -> Listing:
    """Everything of a sort, ours first.

    Raises:
        ConfigError: There is no such sort, or what a package offers cannot be loaded.
    """
    if topic not in TOPICS:
        raise ConfigError(f"nothing is listed as {topic!r}; {did_you_mean(topic, TOPICS)}")
    heads, rows = TOPICS[topic]
    return Listing(heads, [tuple(cell or "–" for cell in row) for row in rows()])


def _found(offers: Offers[Any]) -> Iterator[tuple[str, Any]]:
    return ((name, found) for name in offers.names() if (found := offers.find(name)) is not None)


def _engines() -> Iterator[tuple[str, ...]]:
    from innersearch.assemble.engines import ENGINES

    for name, kind in _found(ENGINES):
        price = f"${1000 * kind.price_usd:g}" if kind.price_usd else "–"
        yield name, kind.form, price, kind.summary


def _routers() -> Iterator[tuple[str, ...]]:
    from innersearch.routing.router import ROUTERS

    return ((name, rule.form, rule.summary) for name, rule in _found(ROUTERS))


def _terms() -> Iterator[tuple[str, ...]]:
    from innersearch.rewards.terms import OFFERS, explained, needs_gold

    for name, measure in _found(OFFERS):
        yield name, "yes" if needs_gold(measure) else "no", explained(measure)


def _tools() -> Iterator[tuple[str, ...]]:
    from innersearch.tools import opening, search
    from innersearch.tools.kinds import TOOLS

    yield search.NAME, "always there", search.SCHEMA.description
    yield opening.NAME, "with rollout.pages", opening.SCHEMA.description
    for name, kind in _found(TOOLS):
        yield name, "in rollout.tools", kind.schema.description


def _grammars() -> Iterator[tuple[str, ...]]:
    from innersearch.grammar import OFFERS
    from innersearch.types import Kind

    for name, grammar in _found(OFFERS):
        shown = [k for k in (Kind.SEARCH, Kind.OPEN, Kind.CALL, Kind.ANSWER) if k in grammar.tags]
        yield name, "  ".join(f"{grammar.tags[k].opens}…{grammar.tags[k].closes}" for k in shown)


def _recipes() -> Iterator[tuple[str, ...]]:
    from innersearch.assemble.recipes import bundled_recipes

    for name, path in bundled_recipes():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        yield name, first.removeprefix("#").strip()


def _benchmarks() -> Iterator[tuple[str, ...]]:
    from innersearch.data.catalogue import Split, benchmarks, data_folder

    for benchmark in benchmarks():
        split = Split(benchmark, benchmark.split)
        here = "yes" if split.path(data_folder()).is_file() else "no"
        yield benchmark.name, benchmark.split, f"{split.n:,}", benchmark.licence, here


def _protocols() -> Iterator[tuple[str, ...]]:
    from innersearch.evaluate.protocols import OFFERS

    for name, found in _found(OFFERS):
        yield name, ", ".join(found.sets), found.metric


def _policies() -> Iterator[tuple[str, ...]]:
    from innersearch.assemble.policies import POLICIES

    return ((name, kind.form) for name, kind in _found(POLICIES))


def _pages() -> Iterator[tuple[str, ...]]:
    from innersearch.assemble.pages import PAGES

    return ((name, kind.form) for name, kind in _found(PAGES))


def _models() -> Iterator[tuple[str, ...]]:
    from innersearch.assemble.models import MODELS

    return ((name, str(path)) for name, path in _found(MODELS))


def _prompts() -> Iterator[tuple[str, ...]]:
    folder = Path(str(files("innersearch.prompts")))
    for path in sorted(folder.glob("*.txt")):
        first = next(filter(None, path.read_text(encoding="utf-8").splitlines()), "")
        yield path.stem, first[:80] + ("…" if len(first) > 80 else "")


def _exports() -> Iterator[tuple[str, ...]]:
    from innersearch.view.exports import EXPORTS

    return ((name, kind.summary) for name, kind in _found(EXPORTS))


TOPICS: dict[str, tuple[tuple[str, ...], Callable[[], Iterator[tuple[str, ...]]]]] = {
    "engines": (("name", "written as", "per 1,000 searches", "what answers"), _engines),
    "routers": (("name", "written as", "who answers"), _routers),
    "terms": (("name", "needs gold answers", "what it says of a trajectory"), _terms),
    "tools": (("name", "available", "what it does"), _tools),
    "grammars": (("name", "searches and answers with"), _grammars),
    "recipes": (("name", "what it trains"), _recipes),
    "benchmarks": (("name", "split", "n", "licence (as known)", "fetched"), _benchmarks),
    "protocols": (("name", "questions of", "reports first"), _protocols),
    "policies": (("name", "written as"), _policies),
    "pages": (("name", "written as"), _pages),
    "models": (("name", "directory"), _models),
    "prompts": (("name", "begins with"), _prompts),
    "exports": (("name", "what is written"), _exports),
}
"""Sorts of things that have a name: the heads of their columns, and what makes their rows."""
