"""Rows of tables, .csv and .tsv: read as they are meant, or refused by row.

A comma that should stand in quotes, or a quote that is never closed, moves every field behind it. So
every row must have as many fields as the header, and a quoted field must end at a delimiter.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO

from innersearch.errors import DataError
from innersearch.rows.files import LONGEST, text_stream
from innersearch.rows.lines import Row

_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
_DECLARED = re.compile(r'"?sep=(.)"?\s*')


class _Lines:
    """The lines of a file as the csv module takes them, which remembers those of the row at hand."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken.append(line)
        return line

    def again(self, line: str) -> None:
        """Give a line back, to be read as the next one."""
        self._lines = _chained(line, self._lines)
        self.taken.clear()


def _chained(line: str, rest: Iterator[str]) -> Iterator[str]:
    yield line
    yield from rest


def table_rows(path: Path, kind: str) -> Iterator[tuple[int, Row | DataError]]:
    """The rows of a table whose name ends in `kind`; columns in lower case, fields as texts.

    Raises:
        DataError: It cannot be read further.
    """
    csv.field_size_limit(LONGEST)
    with text_stream(path) as stream:
        number = 0
        try:
            for number, row in _rows(stream, path, kind):
                yield number, row
        except UnicodeError as error:
            reason = getattr(error, "reason", None) or error
            raise DataError(
                f"{path}, row {number + 1} or a little below is no {_name(stream)}: {reason}; save the "
                "file as UTF-8"
            ) from error


def _name(stream: IO[str]) -> str:
    return str(getattr(stream, "encoding", "")).upper().removesuffix("-SIG")


def _rows(stream: IO[str], path: Path, kind: str) -> Iterator[tuple[int, Row | DataError]]:
    lines = _Lines(iter(stream))
    delimiter = _delimiter(lines, kind)
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    number = 0
    while True:
        lines.taken.clear()
        first = table.line_num + 1
        try:
            fields = next(table, None)
        except csv.Error as error:
            raise DataError(_broken(path, number + bool(header), first, error)) from error
        if fields is None:
            return
        if not any(field.strip() for field in fields):
            continue
        if not header:
            header = _header(fields, path)
            continue
        number += 1
        wrong = _wrong(fields, header, lines.taken, delimiter)
        if wrong:
            yield number, DataError(f"{path}, row {number} (line {first}) {wrong}")
        else:
            yield number, {name: text for name, text in zip(header, fields, strict=True) if name}


def _delimiter(lines: _Lines, kind: str) -> str:
    """What separates fields: what the header has, or a spreadsheet's first line declares."""
    known = _DELIMITERS[kind]
    for line in lines:
        if found := _DECLARED.fullmatch(line):
            lines.taken.clear()
            return found[1]
        if line.strip():
            lines.again(line)
            return next((mark for mark in known if mark in line), known[0])
    return known[0]


def _header(fields: list[str], path: Path) -> list[str]:
    """The names of the columns; one without a name is the number that some writers put in front."""
    header = [field.strip("\ufeff \t").lower() for field in fields]
    for name in header:
        if header.count(name) > 1:
            said = f"the column {name!r} twice" if name else "several columns without a name"
            raise DataError(f"{path} has {said} in its header: rename or remove one")
    return header


def _wrong(fields: list[str], header: list[str], raw: list[str], delimiter: str) -> str:
    """What is wrong with a row, or nothing."""
    if len(fields) != len(header):
        mark = {"\t": "a tab"}.get(delimiter, repr(delimiter))
        return (
            f"has {len(fields)} field{'s' * (len(fields) != 1)} where the header has {len(header)}: put "
            f"fields that hold {mark}, quotes or line breaks in quotes"
        )
    # In a table of tabs a line that has all its fields is a row; quotes around it are a stray one each.
    if delimiter == "\t" and len(raw) > 1 and raw[0].count(delimiter) >= len(header) - 1:
        return f"runs over {len(raw)} lines, which are rows of their own: close or double the quotes"
    text = "".join(raw)
    odd = [field.count('"') % 2 == 1 for field in fields]
    if '""' not in text and any(a and b for a, b in pairwise(odd)):
        return "has quotes that open in one field and close in the next: put the whole field in quotes"
    return ""


def _broken(path: Path, number: int, line: int, error: csv.Error) -> str:
    reason = str(error)
    if "unexpected end" in reason:
        reason = "a quote is never closed"
    elif "expected after" in reason:
        reason = "a quote closes inside a field: double the quotes that belong to it"
    elif "field larger" in reason:
        reason = f"a field is longer than {LONGEST >> 20} MiB: a quote is never closed"
    place = f"row {number}" if number else "the header"
    return f"{path}, {place} (line {line}) is no row of a table: {reason}"
