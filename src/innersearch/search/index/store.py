"""What every index keeps on disk: its documents, its settings, and the rule that half of it is nothing.

An index is a folder. `documents.jsonl` holds one document per line, `offsets.npy` where each line
starts (int64, one more than there are documents); both are memory-mapped, so that millions of
documents cost no memory until they are read. `settings.json` is written last and lists every file with
its size and SHA-256. A build holds `<folder>.lock`, works in the sibling `<folder>.part` and takes the
folder's place at once; see `switch`.

What damage is seen: a missing file, another size, or an array that is not as long as its header says,
at every opening; any other byte at every opening of a small index, and by `verify` of a larger one.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from innersearch.errors import DataError, SearchError
from innersearch.locks import locked
from innersearch.progress import Progress, silent
from innersearch.records import to_disk, write_json
from innersearch.search.index import switch
from innersearch.search.index.corpus import document_of
from innersearch.stored import read_json
from innersearch.types import Document

FORMAT = 1
"""Version of the folder's layout."""
DOCUMENTS, OFFSETS, SETTINGS = "documents.jsonl", "offsets.npy", "settings.json"

T = TypeVar("T")
Value = str | int | float | bool | None

_REPORT_EVERY = 100_000
_SMALL = 1 << 26
"""Bytes of an index that are read at every opening, in a tenth of a second at most."""
_TRIES = 20


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What an index was built from and how."""

    engine: str
    library: str
    """Name and version of the library that computed it."""
    documents: int
    documents_sha256: str
    """Of `documents.jsonl`: two indexes of one hash hold the same documents in the same order."""
    parameters: dict[str, Value]
    files: dict[str, int]
    """Size of every other file of the folder, in bytes."""
    format: int = FORMAT
    sha256: dict[str, str] = field(default_factory=dict)
    """Of every other file; empty in an index made before it was kept."""

    def identity(self) -> dict[str, Value]:
        """What decides the results, flat."""
        return {
            "engine": self.engine,
            "library": self.library,
            "documents": self.documents,
            "documents_sha256": self.documents_sha256,
            **self.parameters,
        }


_SETTINGS = TypeAdapter(IndexSettings)


class DocumentStore(Sequence[Document]):
    """The documents of a JSON-lines file, each read from the memory map when it is asked for."""

    def __init__(self, file: Path, offsets: NDArray[np.int64]) -> None:
        """`offsets`: where each line starts and, last, where the file ends.

        Raises:
            SearchError: The file cannot be opened, or is not as long as `offsets` say.
        """
        self._file = file
        self._offsets = offsets
        try:
            with file.open("rb") as handle:
                self._bytes = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise SearchError(f"cannot open the documents {file}: {error}") from error
        if len(offsets) < 2 or len(self._bytes) != offsets[-1]:
            raise SearchError(
                f"{file} has changed since its lines were counted: build its index again with "
                "`innersearch index`, or delete its .offsets.npy file"
            )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> Document: ...
    @overload
    def __getitem__(self, row: slice) -> list[Document]: ...
    def __getitem__(self, row: int | slice) -> Document | list[Document]:
        """The document of a row.

        Raises:
            IndexError: There is no such row.
            SearchError: The line is damaged, or the store was closed.
        """
        if isinstance(row, slice):
            return [self[n] for n in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(f"there is no row {row} in {len(self)} documents")
        try:
            line = self._bytes[self._offsets[row] : self._offsets[row + 1]]
            document = document_of(line, row + 1, self._file)
        except (DataError, ValueError) as error:
            raise SearchError(f"cannot read document {row} of {self._file}: {error}") from error
        if document is None:
            raise SearchError(f"{self._file}, line {row + 1} is blank: remove it and the offsets")
        return document

    def close(self) -> None:
        """Let go of the file."""
        self._bytes.close()


def open_documents(folder: Path) -> DocumentStore:
    """The documents of an index.

    Raises:
        SearchError: They are missing or damaged.
    """
    return DocumentStore(folder / DOCUMENTS, load_array(folder / OFFSETS))


def open_lines(file: Path) -> DocumentStore:
    """The documents of a corpus that belongs to someone else's index, such as wiki-18's.

    Finding where lines start reads the whole file once; `<file>.offsets.npy` keeps it for the next time
    where the directory can be written to.

    Raises:
        SearchError: The file is missing, empty or not plain JSON lines.
    """
    if file.suffix != ".jsonl" or not file.is_file():
        raise SearchError(f"no corpus at {file}: give the unpacked .jsonl file the index was built from")
    kept = file.with_name(file.name + ".offsets.npy")
    if kept.is_file() and kept.stat().st_mtime >= file.stat().st_mtime:
        # What is damaged is found again.
        with suppress(SearchError):
            offsets = load_array(kept)
            if len(offsets) and offsets[-1] == file.stat().st_size:
                return DocumentStore(file, offsets)
    offsets = _line_starts(file)
    # Of its own for each process: several may look for the lines at once.
    partial = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    # Where nothing can be written, the next start looks for the lines again.
    with suppress(OSError):
        with partial.open("wb") as handle:
            np.save(handle, offsets)
        partial.replace(kept)
    return DocumentStore(file, offsets)


def _line_starts(file: Path) -> NDArray[np.int64]:
    ends = [np.zeros(1, dtype=np.int64)]
    position = 0
    with file.open("rb") as handle:
        while block := handle.read(1 << 24):
            ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + position + 1)
            position += len(block)
    offsets = np.concatenate(ends)
    return offsets if offsets[-1] == position else np.append(offsets, position)


def write_documents(
    documents: Iterable[Document], folder: Path, progress: Progress = silent
) -> tuple[DocumentStore, str]:
    """Write documents and their offsets into `folder`; the store and its SHA-256.

    Raises:
        SearchError: There is no document.
    """
    digest, offsets = hashlib.sha256(), array("q", [0])
    with (folder / DOCUMENTS).open("wb") as file:
        for count, document in enumerate(documents, 1):
            line = _line(document)
            file.write(line)
            digest.update(line)
            offsets.append(offsets[-1] + len(line))
            if count % _REPORT_EVERY == 0:
                progress("documents", count, count)
        file.flush()
        os.fsync(file.fileno())
    if len(offsets) == 1:
        raise SearchError("no documents were given to index")
    progress("documents", len(offsets) - 1, len(offsets) - 1)
    np.save(folder / OFFSETS, np.asarray(offsets, dtype=np.int64))
    return open_documents(folder), digest.hexdigest()


def documents_sha256(documents: Iterable[Document]) -> str:
    """The hash that `write_documents` would give, without writing."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(_line(document))
    return digest.hexdigest()


