"""JSON that lies on a disk, checked as it is read: what is damaged, or what another program wrote, is
one clear line that names the file, the record and the key, and no surprise later on.

Files may hold more than is asked for here. Numbers that JSON does not have, NaN and the infinite, are
read as null where records are typed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from innersearch.errors import DataError, RunError
from innersearch.rows.files import text_of
from innersearch.rows.lines import json_object, json_value

T = TypeVar("T")
Record = dict[str, Any]

_SHOWN = 3
_adapter = cache(TypeAdapter)


def read_json(path: Path) -> Any:
    """The value of a JSON file; of two values under one name the last counts, as it does elsewhere.

    Raises:
        DataError: It is damaged, nested too deeply, or no file.
    """
    return json_value(text_of(path, "file"), str(path), once=False)


def read_object(path: Path, kind: type, *, endless: bool = False) -> Record:
    """A JSON object that holds what `kind`, a TypedDict, needs; with `endless` also infinite numbers.

    Raises:
        RunError: It is damaged.
    """
    try:
        found = json_value(text_of(path, "file"), str(path))
    except DataError as error:
        raise RunError(f"{error}; make it again") from error
    found = found if endless else finite(found)
    checked(_adapter(kind), found, path.parent, path.name, strict=True)
    return dict(found)


def read_lines(path: Path) -> Iterator[Record]:
    """The complete records of a JSON-lines file; nothing if there is no file.

    Raises:
        DataError: A complete line is no record.
    """
    return (record for _, record in complete_lines(path))


def read_records(path: Path, kind: type, *, endless: bool = False) -> Iterator[Record]:
    """The same, each with what `kind`, a TypedDict, needs; with `endless` also infinite numbers.

    Raises:
        DataError: A line is no JSON.
        RunError: A line is damaged.
    """
    return (record for _, record in complete_lines(path, kind, endless=endless))


def read_unique(path: Path, kind: type) -> list[Record]:
    """The same of a file in which every id stands once.

    Raises:
        DataError: A line is no JSON, or an id stands there twice: then two processes wrote it at once.
        RunError: A line is damaged.
    """
    found: dict[str, Record] = {}
    twice: dict[str, None] = {}
    for record in read_records(path, kind):
        if (identity := record["id"]) in found:
            twice[identity] = None
        found[identity] = record
    if twice:
        shown = ", ".join(map(repr, list(twice)[:_SHOWN]))
        more = f" and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise DataError(
            f"{path} holds {len(twice)} questions more than once ({shown}{more}), as when two processes "
            "wrote it at the same time: evaluate anew into another directory"
        )
    return list(found.values())


def complete_lines(
    path: Path, kind: type | None = None, *, endless: bool = False
) -> Iterator[tuple[bytes, Record]]:
    """The complete records of a JSON-lines file, each behind its line; with what `kind` needs, if given.

    Raises:
        DataError: A complete line is no record.
        RunError: It is damaged.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            record = json_object(line, f"{path}, line {number}")
            if kind is not None:
                place = f"line {number} of {path.name}"
                record = record if endless else finite(record)
                checked(_adapter(kind), record, path.parent, place, strict=True)
            yield line, record


def checked(
    adapter: TypeAdapter[T], value: object, folder: Path, place: str, *, strict: bool = False
) -> T:
    """A value as what it is to be; the `place` is the file in the folder, or its line.

    Raises:
        RunError: It is something else.
    """
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
