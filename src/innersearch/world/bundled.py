"""Where the embedded world's model lies in the package."""

from __future__ import annotations

from pathlib import Path

NAME = "world"
"""How the embedded world, its model and its engine are named by users."""

BUNDLED = Path(__file__).parent / "checkpoint"
"""A Hugging Face model directory, with the manifest of its build."""

BUNDLED_SEED = 0
"""The seed it was built from."""
