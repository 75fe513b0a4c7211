"""Trajectories as JSON lines: how they are written, and the one place that reads what older code wrote.

Until schema 2 the input of a call was called its `query`, and a trajectory stopped by `stop` or
`length`. An answer was the only stop string that ended one; which limit `length` was is not known.

    >>> old = {"calls": [{"id": 0, "query": "who"}], "stop_reason": "stop"}
    >>> current(old)
    {'calls': [{'id': 0, 'input': 'who'}], 'stop_reason': 'answer', 'schema': 1}
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from innersearch.errors import RunError
from innersearch.records import to_json
from innersearch.stored import Record, checked, finite, read_lines
from innersearch.types import SCHEMA, StopReason, Trajectory

_ADAPTER = TypeAdapter(Trajectory)
_adapter = cache(TypeAdapter)


def current(record: Record) -> Record:
    """The record of a trajectory in the words of today, whatever it was written in; it may be damaged.

    Raises:
        RunError: It was written by newer code.
    """
    schema = record.get("schema", 1)
    if schema == SCHEMA:
        return record
    if isinstance(schema, int) and schema > SCHEMA:
        raise RunError(
            f"a trajectory of schema {schema} was written by a newer innersearch than this one, which "
            f"reads up to {SCHEMA}: update it"
        )
    found = record | {"schema": schema}
    if isinstance(calls := record.get("calls"), list):
        found["calls"] = [_renamed(call) for call in calls]
    if record.get("stop_reason") == "stop":
        found["stop_reason"] = StopReason.ANSWER.value
    return found


def _renamed(call: object) -> object:
    if not isinstance(call, dict) or "query" not in call:
        return call
    return {"input" if name == "query" else name: value for name, value in call.items()}


def read_trajectories(path: Path) -> Iterator[tuple[Record, str]]:
    """The lines of a file of trajectories, not looked into yet, each with its place.

    Raises:
        DataError: A complete line is no record.
        RunError: One was written by newer code.
    """
    return ((current(line), f"line {n} of {path.name}") for n, line in enumerate(read_lines(path), 1))


def read_parts(path: Path, kind: type, *, endless: bool = False) -> Iterator[Record]:
    """The same, each with what `kind`, a TypedDict, needs; with `endless` also infinite numbers.

    Raises:
        DataError: A line is no JSON.
        RunError: A line is damaged.
    """
    for record, place in read_trajectories(path):
        found = record if endless else finite(record)
        checked(_adapter(kind), found, path.parent, place, strict=True)
        yield found


def as_trajectory(record: Record, folder: Path, place: str) -> Trajectory:
    """A record as the trajectory it is.

    Raises:
        RunError: It is damaged.
    """
    found = checked(_ADAPTER, current(record), folder, place)
    for segment in found.segments:
        length = len(segment.token_ids)
        if len(segment.loss_mask) != length or any(not 0 <= s.start < length for s in segment.spans):
            raise RunError(f"{folder} is damaged: {place} has spans or masks of another length")
    return found


def to_line(trajectory: Trajectory) -> str:
    """One line of JSON, without the newline."""
    return to_json(_ADAPTER, trajectory)
