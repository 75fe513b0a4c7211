"""Trajectories of a run in the formats of others: one module each, found by its name.

A package of somebody else adds one under `innersearch.exports`:

    KIND = ExportKind("mine", "a folder of mine", write)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from innersearch.extensions import Offers


@dataclass(frozen=True, slots=True)
class Searching:
    """What is searched where an export can be run: it is not always known from the run."""

    engine: str = ""
    """That of the recipe by default."""
    k: int = 0
    """Documents per search, likewise."""


@dataclass(frozen=True, slots=True)
class ExportKind:
    """A format that trajectories can be handed on in."""

    name: str
    summary: str
    """What is written, in some words."""
    write: Callable[[Path, Path, Searching], str]
    """Writes what a run holds into an empty folder, and says in one line how it is opened; raises
    ConfigError, DataError or RunError."""


EXPORTS: Offers[ExportKind] = Offers(
    "innersearch.exports",
    ExportKind,
    "format",
    {
        "hf": "innersearch.view.exports.hf:KIND",
        "inspect": "innersearch.view.exports.inspect:KIND",
        "verifiers": "innersearch.view.exports.verifiers:KIND",
    },
)
"""Every format that can be named."""