def _line(document: Document) -> bytes:
    row = {"id": document.id, "title": document.title, "text": document.text}
    if document.url is not None:
        row["url"] = document.url
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def load_array(file: Path) -> NDArray[Any]:
    """A memory-mapped array of a `.npy` file.

    Raises:
        SearchError: It is missing, cut off, too long or no array.
    """
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise broken(file.parent, f"{file.name} cannot be read ({error})") from error
    if array.offset + array.nbytes != file.stat().st_size:
        raise broken(file.parent, f"{file.name} is not as long as it says")
    return array


def broken(folder: Path, what: str) -> SearchError:
    """The error for an index that cannot be used."""
    return SearchError(f"the index {folder} is damaged: {what}; build it again with `innersearch index`")


@contextmanager
def building(folder: Path, *, keep: Collection[str] = ()) -> Iterator[Path]:
    """The directory `<folder>.part`, which takes the place of `folder` if the block ends well.

    An index already at `folder` is replaced, and stays whole until then. What a failed build leaves is
    thrown away, but for the files named in `keep`, with which another build can go on.

    Raises:
        SearchError: `folder` holds something that is no index, so does the place beside it where builds
            are made, it cannot be written, or another process is building it.
    """
    # However it is spelt, there is one lock for it.
    folder = folder.resolve()
    if folder.exists() and not _is_index(folder) and not _empty(folder):
        raise SearchError(f"{folder} is in the way and no index: delete it or give another folder")
    part = switch.part_of(folder)
    try:
        with locked(_lock_of(folder), f"the index {folder}", error=SearchError):
            switch.demand_place(folder)
            switch.recover(folder, SETTINGS)
            try:
                part.mkdir(exist_ok=True)
                _clear(part, keep)
                yield part
                switch.publish(folder)
                _drop_unlisted(folder)
            finally:
                if not keep:
                    shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise SearchError(f"cannot build the index {folder}: {error}") from error


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + switch.LOCK)


def _is_index(folder: Path) -> bool:
    """Whether it may be replaced; other directories hold a settings.json too."""
    return (folder / SETTINGS).is_file() and (folder / DOCUMENTS).is_file()


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _clear(part: Path, keep: Collection[str]) -> None:
    """Files are removed, not written over: someone may still read what was an index before."""
    for path in part.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in keep:
            path.unlink()


