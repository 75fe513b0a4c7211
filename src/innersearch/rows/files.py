"""Files that people bring: packed or not, in one of the encodings of Unicode, or no such file at all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from innersearch.errors import DataError

T = TypeVar("T")

LONGEST = 1 << 27
"""Bytes of one row; what is longer is no row but a file without line ends."""
_HEAD = 512
_PIECE = 1 << 16
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_MARKS = {
    **{b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32"},
    **{b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"},
}
"""Byte order marks, longer ones first."""
_OTHERS = {
    b"version https://git-lfs": "is a Git LFS pointer: run `git lfs pull` in its repository",
    b"PK\x03\x04": "is a zip archive: unpack it",
    b"PAR1": "is a Parquet file: give it a name that ends in .parquet",
    b"ARROW1": "is an Arrow file: give it a name that ends in .arrow",
    b"<!doctype html": "is a web page, not what was asked for: fetch it again",
    b"<html": "is a web page, not what was asked for: fetch it again",
    b"<?xml": "is XML, which is not read here",
}
_KINDS = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISDIR: "a directory"}
_CAUSES = (EOFError, OSError, zlib.error, lzma.LZMAError)


def directory(text: str) -> Path:
    """The path that a text stands for; a leading ~ is the home of a user, if there is such a user."""
    return Path(os.path.expanduser(text))


def mode_of(path: Path, what: str) -> int:
    """The mode of what stands at `path`, which is a file or a directory.

    Raises:
        DataError: There is nothing, or it is a pipe or a device, which may never end.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"no {what} at {path}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"no {what} at {str(path)[:200]!a}: {reason}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = next((name for test, name in _KINDS.items() if test(mode)), "a device")
        raise DataError(f"{path} is {kind}: give a file that can be read twice")
    return mode


def refuse_other_kinds(path: Path) -> None:
    """Refuse what is there instead of a file: a pointer to it, or the page of an error.

    Raises:
        DataError: It is one of these.
    """
    with _readable(path), path.open("rb") as file:
        _refuse(file.read(_HEAD), path, [b"version https://git-lfs", b"<!doctype html", b"<html"])


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, unpacked if it is packed, whatever its name says.

    Raises:
        DataError: It cannot be opened, or is something else that is known by its first bytes. What
            fails while it is read is for `intact` to say.
    """
    with _readable(path), path.open("rb") as file:
        kind = _packed(file)
        stream = _unpacked(file, kind)
        with intact(path, kind):
            head = cast(Any, stream).peek(_HEAD)[:_HEAD]
        _refuse(head, path, _OTHERS)
        with intact(path, kind):
            yield stream


@contextmanager
def intact(path: Path, kind: str = "") -> Iterator[None]:
    """Say that a file is damaged in the words of whoever gave it.

    Raises:
        DataError: Reading or unpacking failed.
    """
    try:
        yield
    except DataError:
        raise
    except _CAUSES as error:
        reason = getattr(error, "strerror", None) or error
        if not kind:
            raise DataError(f"{path} cannot be read: {reason}") from error
        raise DataError(f"{path} is no complete {kind} file: {reason}; fetch it again") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _packed(file: IO[bytes]) -> str:
    head = file.read(8)
    file.seek(0)
    return next((name for magic, name in _PACKED.items() if head.startswith(magic)), "")


def _unpacked(file: IO[bytes], kind: str) -> io.BufferedIOBase:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)
    if kind == "bzip2":
        return bz2.BZ2File(file)
    if kind == "xz":
        return lzma.LZMAFile(file)
    if kind == "zstd":
        import pyarrow as pa

        stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        return io.BufferedReader(cast(io.RawIOBase, stream))
    return cast(io.BufferedIOBase, file)


def _refuse(head: bytes, path: Path, kinds: Iterable[bytes]) -> None:
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic in kinds:
        if begin.startswith(magic) or begin.lower().startswith(magic):
            raise DataError(f"{path} {_OTHERS[magic]}")


def encoding_of(head: bytes) -> str:
    r"""The encoding that the first bytes of a text say it has; UTF-8 where they say nothing.

    >>> encoding_of(b"\xff\xfea\x00"), encoding_of(b"{\x00"), encoding_of(b"{}")
    ('utf-16', 'utf-16-le', 'utf-8-sig')
    """
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    # Every table and every JSON begins with a character of ASCII, or with a quote and one more.
    if len(head) >= 2 and head[1] == 0 != head[0]:
        return "utf-16-le"
    return "utf-16-be" if len(head) >= 2 and head[0] == 0 != head[1] else "utf-8-sig"


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text, numbered from 1, as UTF-8 without byte order mark; ended by LF, CR or both.

    Whether the bytes are UTF-8 is for the reader of a line to find out.

    Raises:
        DataError: The file is damaged, of another kind, or has a line of more than 128 MiB.
    """
    with opened(path) as stream:
        encoding = encoding_of(cast(Any, stream).peek(4)[:4])
        if encoding == "utf-8-sig":
            yield from enumerate(_split(stream, path), 1)
            return
        number = 0
        try:
            for number, line in enumerate(io.TextIOWrapper(cast(Any, stream), encoding), 1):
                yield number, line.encode()
        except UnicodeError as error:
            raise _no_encoding(path, number + 1, encoding, error) from error


def _split(stream: io.BufferedIOBase, path: Path) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise DataError(
                f"{path}, row {number} is longer than {LONGEST >> 20} MiB: no line ends there"
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in line[:-2]:
            yield from line.splitlines(keepends=True)
        else:
            yield line


def _no_encoding(path: Path, number: int, encoding: str, error: UnicodeError) -> DataError:
    reason = getattr(error, "reason", None) or error
    name = encoding.upper().removesuffix("-SIG")
    return DataError(f"{path}, row {number} is no {name}: {reason}; save the file as UTF-8")


def text_of(path: Path, what: str) -> str:
    """The whole text of a small file, with LF at the ends of its lines.

    Raises:
        DataError: There is none, it is damaged, too large, or in no encoding of Unicode.
    """
    if stat.S_ISDIR(mode_of(path, what)):
        raise DataError(f"{path} is a directory: give a file")
    with opened(path) as stream:
        # At once, its memory would be that of the longest file there may be.
        data = bytearray()
        while len(data) <= LONGEST and (piece := stream.read(_PIECE)):
            data += piece
    if len(data) > LONGEST:
        raise DataError(f"{path} is larger than {LONGEST >> 20} MiB")
    return decoded(bytes(data), path).replace("\r\n", "\n").replace("\r", "\n")


def decoded(data: bytes, path: Path) -> str:
    """A text in the encoding that its first bytes say.

    Raises:
        DataError: It is in none of Unicode; the message names the line.
    """
    encoding = encoding_of(data[:4])
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        number = data[: getattr(error, "start", 0)].count(b"\n") + 1
        raise DataError(
            f"{path}, line {number} is no {encoding.upper().removesuffix('-SIG')}: "
            f"{getattr(error, 'reason', None) or error}; save the file as UTF-8"
        ) from error


@contextmanager
def text_stream(path: Path) -> Iterator[io.TextIOWrapper]:
    """A text in the encoding that its first bytes say, its line ends as they are.

    Raises:
        DataError: As `opened`.
    """
    with opened(path) as stream:
        encoding = encoding_of(cast(Any, stream).peek(4)[:4])
        yield io.TextIOWrapper(cast(Any, stream), encoding, newline="")
