"""Rows that people bring, whatever they are kept in: read right, or refused by file and row.

JSON lines, one JSON list, Parquet, Arrow, .csv and .tsv; the texts among them also packed by gzip,
bzip2, xz or zstd. A directory is what `save_to_disk` of datasets leaves, or the parts of one file.
"""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from innersearch.errors import DataError
from innersearch.rows.columnar import arrow_rows, parquet_rows
from innersearch.rows.files import intact, mode_of
from innersearch.rows.lines import Row, begins_as_list, json_lines, json_list, type_of
from innersearch.rows.saved import saved_parts
from innersearch.rows.tables import table_rows

JSON = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv")
COLUMNAR = (".parquet", ".arrow")
KINDS = (*JSON, *TABLES, *COLUMNAR)
__all__ = ["KINDS", "READ", "TABLES", "Numbered", "Row", "kind_of", "name_of", "read_rows", "type_of"]
_PACKED = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd")
READ = ".jsonl, .json, .csv and .tsv (also .gz, .bz2, .xz and .zst), .parquet and .arrow"
"""What can be read, in words."""
_NO_PARTS = ("dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json")
_OF = re.compile(r"-(\d+)-of-(\d+)")
_COUNTERS = re.compile(r"-?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[\W_]*\d+")


class Numbered(NamedTuple):
    """A row of a file, or what is wrong with it."""

    place: str
    """The file and the row, for messages."""
    number: int
    """From 1, over all parts of a directory; in JSON lines that of the line."""
    values: Row | DataError


def read_rows(path: Path, what: str = "data file", columns: Collection[str] = ()) -> Iterator[Numbered]:
    """The rows of a file or directory, one after the other.

    Args:
        path: The file or directory.
        what: How messages call it.
        columns: Further columns need not be read.

    Raises:
        DataError: At once if there is nothing that can be read; while reading if it cannot be read
            further.
    """
    parts = _parts(path, what)
    return _numbered(parts, columns)


def name_of(path: Path) -> str:
    """A file's name without the endings that say how it is kept.

    >>> name_of(Path("data/nq.test.jsonl.gz")), name_of(Path("v1.5"))
    ('nq.test', 'v1.5')
    """
    name = path.name
    for endings in (_PACKED, KINDS):
        name = next((name[: -len(end)] for end in endings if name.lower().endswith(end)), name)
    return name or path.name


def kind_of(path: Path) -> str:
    """The ending that says what a file holds, or an empty string."""
    name = path.name.lower()
    packed = next((end for end in _PACKED if name.endswith(end)), "")
    kind = Path(name.removesuffix(packed)).suffix
    if kind not in KINDS or (packed and kind in COLUMNAR):
        return ""
    return kind


def _numbered(parts: list[Path], columns: Collection[str]) -> Iterator[Numbered]:
    before = 0
    for part in parts:
        number = 0
        for number, row in _rows(part, columns):
            yield Numbered(f"{part}, row {number}", before + number, row)
        before += number


def _rows(path: Path, columns: Collection[str]) -> Iterator[tuple[int, Row | DataError]]:
    kind = kind_of(path)
    if kind == ".parquet":
        return parquet_rows(path, columns)
    if kind == ".arrow":
        return arrow_rows(path, columns)
    if kind in TABLES:
        return table_rows(path, kind)
    return json_list(path) if kind == ".json" or begins_as_list(path) else json_lines(path)


def _parts(path: Path, what: str) -> list[Path]:
    if stat.S_ISDIR(mode_of(path, what)):
        return saved_parts(path) or _shards(path, what)
    if not kind_of(path):
        raise DataError(f"{path} ends in {path.suffix!r}; {what}s are {READ}")
    return [path]


def _shards(folder: Path, what: str) -> list[Path]:
    """The parts of one file in a directory, in their order.

    Raises:
        DataError: There are none, some are missing, or there are several files.
    """
    with intact(folder):
        found = [file for file in folder.iterdir() if _is_part(file)]
    kinds = Counter(kind_of(file) for file in found)
    if ".json" in kinds and len(kinds) > 1:
        # Beside data of another kind a .json file describes it.
        found = [file for file in found if kind_of(file) != ".json"]
        del kinds[".json"]
    if not found:
        raise DataError(f"{folder} is a directory without a {what} in it: {what}s are {READ}")
    if len({_COUNTERS.sub("", name_of(file)) for file in found}) > 1 or len(kinds) > 1:
        some = ", ".join(sorted(file.name for file in found)[:4])
        raise DataError(f"{folder} holds several files that are no parts of one ({some}): name one")
    _demand_all(found, folder)
    return sorted(found, key=_natural)


def _is_part(file: Path) -> bool:
    return (
        bool(kind_of(file))
        and file.name[0] not in "._"
        and file.name not in _NO_PARTS
        and not file.name.endswith(".manifest.json")
        and file.is_file()
    )


def _demand_all(files: list[Path], folder: Path) -> None:
    counted = [found for file in files if (found := _OF.search(file.name))]
    for total in {found[2] for found in counted}:
        missing = set(range(int(total))) - {int(found[1]) for found in counted if found[2] == total}
        if missing and missing != {0}:
            raise DataError(
                f"{folder} holds {len(counted)} of {int(total)} parts; part {min(missing)} is missing"
            )


def _natural(file: Path) -> list[tuple[int, str]]:
    """Part 10 comes after part 9."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", file.name)]
