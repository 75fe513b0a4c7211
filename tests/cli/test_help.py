"""Help that can be read alone: every verb shows how it is used, every option says what it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cyclopts import App

from innersearch.cli import app


def verbs(parent: App, names: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Everything that can be run, by what is typed."""
    if parent.default_command is not None:
        yield " ".join(names), parent
    for name in parent:
        if not name.startswith("-"):
            yield from verbs(parent[name], (*names, name))


VERBS = dict(verbs(app))
HALF = (
    "of ",
    "as ",
    "or ",
    "and ",
    "which ",
    "whose ",
    "their ",
    "its ",
    "it ",
    "they ",
    "the same",
)
"""How half a phrase begins: what it is about stands elsewhere."""


def test_all_verbs_are_found() -> None:
    assert {"eval", "train", "ask", "simulator collect", "data coverage", "world build"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_how_it_is_used(verb: str) -> None:
    assert f"    innersearch {verb}" in (VERBS[verb].default_command.__doc__ or "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_a_whole_phrase(verb: str) -> None:
    found = 0
    for argument in VERBS[verb].assemble_argument_collection(parse_docstring=True):
        if not argument.parse or not argument.show:
            continue
        said = argument.parameter.help or ""
        found += 1
        assert said, f"{argument.name} of {verb} has no help"
        assert said[0].isupper() or not said[0].isalpha() or ":" in said.partition(" ")[0], said
        assert not said.lower().startswith(HALF), f"{argument.name} of {verb}: {said}"
        assert len(said.split()) > 1, f"{argument.name} of {verb}: {said}"
    assert found
