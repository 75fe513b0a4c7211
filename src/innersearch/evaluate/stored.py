"""What evaluations and runs have written, checked as it is read: a record that is damaged, or that
another program wrote, is one clear line and no surprise later on.

Records may hold more than is asked for here, and what came later may be missing. Numbers that JSON does
not have, NaN and the infinite, are read as null.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from innersearch.errors import RunError
from innersearch.records import read_json, read_lines
from innersearch.types import Trajectory

T = TypeVar("T")
Record = dict[str, Any]

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
K = Annotated[str, Field(pattern=r"^[1-9]\d*$")]


class Greedy(TypedDict):
    """A line of greedy.jsonl, as far as it is compared."""

    id: Name
    group: Name
    em: bool
    f1: Share
    cover_em: bool
    searches: Amount
    question: NotRequired[str]
    golden_answers: NotRequired[list[str]]
    f1_rule: NotRequired[str]


class Sampled(TypedDict):
    """A line of samples.jsonl, as far as it is compared."""

    id: Name
    group: Name
    em: Annotated[list[Annotated[int, Field(ge=0, le=1)]], Field(min_length=1)]
    question: NotRequired[str]
    golden_answers: NotRequired[list[str]]


class Whole(TypedDict):
    """What summary.json needs to be compared."""

    n: Count
    settings: dict[str, Any]


class Made(TypedDict):
    """What settings.json needs to be compared."""

    model: str


class Estimated(TypedDict):
    """An estimate in a summary; null where there were too few samples."""

    value: float | None
    low: float | None
    high: float | None
    n: Count


class Shown(TypedDict):
    """What summary.json needs to be shown in a report."""

    em: Annotated[dict[str, Estimated], Field(min_length=1)]
    format_rate: Share
    searches: Amount
    calls: NotRequired[Amount]
    pass_at_k: NotRequired[dict[str, dict[K, Estimated]]]


class Step(TypedDict):
    """A line of metrics.jsonl."""

    step: int


_TRAJECTORY = TypeAdapter(Trajectory)
_adapter = cache(TypeAdapter)


def read_object(path: Path, kind: type) -> Record:
    """A JSON object that holds what `kind` needs.

    Raises:
        RunError: It is damaged.
    """
    try:
        found = finite(read_json(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{error}; evaluate again") from error
    _check(_adapter(kind), found, path.parent, path.name, strict=True)
    return dict(found)


def read_records(path: Path, kind: type) -> Iterator[Record]:
    """The lines of a file, each with what `kind` needs; nothing if there is no file.

    Raises:
        DataError: A line is no JSON.
        RunError: A line is damaged.
    """
    for number, line in enumerate(read_lines(path), 1):
        record = finite(line)
        _check(_adapter(kind), record, path.parent, f"line {number} of {path.name}", strict=True)
        yield record


def read_trajectories(path: Path) -> Iterator[tuple[Record, str]]:
    """The lines of a file of trajectories, not looked into yet, each with its place."""
    return ((line, f"line {n} of {path.name}") for n, line in enumerate(read_lines(path), 1))


def as_trajectory(record: Record, folder: Path, place: str) -> Trajectory:
    """A record as the trajectory it is.

    Raises:
        RunError: It is damaged.
    """
    found = _check(_TRAJECTORY, record, folder, place)
    for segment in found.segments:
        length = len(segment.token_ids)
        if len(segment.loss_mask) != length or any(not 0 <= s.start < length for s in segment.spans):
            raise RunError(f"{folder} is damaged: {place} has spans or masks of another length")
    return found


def _check(
    adapter: TypeAdapter[T], value: object, folder: Path, place: str, *, strict: bool = False
) -> T:
    try:
        return adapter.validate_python(value, strict=strict)
    except ValidationError as error:
        raise RunError(f"{folder} is damaged: {place} {_said(error)}; make it again") from error


def _said(error: ValidationError) -> str:
    """What is wrong with a record, in words."""
    found = error.errors(include_url=False)
    if not found[0]["loc"]:
        return "is no object"
    lacking = [".".join(map(str, each["loc"])) for each in found if each["type"] == "missing"]
    if lacking:
        return f"has no {', '.join(lacking[:5])}"
    place, given = ".".join(map(str, found[0]["loc"])), repr(found[0]["input"])
    return f"has an impossible {place} ({found[0]['msg']}, given {given[:60]})"


def finite(value: Any) -> Any:
    """JSON as browsers know it: numbers that are none, or without end, are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value
