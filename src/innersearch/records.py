"""Files of a run: JSON written whole or not at all, and JSON lines that survive a kill.

A line is written in one piece and flushed. A torn last line, left by a kill or a full disk, is
dropped on reading and cut off before anything is appended.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from innersearch.errors import InnersearchError, RunError
from innersearch.stored import Record, complete_lines, read_json

T = TypeVar("T")

_CHUNK = 1 << 16
_BESIDE = re.compile(
    r"budget(-\d+)?\.json|.*\.(lock|log|part|err|out)|log\.txt|lost\+found|.*-(wal|shm|journal)"
)
"""What may lie in a folder that holds no records yet: what a start that failed left there, what the
shell writes of it, and what file systems keep for themselves."""
_SQLITE = b"SQLite format 3\0"


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, atomically.

    Raises:
        OSError: It cannot be written; it is `path` that the error names.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    replace_text(path, text)


def replace_text(path: Path, text: str) -> None:
    """Replace the text of `path`, atomically: whoever reads it, or kills this, finds the old or the new.

    Half characters, which no file can hold, become question marks.

    Raises:
        OSError: It cannot be written; it is `path` that the error names.
    """
    # Two processes that write the same file must not share what is not finished yet.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with partial.open("w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def to_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def begun(folder: Path, *, resume: bool, what: str) -> bool:
    """Whether `folder` already holds something to go on with.

    A cache, a count of calls, logs and locks are nothing: they may be there before the first record.

    Raises:
        RunError: It does and `resume` is not given, or it is a file, or cannot be written to.
    """
    demand_writable(folder)
    found = _first_record(folder)
    if found is None:
        return False
    if not resume:
        raise RunError(
            f"{folder} is not empty: add --resume to continue that {what}, or give another directory, "
            f"or delete it (it holds {found.relative_to(folder)})"
        )
    return True


def demand_writable(folder: Path) -> None:
    """Refuse a folder that is a file, or that cannot be made or written to.

    Raises:
        RunError: It is one.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give a directory")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise RunError(f"{folder} cannot be written to, because of {nearest}: give another directory")


def _first_record(folder: Path) -> Path | None:
    """The first file in `folder` that is more than a companion of records; None if there is none."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not _lies_beside(Path(place) / name):
                return Path(place) / name
    return None


def _lies_beside(file: Path) -> bool:
    if file.name.startswith(".") or _BESIDE.fullmatch(file.name):
        return True
    try:
        status = file.stat()
        if not status.st_size or _is_output(status):
            return True
        with file.open("rb") as content:
            return content.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _is_output(status: os.stat_result) -> bool:
    """Whether a file is where this process prints to."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(status, os.fstat(descriptor)):
                return True
    return False


def claim(
    folder: Path,
    identity: Any,
    *,
    resume: bool,
    what: str,
    otherwise: str,
    later: Mapping[str, Any] | None = None,
) -> bool:
    """Write what `folder` belongs to into its settings.json, or check it; whether it was begun before.

    Settings that came `later` had these values in folders that were written before.

    Raises:
        RunError: As `begun`, or it belongs to something else; then the text is `otherwise`.
    """
    written = folder / "settings.json"
    going_on = begun(folder, resume=resume, what=what)
    known = read_json(written) if going_on and written.exists() else None
    if isinstance(known, dict) and later:
        known = {**later, **known}
    if going_on and known != identity:
        raise RunError(f"{folder} {otherwise}{_differing(known, identity)}: give another directory")
    if not going_on:
        write_json(written, identity)
    return going_on


def _differing(known: Any, identity: Any) -> str:
    """Which settings are others than those that were written, in brackets."""
    if not isinstance(known, dict) or not isinstance(identity, dict):
        return ""
    keys = [key for key in {**known, **identity} if known.get(key) != identity.get(key)]
    return f" ({', '.join(keys)})"


def keep_lines(path: Path, kind: type, keep: Callable[[Record], bool]) -> None:
    """Rewrite a JSON-lines file with the complete records that `keep` accepts, atomically.

    Raises:
        DataError: A complete line is no record; nothing is changed.
        RunError: A record is not of `kind`, a TypedDict.
    """
    if not path.exists():
        return
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            file.writelines(line for line, record in complete_lines(path, kind) if keep(record))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_TEXTS = re.compile(
    r"No space left on device|File too large|Disk quota exceeded|database or disk is full"
    # Of torch.save, which notices that less was written than it thought, and of NumPy.
    r"|failed writing file|inline_container.*unexpected pos|\d+ requested and \d+ written"
)


@contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the many faces of a full disk, in libraries that write for us, into one clear error.

    Raises:
        RunError: Writing failed because the disk is full or a limit is reached; the file is named.
    """
    try:
        yield
    except InnersearchError:
        raise
    except Exception as error:
        reasons = [reason for reason in _chain(error) if _is_full(reason)]
        if not reasons:
            raise
        numbers = [reason.errno for reason in reasons if isinstance(reason, OSError) and reason.errno]
        why = os.strerror(numbers[0]) if numbers else "the disk is full, or a limit is reached"
        raise RunError(
            f"cannot write {_being_written(reasons, folder)}: {why}; what is written stays: free some "
            "space and run again with --resume"
        ) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_full(error: BaseException) -> bool:
    return getattr(error, "errno", None) in _FULL or _FULL_TEXTS.search(str(error)) is not None


def _being_written(reasons: Sequence[BaseException], folder: Path) -> str:
    """The file that an error names, or else the folder with what was written to last."""
    for reason in reasons:
        if isinstance(reason, OSError) and isinstance(reason.filename, str):
            return str(reason.filename2 or reason.filename)
    files = [file for file in folder.rglob("*") if file.is_file()]
    if not files:
        return str(folder)
    return f"to {folder}, last {max(files, key=lambda file: file.stat().st_mtime_ns)}"


class LineWriter:
    """Appends records to a JSON-lines file, each in one write, flushed at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, *records: dict[str, Any] | str) -> None:
        """Append records; a string is taken for JSON already.

        Raises:
            RunError: The disk is full, or the file cannot be written for another reason.
        """
        lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
        data = memoryview("".join(line + "\n" for line in lines).encode())
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise RunError(
                f"cannot write {self._path}: {error.strerror}; what is written stays: free some space "
                "and run again with --resume"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("r+b") as file:
        size = end = start = file.seek(0, os.SEEK_END)
        while start > 0:
            start = max(0, start - _CHUNK)
            file.seek(start)
            newline = file.read(min(_CHUNK, end - start)).rfind(b"\n")
            if newline >= 0:
                # What is whole is not written to, so that its time is that of its last line.
                if (whole := start + newline + 1) < size:
                    file.truncate(whole)
                return
        file.truncate(0)


def to_json(adapter: TypeAdapter[T], value: T) -> str:
    """One line of JSON for a dataclass, floats at five decimals."""
    data = adapter.dump_python(value, mode="json", exclude_none=True)
    return json.dumps(_rounded(data), ensure_ascii=False, separators=(",", ":"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
