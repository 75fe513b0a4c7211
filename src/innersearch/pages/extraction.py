"""The text of a page, found in worker processes that are killed when they take too long.

Parsers of HTML and PDF are large libraries, and what they read was written by strangers: it may keep
them busy for hours, or break them. So they run in `worker`, in a few processes that are used again, with
limits of their own and without the keys in this process's environment.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

from innersearch.errors import ConfigError, installing
from innersearch.pages.base import Opened, page_or_reason

LIMIT_S = 10.0
"""Longest time for one page, in seconds."""
WORKERS = 2
"""Processes at most."""
_SCRIPT = Path(__file__).with_name("worker.py")
_NEEDED = ("trafilatura", "pypdf", "protego")
_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_LARGEST = 64_000_000


def demand_extraction() -> None:
    """Check that what reads pages is installed.

    Raises:
        ConfigError: It is not.
    """
    if not is_installed():
        raise ConfigError(f"pages of the web need {', '.join(_NEEDED)}: {installing('web')}")


def is_installed() -> bool:
    """Whether what reads pages is there."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


class Extraction:
    """Worker processes, started as they are needed. Belongs to the event loop it is first used in.

    Args:
        workers: Processes at most.
        limit_s: Longest time for one page, in seconds; then its process is killed.
    """

    def __init__(self, workers: int = WORKERS, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._room = asyncio.Semaphore(workers)
        self._idle: list[Process] = []
        self._busy: set[Process] = set()

    async def read(self, body: bytes, kind: str, charset: str, address: str) -> Opened:
        """The page that bytes are: `html`, `pdf` or `text`; or why they are none."""
        async with self._room:
            try:
                worker = self._idle.pop() if self._idle else await self._start()
            except OSError as error:
                said = f"no process could be started to read the page ({type(error).__name__})"
                return Opened(error=said)
            self._busy.add(worker)
            whole = False
            try:
                async with asyncio.timeout(self._limit_s):
                    answer = await self._ask(worker, body, kind, charset, address)
                whole = True
            except TimeoutError:
                return _missing(f"it could not be read within {self._limit_s:g} s")
            except (OSError, EOFError, ValueError):
                return _missing("it broke what reads it")
            finally:
                self._busy.discard(worker)
                if whole:
                    self._idle.append(worker)
                else:
                    _kill(worker)
        if "error" in answer:
            return _missing(str(answer["error"])[:200])
        return page_or_reason(address, answer["title"], answer["text"], answer["links"])

    async def close(self) -> None:
        """End the processes."""
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        for worker in workers:
            _kill(worker)
        for worker in workers:
            with suppress(ProcessLookupError):
                await worker.wait()

    async def _start(self) -> Process:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        command = (sys.executable, "-P", str(_SCRIPT))
        pipes: dict[str, Any] = {"stdin": PIPE, "stdout": PIPE, "stderr": DEVNULL}
        return await asyncio.create_subprocess_exec(
            *command, **pipes, env=environment, start_new_session=True
        )

    async def _ask(
        self, worker: Process, body: bytes, kind: str, charset: str, address: str
    ) -> dict[str, Any]:
        if worker.stdin is None or worker.stdout is None:
            raise EOFError
        request = {"kind": kind, "charset": charset, "address": address, "limit_s": self._limit_s}
        for frame in (json.dumps(request).encode(), body):
            worker.stdin.write(len(frame).to_bytes(4, "big") + frame)
        await worker.stdin.drain()
        size = int.from_bytes(await worker.stdout.readexactly(4), "big")
        if size > _LARGEST:
            raise ValueError
        return _checked(json.loads(await worker.stdout.readexactly(size)))


def _checked(answer: Any) -> dict[str, Any]:
    """An answer that is one, although what was read may have taken the process over."""
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        return answer
    links = answer["links"] if isinstance(answer, dict) else None
    texts = [answer.get("title"), answer.get("text")] if isinstance(answer, dict) else [None]
    if not isinstance(links, list) or not all(isinstance(text, str) for text in (*texts, *links)):
        raise ValueError
    return answer


def _missing(why: str) -> Opened:
    return Opened(error=f"the page has no text to show: {why}", missing=True)


def _kill(worker: Process) -> None:
    with suppress(ProcessLookupError):
        worker.kill()
