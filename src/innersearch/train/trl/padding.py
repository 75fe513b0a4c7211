"""Rows of a step in parts of like length, without the padding that no row of a part needs.

TRL pads all rows of a step to the longest and deals them at random. Half of what a model computes then
is padding, where lengths differ as much as those of trajectories do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Rows = dict[str, Any]
"""What TRL trains on: tensors with a row per sample, and numbers about the whole step."""


def by_length(parts: Sequence[Rows], together: int) -> list[Rows]:
    """The same rows dealt anew, short ones beside short ones, among `together` parts in a row.

    Parts of one update are added up, so that it makes no difference which of them a row is in; rows of
    different updates are not mixed.
    """
    dealt = []
    for start in range(0, len(parts), together):
        update = parts[start : start + together]
        joined = {name: _joined([part[name] for part in update]) for name in update[0]}
        order = lengths(joined).argsort(stable=True)
        sorted_rows = {name: _taken(value, order) for name, value in joined.items()}
        size = len(order) // len(update)
        dealt += _cut(sorted_rows, range(0, len(order), size), size)
    return dealt


def passes(rows: Rows, size: int) -> list[Rows]:
    """Rows in parts of at most `size`, each as wide as its longest row."""
    count = len(rows["completion_ids"])
    return [narrowed(part) for part in _cut(rows, range(0, max(count, 1), size), size)]


def lengths(rows: Rows) -> torch.Tensor:
    """How many tokens each row has, shape (rows,)."""
    return rows["prompt_mask"].sum(1) + rows["completion_mask"].sum(1)


def narrowed(rows: Rows) -> Rows:
    """The same without columns that are padding throughout: left of prompts, right of completions."""
    padded = rows["completion_ids"].size(1)
    kept = max(int(rows["completion_mask"].sum(1).max()), 1)
    asked = max(int(rows["prompt_mask"].sum(1).max()), 1)

    def narrow(name: str, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.ndim != 2:
            return value
        if name.startswith("prompt_"):
            return value[:, -asked:]
        return value[:, :kept] if value.size(1) == padded else value

    return {name: narrow(name, value) for name, value in rows.items()}


def _has_rows(value: Any) -> bool:
    """Whether it has an entry per row; numbers about the whole step do not."""
    return isinstance(value, list) or (isinstance(value, torch.Tensor) and value.ndim > 0)


def _joined(values: Sequence[Any]) -> Any:
    if not _has_rows(values[0]):
        return values[0]
    if isinstance(values[0], list):
        return [one for value in values for one in value]
    return torch.cat(list(values))


def _taken(value: Any, order: torch.Tensor) -> Any:
    if not _has_rows(value):
        return value
    return [value[row] for row in order.tolist()] if isinstance(value, list) else value[order]


def _cut(rows: Rows, starts: range, size: int) -> list[Rows]:
    """As many rows from each of `starts` on."""
    return [
        {name: value[s : s + size] if _has_rows(value) else value for name, value in rows.items()}
        for s in starts
    ]
