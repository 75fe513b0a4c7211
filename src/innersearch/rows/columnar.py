"""Rows of Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from innersearch.errors import DataError
from innersearch.rows.files import refuse_other_kinds
from innersearch.rows.lines import DEEPEST, Row

_BATCH = 4096
_FILE_MAGIC = b"ARROW1"


def parquet_rows(path: Path, columns: Collection[str] = ()) -> Iterator[tuple[int, Row | DataError]]:
    """The rows of a Parquet file, only with those of `columns` that it has, if any are named.

    Raises:
        DataError: It is no Parquet file, or damaged.
    """
    from pyarrow import parquet

    refuse_other_kinds(path)
    with _read_as(path, "Parquet"), parquet.ParquetFile(path) as file:
        names = _once(file.schema_arrow.names, path)
        wanted = [name for name in names if name in columns] if columns else None
        yield from _numbered(file.iter_batches(batch_size=_BATCH, columns=wanted), path)


def arrow_rows(path: Path, columns: Collection[str] = ()) -> Iterator[tuple[int, Row | DataError]]:
    """The same of an Arrow file or stream, as `save_to_disk` of datasets leaves them.

    Raises:
        DataError: It is none, or damaged.
    """
    import pyarrow as pa

    refuse_other_kinds(path)
    with _read_as(path, "Arrow"), pa.memory_map(str(path)) as source:
        if path.open("rb").read(len(_FILE_MAGIC)) == _FILE_MAGIC:
            reader = pa.ipc.open_file(source)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            batches = reader = pa.ipc.open_stream(source)
        names = _once(reader.schema.names, path)
        wanted = [name for name in names if name in columns] if columns else names
        yield from _numbered((batch.select(wanted) for batch in batches), path)


@contextmanager
def _read_as(path: Path, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is no readable {kind} file: {reason}") from error


def _once(names: list[str], path: Path) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} twice: rename or remove one")
    return names


def _numbered(batches: Any, path: Path) -> Iterator[tuple[int, Row | DataError]]:
    number = 0
    for batch in batches:
        for row in _rows(batch):
            number += 1
            place = f"{path}, row {number}"
            if isinstance(row, Exception):
                yield number, DataError(f"{place} cannot be read: {row}")
                continue
            yield number, row


def _rows(batch: Any) -> Iterator[dict[str, Any] | Exception]:
    """The rows of a batch; one by one where one of them cannot be had."""
    _demand_sound(batch)
    has_bytes = "binary" in str(batch.schema)
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError, TypeError):
        rows = [_row(batch.slice(number, 1)) for number in range(batch.num_rows)]
    for row in rows:
        yield _with_texts(row, 0) if has_bytes and isinstance(row, dict) else row


def _demand_sound(batch: Any) -> None:
    """Refuse values that point out of their buffers, which would end the process when they are read.

    Bytes that are no UTF-8 are only found after that, and belong to a row.
    """
    import pyarrow as pa

    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise


def _row(batch: Any) -> dict[str, Any] | Exception:
    """The only row of a batch, or what is wrong with which of its columns."""
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[0].as_py()
        except UnicodeDecodeError as error:
            return ValueError(f"{name!r} is no UTF-8: {error.reason}")
        except (ValueError, OverflowError, TypeError) as error:
            return ValueError(f"{name!r}: {error}")
    return row


def _with_texts(value: Any, depth: int) -> Any:
    """Bytes are text where they can be: many writers do not say that a column is text."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if depth > DEEPEST:
        return value
    if isinstance(value, dict):
        return {key: _with_texts(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_texts(item, depth + 1) for item in value]
    return value
