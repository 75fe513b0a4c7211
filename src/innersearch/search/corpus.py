"""A corpus from files, streamed: JSON lines (plain or gzip) and Parquet.

Two forms of row are read; further columns are left alone, and a row without `id` gets its number:

* wiki-18: `{"id", "contents"}`, where the first line of `contents` is the title in quotes and the rest
  is the text (facts: Search-R1 retrieval_server.py);
* `{"id", "title", "text"}`, with an optional `url`.

Every row becomes a document or the file is refused with the row that is wrong.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from innersearch.errors import DataError
from innersearch.types import Document

_COLUMNS = ("id", "contents", "title", "text", "url")


def read_corpus(path: Path) -> Iterator[Document]:
    """The documents of a `.jsonl`, `.jsonl.gz` or `.parquet` file, in order, without holding them.

    Raises:
        DataError: At once if the file is missing or of another kind; while reading if a row is no
            document, the file is damaged, or it holds no row.
    """
    if not path.is_file():
        raise DataError(f"no corpus at {path}: give a .jsonl, .jsonl.gz or .parquet file")
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return _not_empty(_json_rows(path), path)
    if path.suffix == ".parquet":
        return _not_empty(_parquet_rows(path), path)
    raise DataError(f"{path} ends in {path.suffix!r}; a corpus is .jsonl, .jsonl.gz or .parquet")


def document_of(line: bytes, number: int, path: Path) -> Document | None:
    """The document on one line of a JSON-lines file; None for a blank line.

    Raises:
        DataError: It is not UTF-8, no JSON object, or lacks a text.
    """
    try:
        row = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number} is no UTF-8: {error.reason}") from error
    except json.JSONDecodeError as error:
        if not line.strip():
            return None
        raise DataError(f"{path}, line {number} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number} is no JSON object: {line[:60]!r}")
    return _document(row, number, f"{path}, line {number}")


def _json_rows(path: Path) -> Iterator[Document]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(_intact(lines, path), 1):
            document = document_of(line, number, path)
            if document is not None:
                yield document


def _intact(lines: Iterable[bytes], path: Path) -> Iterator[bytes]:
    try:
        yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is no complete gzip file: {error}; fetch it again") from error


def _parquet_rows(path: Path) -> Iterator[Document]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield _document(row, number, f"{path}, row {number}")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error


def _not_empty(documents: Iterator[Document], path: Path) -> Iterator[Document]:
    document = None
    for document in documents:
        yield document
    if document is None:
        raise DataError(f"{path} holds no documents")


def _document(row: Mapping[str, Any], number: int, place: str) -> Document:
    title, text = _title_and_text(row, place)
    given = row.get("id")
    identity = str(number) if given is None else str(given)
    url = row.get("url")
    try:
        f"{identity}{title}{text}".encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{place} holds half a surrogate pair, which is no text: {error}") from error
    return Document(identity, title, text, url=url if isinstance(url, str) else None)


def _title_and_text(row: Mapping[str, Any], place: str) -> tuple[str, str]:
    contents, text, title = row.get("contents"), row.get("text"), row.get("title")
    if isinstance(text, str) and isinstance(title, str | None):
        return title or "", text
    if isinstance(contents, str):
        first, newline, rest = contents.partition("\n")
        return (_unquoted(first), rest) if newline else ("", contents)
    raise DataError(
        f"{place} has neither 'contents' nor 'title' and 'text'; its columns are {sorted(row)}"
    )


def _unquoted(title: str) -> str:
    """Without the quotes around it; quotes inside are doubled where the row came from a CSV file."""
    title = title.strip()
    if len(title) >= 2 and title[0] == title[-1] == '"':
        return title[1:-1].replace('""', '"')
    return title
