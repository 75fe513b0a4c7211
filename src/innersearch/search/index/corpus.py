"""A corpus from files, streamed; see `innersearch.rows` for what files can be.

Two forms of row are read; further columns are left alone, and a row without an id gets its number:

* wiki-18: `{"id", "contents"}`, where the first line of `contents` is the title in quotes and the rest
  is the text (facts: Search-R1 retrieval_server.py);
* `{"id", "title", "text"}`, with an optional `url`; BEIR calls the id `_id`.

Every row becomes a document or the file is refused with the row that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from innersearch.errors import DataError
from innersearch.gold import as_text
from innersearch.rows import Numbered, read_rows, type_of
from innersearch.rows.lines import json_object
from innersearch.types import Document

_IDS = ("id", "_id", "docid", "doc_id")
_COLUMNS = (*_IDS, "contents", "title", "text", "url")


def read_corpus(path: Path) -> Iterator[Document]:
    """The documents of a file, or of a directory of the parts of one, in order, without holding them.

    Raises:
        DataError: At once if the file is missing or of another kind; while reading if a row is no
            document, the file is damaged, or it holds no row.
    """
    return _documents(read_rows(path, "corpus", _COLUMNS), path)


def document_of(line: bytes, number: int, path: Path) -> Document | None:
    """The document on one line of a JSON-lines file; None for a blank line.

    Raises:
        DataError: It is not UTF-8, no JSON object, or lacks a text.
    """
    if not line.strip():
        return None
    place = f"{path}, row {number}"
    return _document(Numbered(place, number, json_object(line, place)))


def _documents(rows: Iterator[Numbered], path: Path) -> Iterator[Document]:
    row = None
    for row in rows:
        yield _document(row)
    if row is None:
        raise DataError(f"{path} holds no documents")


def _document(row: Numbered) -> Document:
    place, number, values = row
    if isinstance(values, DataError):
        raise values
    try:
        title, text = title_and_text(values)
        identity = _identity(values)
    except ValueError as error:
        raise DataError(f"{place} {error}") from error
    url = values.get("url")
    return Document(identity or str(number), title, text, url=url if isinstance(url, str) else None)


def _identity(row: Mapping[str, Any]) -> str:
    for name in _IDS:
        value = row.get(name)
        if value is None or value == "" or value != value:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"is no document: {name!r} is {type_of(value)}, not text or a number")
        return as_text(value)
    return ""


def title_and_text(row: Mapping[str, Any]) -> tuple[str, str]:
    r"""The title and the text of a document, from files and from the answers of `/retrieve` servers.

    >>> title_and_text({"contents": '\"\"\"Weird Al\"\" Yankovic\"\nA singer.'})
    ('"Weird Al" Yankovic', 'A singer.')

    Raises:
        ValueError: It has no text, or one of them is something else.
    """
    text, contents = _text(row, "text"), _text(row, "contents")
    title = _text(row, "title") or ""
    if text is not None:
        return title, text
    if contents is None:
        null = [f"{name!r} is null" for name in ("contents", "text") if name in row]
        columns = f"its columns are {sorted(map(str, row))[:20]}"
        raise ValueError("; ".join(["has neither 'contents' nor 'text'", *null, columns]))
    first, newline, rest = contents.partition("\n")
    if newline and (not title or unquoted(first) == unquoted(title)):
        return unquoted(first), rest
    return unquoted(title), contents


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"is no document: {name!r} is {type_of(value)}, not text")


def unquoted(title: str) -> str:
    r"""A title without the quotes around it; quotes inside are doubled where it came from a CSV file,
    and escaped where it came from JSON.

    A title that has quotes of its own at both ends, such as `"Hello" and "Goodbye"`, is not in quotes.

    >>> unquoted('"Paris"'), unquoted('"12"" single"'), unquoted('"Heroes" (song)')
    ('Paris', '12" single', '"Heroes" (song)')
    """
    title = title.strip()
    if len(title) < 2 or title[0] != '"' or title[-1] != '"':
        return title
    inner = title[1:-1]
    if '"' not in inner:
        return inner
    if '\\"' in inner:
        return inner.replace('\\"', '"')
    bare = inner.replace('""', '"')
    quotes = [at for at, mark in enumerate(inner) if mark == '"']
    raw = bare.count('"') == len(quotes) and len(quotes) >= 2 and len(quotes) % 2 == 0
    if raw and quotes[0] > 0 and not inner[quotes[0] - 1].isspace():
        return title
    return bare
