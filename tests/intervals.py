"""Whether two measurements of the same thing agree."""

from __future__ import annotations

TOLERANCE = 0.05
"""Rounding differs between machines and grows over thousands of steps; so do the weights."""


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two 95 % intervals, each widened by the tolerance, share a value."""
    low, high = max(one["low"], other["low"]), min(one["high"], other["high"])
    return low <= high + 2 * TOLERANCE
