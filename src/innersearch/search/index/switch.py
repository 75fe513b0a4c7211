"""How a directory takes the place of another at once, and what a kill on the way leaves behind.

Something new is made in the sibling `<folder>.part`. Where the kernel can exchange two names, that is
one step, and there is always one whole `folder`. Elsewhere (some network mounts, other systems) the old
one is renamed to `.<folder>.replaced` first; whoever is killed or reads between the two steps finds the
new one by `place_of`, and the next build finishes the switch. People call a copy of their own
`<folder>.old`, so that is not what is thrown away.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from pathlib import Path

from innersearch.errors import SearchError
from innersearch.records import to_disk

PART, LOCK = ".part", ".lock"
"""How the names of what is being made and of the lock of whoever makes it end."""
_MADE = re.compile(
    r"documents\.jsonl|.+\.npy|.+\.index\.json|index\.faiss|(?:building|settings)\.json|\..+\.part"
)
"""The files of an index and of its making."""
_HERE = -100
_EXCHANGE = 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


def part_of(folder: Path) -> Path:
    """Where what is to take the place of `folder` is made."""
    return _sibling(folder, "", PART)


def demand_place(folder: Path) -> None:
    """Check that what is made and thrown away beside `folder` is nobody else's.

    Raises:
        SearchError: There is something that no build left, or `folder` is called as what builds leave.
    """
    if folder.suffix in (PART, LOCK):
        raise SearchError(
            f"what builds make beside an index and throw away is called {folder.suffix}: give another "
            f"name than {folder.name}"
        )
    part = part_of(folder)
    if part.exists() and not (part.is_dir() and all(_MADE.fullmatch(p.name) for p in part.iterdir())):
        raise SearchError(f"{part} is in the way, where the index is to be built: move it or delete it")


def place_of(folder: Path, marker: str) -> Path:
    """Where `folder` is to be read: itself, or what was to take its place, or what it was before.

    `marker` is the file that only a complete one has; where none has it, `folder` itself.
    """
    # Again at the end: it may have come back while the others were looked at.
    places = (folder, part_of(folder), _old(folder), folder)
    return next((place for place in places if (place / marker).is_file()), folder)


def recover(folder: Path, marker: str) -> None:
    """Finish a switch that a kill broke off; only for whoever holds the lock."""
    place = place_of(folder, marker)
    if place != folder and (place / marker).is_file():
        place.rename(folder)
    if (folder / marker).is_file():
        shutil.rmtree(_old(folder), ignore_errors=True)


def publish(folder: Path) -> None:
    """Let `<folder>.part` take the place of `folder`, and throw away what was there."""
    part, old = part_of(folder), _old(folder)
    if folder.is_dir() and any(folder.iterdir()):
        if exchange(part, folder):
            old = part
        else:
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            part.rename(folder)
    else:
        part.rename(folder)
    to_disk(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or directories in one step; whether the system can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _old(folder: Path) -> Path:
    return _sibling(folder, ".", ".replaced")


def _sibling(folder: Path, before: str, ending: str) -> Path:
    # Beside the directory itself, also where it is reached by a link, or is called "." here.
    real = folder.resolve()
    return real.with_name(before + real.name + ending) if real.name else real
