"""Where the embedded world's model lies in the package."""

from __future__ import annotations

from pathlib import Path

from innersearch.errors import DataError

NAME = "world"
"""How the embedded world, its model and its engine are named by users."""

VERSION = 2
"""Of the world: names, facts, wordings, pages and corpus. Another version is another world."""

BUNDLED = Path(__file__).parent / "checkpoint"
"""A Hugging Face model directory, with the manifest of its build."""

BUNDLED_SEED = 1
"""The seed it was built from."""

SCRATCH_SEED = 0
"""The world on which everything is chosen that is chosen: settings, budgets, lengths."""

FROZEN_SEEDS = (1, 2, 3)
"""The worlds that figures come from; nothing is chosen on them."""


def seed_of(text: str) -> int:
    """The seed of a world that is named by it; of the bundled one where there is nothing.

    Raises:
        DataError: That is no whole number.
    """
    if not text:
        return BUNDLED_SEED
    if not text.isdecimal():
        raise DataError(f"no world is named {text!r}: worlds are named by their seed, such as world:2")
    return int(text)
