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
        dealt += _split({name: _taken(value, order) for name, value in joined.items()}, len(update))
    return dealt


def passes(rows: Rows, size: int) -> list[Rows]:
    """Rows in parts of at most `size`, each as wide as its longest row."""
    count = len(rows["completion_ids"])
    starts = range(0, max(count, 1), size)
    return [narrowed({name: _part(v, slice(s, s + size)) for name, v in rows.items()}) for s in starts]


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


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor) and first.ndim:
        return torch.cat(list(values))
    return [one for value in values for one in value] if isinstance(first, list) else first


def _taken(value: Any, order: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor) and value.ndim:
        return value[order]
    return [value[row] for row in order.tolist()] if isinstance(value, list) else value


def _split(rows: Rows, count: int) -> list[Rows]:
    size = len(rows["completion_ids"]) // count
    parts = [slice(number * size, (number + 1) * size) for number in range(count)]
    return [{name: _part(value, part) for name, value in rows.items()} for part in parts]


def _part(value: Any, rows: slice) -> Any:
    has_rows = (isinstance(value, torch.Tensor) and value.ndim) or isinstance(value, list)
    return value[rows] if has_rows else value
