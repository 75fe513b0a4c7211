"""Rows of JSON: one object per line, or one list of objects in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from innersearch.errors import DataError
from innersearch.rows.files import decoded, lines, opened

Row = Mapping[str, Any]

DEEPEST = 100
"""Brackets in brackets; what is deeper breaks whatever writes it again."""
_LISTS = ("data", "rows", "examples", "questions", "instances", "documents")
"""Under what name a file keeps its rows, TriviaQA and SQuAD for example."""


def json_lines(path: Path) -> Iterator[tuple[int, Row | DataError]]:
    """The objects of a file, one per line; blank lines count but are none.

    Raises:
        DataError: The file cannot be read further.
    """
    for number, line in lines(path):
        if line.strip():
            try:
                yield number, json_object(line, f"{path}, row {number}")
            except DataError as error:
                yield number, error


def json_list(path: Path) -> Iterator[tuple[int, Row | DataError]]:
    """The objects of a file that is one list of them, or an object that holds one; or else the objects
    of its lines, for many files that end in .json are of that kind.

    Raises:
        DataError: The file is no JSON at all.
    """
    with opened(path) as stream:
        data = stream.read()
    text = decoded(data, path)
    if not text.strip():
        return
    try:
        value = json_value(text, str(path))
    except DataError:
        first = text.lstrip().partition("\n")[0]
        if not (first.startswith("{") and _is_object(first)):
            raise
        yield from json_lines(path)
        return
    for number, row in enumerate(_members(value), 1):
        place = f"{path}, row {number}"
        yield (
            number,
            row if isinstance(row, dict) else DataError(f"{place} is no JSON object: {_cut(row)}"),
        )


def begins_as_list(path: Path) -> bool:
    """Whether the first character of a file is that of a list."""
    with opened(path) as stream:
        head = stream.read(64)
    return head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1] == b"["


def _members(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for name, inner in value.items():
            if name.lower() in _LISTS and isinstance(inner, list):
                return inner
    return [value]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json_value(text, ""), dict)
    except DataError:
        return False


def json_object(line: bytes, place: str) -> dict[str, Any]:
    """The object on a line.

    Raises:
        DataError: It is none, is no UTF-8, or holds what no file and no tokenizer can hold.
    """
    try:
        value = json_value(line.decode(), place)
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is no UTF-8: {error.reason}; save the file as UTF-8") from error
    if not isinstance(value, dict):
        raise DataError(f"{place} is no JSON object: {_cut(value)}")
    return value


def json_value(text: str, place: str, *, once: bool = True) -> Any:
    """The value of a text; with `once` every name in an object stands there once.

    Raises:
        DataError: It is no JSON, or holds what no file and no tokenizer can hold.
    """
    try:
        value = _DECODER.decode(text) if once else json.loads(text)
    except RecursionError as error:
        raise DataError(f"{place} is no JSON: its brackets are nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{place} is no JSON: {_reason(error)}") from error
    if text.count("[") + text.count("{") > DEEPEST and _depth(value, DEEPEST) > DEEPEST:
        raise DataError(f"{place} is no JSON: its brackets are nested more than {DEEPEST} deep")
    if "\\u" in text:
        _refuse_half_characters(value, place)
    return value


def _objects(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values under one name Python would silently take the second."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the name {twice!r} twice")
    return found


# Made once: json.loads would make one for every line.
_DECODER = json.JSONDecoder(object_pairs_hook=_objects)


def _reason(error: ValueError) -> str:
    """A number of thousands of digits is JSON, but not to Python, which advises to change a setting."""
    return "a number has more than 4,300 digits" if "4300 digits" in str(error) else str(error)


def _depth(value: Any, limit: int) -> int:
    if limit < 0 or not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(
        (_depth(item, limit - 1) for item in inner if isinstance(item, list | dict)), default=0
    )


def _refuse_half_characters(value: Any, place: str) -> None:
    """JSON can name one half of a surrogate pair, but no file and no tokenizer can hold it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(str(error.object)[error.start])
        raise DataError(f"{place} holds {half}, half of a character: mend or remove it") from error


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def type_of(value: object) -> str:
    """What the value of a column is, in words.

    >>> type_of(None), type_of(1984), type_of(["a"])
    ('null', 'a number (1984)', 'a list')
    """
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"a number ({str(value)[:20]})"
    if isinstance(value, bytes):
        return "bytes that are no UTF-8"
    named = {type(None): "null", str: "text" if value else "empty", list: "a list", dict: "an object"}
    return named.get(type(value), f"a {type(value).__name__}")