def _drop_unlisted(folder: Path) -> None:
    """Remove what only the build needed, once a kill no longer costs the work that is in it."""
    listed = read_json(folder / SETTINGS)["files"]
    for path in folder.iterdir():
        if path.name != SETTINGS and path.name not in listed:
            path.unlink()


def write_settings(
    part: Path,
    *,
    engine: str,
    library: str,
    documents: int,
    sha256: str,
    parameters: Mapping[str, Value],
    leave_out: Collection[str] = (),
) -> None:
    """Make what lies in `part` a complete index, which can do without the files in `leave_out`.

    Raises:
        SearchError: An array is not as long as it says.
    """
    files, digests = {}, {}
    for file in sorted(path for path in part.iterdir() if path.name not in leave_out):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
            digests[file.name] = hashlib.file_digest(handle, "sha256").hexdigest()
        files[file.name] = file.stat().st_size
        _check_array(file)
    if digests[DOCUMENTS] != sha256:
        raise SearchError(f"{part / DOCUMENTS} was changed while the index was built: build it again")
    settings = IndexSettings(engine, library, documents, sha256, dict(parameters), files, sha256=digests)
    write_json(part / SETTINGS, asdict(settings))
    to_disk(part)


def opened(folder: Path, engine: str | None, read: Callable[[Path, IndexSettings], T]) -> T:
    """What `read` makes of the files of an index, all of one build, also while it is replaced.

    `read` is given the directory and its settings, and may be called again.

    Raises:
        SearchError: As `read_settings`, or what `read` raises.
    """
    for _ in range(_TRIES):
        place = switch.place_of(folder, SETTINGS)
        before = _stamp(place)
        try:
            result = read(place, read_settings(place, engine))
        except (SearchError, OSError):
            if _stamp(place) == before:
                raise
        else:
            if _stamp(place) == before:
                return result
    raise SearchError(f"the index {folder} is being replaced again and again: open it later")


def _stamp(folder: Path) -> tuple[int, int, int] | None:
    """What tells one build from another: their files may be of one size, but not one file."""
    try:
        status = (folder / SETTINGS).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def read_settings(folder: Path, engine: str | None = None) -> IndexSettings:
    """The settings of a complete index, of `engine` if one is given.

    Of a small index (64 MB) all that it holds is compared with what was built; of a larger one the
    sizes and headers of its files, and `verify` does the rest.

    Raises:
        SearchError: There is no index, or it is incomplete, of another engine or of another format.
    """
    if not (folder / SETTINGS).is_file():
        part = switch.part_of(folder)
        unfinished = f"; {part} is an unfinished build" if part.is_dir() else ""
        raise SearchError(f"no index at {folder}{unfinished}: build it with `innersearch index`")
    try:
        settings = _SETTINGS.validate_python(read_json(folder / SETTINGS))
    except (ValidationError, ValueError) as error:
        raise broken(folder, f"{SETTINGS} cannot be read") from error
    if engine is not None and settings.engine != engine:
        raise SearchError(f"{folder} is an index of {settings.engine!r}, not of {engine!r}")
    if settings.format != FORMAT:
        raise broken(folder, f"its format is {settings.format}, and this version reads {FORMAT}")
    for name, size in settings.files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            raise broken(folder, f"{name} is missing or not of its {size} bytes")
        _check_array(file)
    if len(load_array(folder / OFFSETS)) != settings.documents + 1:
        raise broken(folder, f"{OFFSETS} does not belong to {settings.documents:,} documents")
    if sum(settings.files.values()) <= _SMALL:
        _compare(folder, settings, silent)
    return settings


def verify(folder: Path, progress: Progress = silent) -> tuple[int, int]:
    """Compare every file of an index with what was built; how many files, and how many could not be.

    An index made before this was kept has only the hash of its documents.

    Raises:
        SearchError: There is no index, or a file is damaged; it is named.
    """

    def read(place: Path, settings: IndexSettings) -> tuple[int, int]:
        compared = _compare(place, settings, progress)
        return compared, len(settings.files) - compared

    return opened(folder, None, read)


def _compare(folder: Path, settings: IndexSettings, progress: Progress) -> int:
    known = {DOCUMENTS: settings.documents_sha256} | settings.sha256
    done, total = 0, sum(settings.files[name] for name in known if name in settings.files)
    for name, digest in known.items():
        with (folder / name).open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != digest:
            raise broken(folder, f"{name} is not what was built, though it is of the same size")
        done += settings.files.get(name, 0)
        progress("bytes", done, total)
    return len(known)


def _check_array(file: Path) -> None:
    if file.suffix == ".npy":
        load_array(file)
