"""Locks between processes, threads and what a killed process leaves behind."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import signal
import socket
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from innersearch.errors import RunError, SearchError
from innersearch.locks import locked

FORK = multiprocessing.get_context("fork")


def hold(file: Path, has: Event, go: Event) -> None:
    with locked(file, "the thing"):
        has.set()
        go.wait()


def another(file: Path) -> tuple[multiprocessing.Process, Event]:
    """A process that holds the lock until its event."""
    has, go = FORK.Event(), FORK.Event()
    process = FORK.Process(target=hold, args=(file, has, go))
    process.start()
    has.wait()
    return process, go


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "new" / "thing.lock"
    process, go = another(file)
    with (
        pytest.raises(SearchError, match=f"thing is .* {process.pid} on {socket.gethostname()}"),
        locked(file, "the thing", error=SearchError),
    ):
        pass
    go.set()
    process.join()
    with locked(file, "the thing"):
        assert file.exists()
    assert not file.exists()


def test_a_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process, _ = another(file)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert file.exists()
    with locked(file, "the thing"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_holders_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file, "the thing"):
        for _ in range(2):
            with pytest.raises(RunError, match=f"process {os.getpid()}"), locked(file, "the thing"):
                pass
        with locked(tmp_path / "other", "another thing"):
            pass
    with pytest.raises(ValueError, match="own"), locked(file, "the thing"):
        raise ValueError("own")
    with locked(file, "the thing"):
        pass


def test_a_child_that_was_forked_meanwhile_does_not_hold_on(tmp_path: Path) -> None:
    runs, go = FORK.Event(), FORK.Event()
    with locked(tmp_path / "lock", "the thing"):
        same = os.open(tmp_path / "lock", os.O_RDWR)
        child = FORK.Process(target=lambda: (runs.set(), go.wait()))
        child.start()
        runs.wait()
    fcntl.flock(same, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(same)
    go.set()
    child.join()


def test_a_child_of_a_killed_holder_is_named_or_lets_go(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    handle = os.open(file, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    dead = FORK.Process(target=lambda: None)
    dead.start()
    dead.join()
    os.write(handle, f'{{"pid": {dead.pid}, "host": "{socket.gethostname()}"}}'.encode())
    with pytest.raises(RunError, match=f"process {dead.pid} .* left behind"), locked(file, "the thing"):
        pass
    os.ftruncate(handle, 0)
    with pytest.raises(RunError, match="another process"), locked(file, "the thing"):
        pass
    os.close(handle)


def test_a_removed_lock_is_not_taken_for_the_one_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder ends between our opening of the file and our lock on it."""
    file, flock, removed = tmp_path / "lock", fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not removed:
            removed.append(True)
            file.unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(file, "the thing"):
        assert file.exists()
        with pytest.raises(RunError), locked(file, "the thing"):
            pass


def test_places_without_locks_or_rights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match="cannot lock the thing: "),
        locked(tmp_path / "file" / "lock", "the thing"),
    ):
        pass

    def flock(code: int) -> None:
        def fails(handle: int, how: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", fails)

    flock(errno.EIO)
    with pytest.raises(RunError, match="cannot lock"), locked(tmp_path / "lock", "the thing"):
        pass
    flock(errno.ENOLCK)
    with caplog.at_level(logging.WARNING), locked(tmp_path / "lock", "the thing"):
        assert "has no locks" in caplog.text
