"""Checkpoints that can be believed: each has a mark, which says what belongs to it and how that looked.

A checkpoint counts once it is marked, so a kill in the middle of saving costs only that one. Before the
mark is written, everything it vouches for is on the disk, so a power failure cannot leave the mark
alone. The mark holds size and digest of each file, and how long the records beside it were. A checkpoint
that no longer looks so is damaged: it is named, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from innersearch.errors import DataError, RunError
from innersearch.records import to_disk, write_json
from innersearch.stored import read_json

MARK = "innersearch.json"
_log = logging.getLogger(__name__)
_BLOCK = 1 << 20
_BLOCKS = 64
"""So many blocks of a file are read for its digest, which is all of it up to 64 MiB."""


class Checkpoint(NamedTuple):
    """A complete checkpoint and its average reward."""

    step: int
    score: float
    path: Path


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in a folder, each in a folder of its own; and the records they go with."""

    folder: Path
    records: tuple[Path, ...] = ()
    """Files that are appended to while training goes on."""

    def complete(self) -> list[Checkpoint]:
        """All that have a mark which can be read, oldest first."""
        marks = [(path, _mark(path / MARK)) for path in self._folders()]
        return sorted(Checkpoint(mark.step, mark.score, path) for path, mark in marks if mark)

    def latest(self) -> Checkpoint | None:
        """The newest one that is not damaged; newer ones that are, are named.

        Raises:
            RunError: All of them are damaged.
        """
        damaged = [f"{path} ({MARK} is no mark)" for path in self._folders() if _unreadable(path / MARK)]
        for checkpoint in reversed(self.complete()):
            harm = self.harm(checkpoint)
            if harm is None:
                for text in damaged:
                    _log.warning("%s is damaged: going back to step %s", text, checkpoint.step)
                return checkpoint
            damaged.append(f"{checkpoint.path} ({harm})")
        if damaged:
            raise RunError(
                f"every checkpoint is damaged: {', '.join(damaged)}; put back what is missing, or start "
                "anew with another --output"
            )
        return None

    def best(self) -> Checkpoint | None:
        """The one with the highest average reward of those that are not damaged."""
        ranked = sorted(self.complete(), key=lambda c: (c.score, c.step), reverse=True)
        return next((checkpoint for checkpoint in ranked if self.harm(checkpoint) is None), None)

    def mark_complete(self, step: int, score: float, number: int | None = None) -> None:
        """Declare the checkpoint of `step` complete; keep it, the one before it and the best.

        The `number` of its folder is that of the step, unless it is given.
        """
        path = self.folder / f"checkpoint-{step if number is None else number}"
        self.mark(path, step, score)
        complete = self.complete()
        best = max(complete, key=lambda c: (c.score, c.step))
        for checkpoint in complete:
            if checkpoint not in (*complete[-2:], best):
                remove(checkpoint.path)

    def mark(self, path: Path, step: int, score: float) -> None:
        """Write the mark of a checkpoint, once all of it is on the disk."""
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != MARK)
        records = [record for record in self.records if record.is_file()]
        folders = {folder for file in files for folder in (file.parent, *file.parent.parents)}
        inner = {folder for folder in folders if path in (folder, *folder.parents)}
        for file in (*files, *records, *inner, path, self.folder):
            to_disk(file)
        mark = _Mark(
            step=step,
            score=score,
            files={str(file.relative_to(path)): (file.stat().st_size, digest(file)) for file in files},
            records={record.name: record.stat().st_size for record in records},
        )
        write_json(path / MARK, mark.model_dump())
        to_disk(path)

    def harm(self, checkpoint: Checkpoint) -> str | None:
        """What is not as the mark of a checkpoint says, or None."""
        mark = _mark(checkpoint.path / MARK)
        if mark is None:
            return f"{MARK} is no mark"
        for name, (size, known) in (mark.files or {}).items():
            file = checkpoint.path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} of {size} bytes"
            if digest(file) != known:
                return f"{name} is not what was written"
        for record in self.records:
            wanted = mark.records.get(record.name, 0)
            size = record.stat().st_size if record.is_file() else 0
            if size < wanted:
                return f"{record.name} has {size} of {wanted} bytes"
        return None

    def vouched(self, checkpoint: Checkpoint) -> bool:
        """Whether its mark says what belongs to it, as all do that this version writes."""
        mark = _mark(checkpoint.path / MARK)
        return mark is not None and mark.files is not None

    def clear(self, kept: Checkpoint | None) -> None:
        """Remove what is newer than a checkpoint, and what was never finished."""
        complete = {c.path for c in self.complete() if kept is not None and c.step <= kept.step}
        for path in self._folders():
            if path not in complete:
                remove(path)

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("checkpoint-*") if path.is_dir())


def remove(path: Path) -> None:
    """Remove a checkpoint, its mark first."""
    (path / MARK).unlink(missing_ok=True)
    shutil.rmtree(path)


def digest(path: Path) -> str:
    """A digest of a file: of all of it up to 64 MiB, else of 64 blocks of 1 MiB, the last among them."""
    blake = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for start in _starts(path.stat().st_size):
            file.seek(start)
            blake.update(file.read(_BLOCK))
    return blake.hexdigest()


def _starts(size: int) -> Iterable[int]:
    if size <= _BLOCK * _BLOCKS:
        return range(0, size, _BLOCK)
    return [number * (size - _BLOCK) // (_BLOCKS - 1) for number in range(_BLOCKS)]


class _Mark(BaseModel):
    step: int
    score: float
    files: dict[str, tuple[int, str]] | None = None
    """Size and digest by name; None in marks of earlier versions."""
    records: dict[str, int] = {}
    """Size by name."""


def _mark(path: Path) -> _Mark | None:
    """A mark, or None if there is none that can be read."""
    try:
        return _Mark.model_validate(read_json(path))
    except (OSError, DataError, ValidationError):
        return None


def _unreadable(path: Path) -> bool:
    return path.is_file() and _mark(path) is None
