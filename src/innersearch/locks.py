"""One process at a time: a lock on something that two processes must not write at once.

The lock is the kernel's (`flock`), so it ends with the process that holds it, however that ends: a file
that a killed process left behind is in nobody's way. What stands in the file only names the holder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from innersearch.errors import InnersearchError, RunError
from innersearch.records import clear_disk_errors, demand_writable

_log = logging.getLogger(__name__)

_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_READS = 50
"""Looks at the file until its holder has written its name: it does so just after it has the lock."""
_held: set[int] = set()


@contextmanager
def locked(file: Path, what: str, *, error: type[InnersearchError] = RunError) -> Iterator[None]:
    """Hold the lock `file` during the block; the file is made, and removed at the end.

    Threads of one process exclude each other as processes do. Where the file system has no locks, as on
    a few network mounts, a warning is logged and the block runs.

    Args:
        file: Lies beside what is locked, where whoever locks can write.
        what: What is locked, for the message: "the index runs/wiki".
        error: What is raised.

    Raises:
        InnersearchError: Of the type `error`: another process holds the lock, which is named with its
            pid and host, or the file cannot be made.
    """
    handle = _acquire(file, what, error)
    try:
        yield
    finally:
        # Before it is let go of: afterwards it may be another's.
        with suppress(OSError):
            file.unlink()
        _held.discard(handle)
        os.close(handle)


@contextmanager
def held(folder: Path, what: str, name: str = ".lock") -> Iterator[None]:
    """Be the only process that writes the folder of a run, an evaluation and the like, during the block.

    Raises:
        RunError: Another process does, which is named, or the folder cannot be written to.
    """
    demand_writable(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with clear_disk_errors(folder), locked(folder / name, f"the {what} {folder}"):
            yield
    finally:
        # What was refused before it began leaves nothing behind; what holds something stays.
        with suppress(OSError):
            for path in made:
                path.rmdir()


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder, and keep them out during it.

    For moments only, such as reading a small file and writing it anew: whoever comes later waits.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as reason:
            if reason.errno not in _UNSUPPORTED:
                raise
        yield
    finally:
        os.close(handle)


def _acquire(file: Path, what: str, error: type[InnersearchError]) -> int:
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as reason:
            raise error(f"cannot lock {what}: {reason.strerror}: {file}") from reason
        try:
            _flock(handle, file, what, error)
            if _is_still(file, handle):
                note = {"pid": os.getpid(), "host": socket.gethostname()}
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(note).encode(), 0)
                _held.add(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        # Its last holder removed it between our opening and locking it.
        os.close(handle)


def _flock(handle: int, file: Path, what: str, error: type[InnersearchError]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise error(
            f"{what} is being written by {_holder(handle)}: wait until it has ended, or end it, or give "
            "another place"
        ) from None
    except OSError as reason:
        if reason.errno not in _UNSUPPORTED:
            raise error(f"cannot lock {what}: {reason.strerror}: {file}") from reason
        _log.warning("%s has no locks: nothing keeps a second process from %s", file.parent, what)


def _is_still(file: Path, handle: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    """Who holds the lock, as far as the file says."""
    for _ in range(_READS):
        try:
            note = json.loads(os.pread(handle, 1 << 12, 0))
            pid, host = int(note["pid"]), str(note["host"])
        except (ValueError, TypeError, LookupError):
            note = None
        else:
            # The name of an earlier holder, which was killed, stands there for a moment.
            if host != socket.gethostname() or _alive(pid):
                return f"process {pid} on {host}"
        time.sleep(0.01)
    if note is None:
        return "another process"
    return f"a process that process {pid} on {host} has started and left behind"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _let_go() -> None:
    """In a forked child, which would otherwise hold the lock as long as it lives."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
