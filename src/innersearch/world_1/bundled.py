"""Where the first world's model lies in the package: kept for the runs that used it."""

from __future__ import annotations

from pathlib import Path

NAME = "world-1"
"""How the first world, its model and its engine are named by users."""

BUNDLED = Path(__file__).parent / "checkpoint"
"""A Hugging Face model directory, with the manifest of its build."""

BUNDLED_SEED = 0
"""The seed it was built from."""
