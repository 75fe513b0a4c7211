"""Commands in processes of their own, several at once: each is done once, and goes on after a kill."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.evidence.plan import ROOT, shown

from innersearch.records import write_json
from innersearch.stored import read_json

_BEAT_S = 2.0
"""How often the seconds so far are written: a kill loses no more of them."""
_ENDS_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    arguments: Sequence[str] | Callable[[], Sequence[str]]
    """Of `innersearch`, or of Python where the first is `python`; or what tells them once it is time."""
    output: Path | None = None
    """Where it writes; if there is anything it is told to go on with it."""


@dataclass(frozen=True)
class Job:
    """Steps after one another in a folder, and what is made of them."""

    name: str
    folder: Path
    steps: Sequence[Step]
    needs: frozenset[str] = frozenset()
    """Names of jobs that come before."""
    finish: Callable[[], None] = lambda: None
    kind: str = ""
    """Jobs of one kind take about as long."""


class Failed(Exception):
    """A command failed; the text says which and what it said."""


@dataclass
class Progress:
    """What was done, by whom everybody asks in turn."""

    jobs: Sequence[Job]
    say: Callable[[str], None]
    workers: int
    done: dict[str, float] = field(default_factory=dict)
    """Seconds of each job that is done."""
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)
    """When each of those that run began, by the clock of this process."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self) -> Job | None:
        """The next job whose needs are done; waits for one, and is None once there is none left."""
        with self.changed:
            while True:
                left = [j for j in self.jobs if j.name not in (*self.done, *self.failed, *self.running)]
                for job in left:
                    if lost := job.needs & self.failed.keys():
                        self._lost(job, f"needs {', '.join(sorted(lost))}, which failed")
                        break
                    if job.needs <= self.done.keys():
                        self.running[job.name] = time.monotonic()
                        return job
                else:
                    if not left:
                        return None
                    self.changed.wait()

    def ended(self, job: Job, failure: str = "") -> None:
        """Note how a job ended."""
        with self.changed:
            seconds = time.monotonic() - self.running.pop(job.name)
            if failure:
                self._lost(job, failure)
            else:
                self.done[job.name] = seconds
                self.say(f"{job.name}: done in {seconds:,.0f} s; {self.forecast()}")
            self.changed.notify_all()

    def _lost(self, job: Job, failure: str) -> None:
        self.failed[job.name] = failure
        job.folder.mkdir(parents=True, exist_ok=True)
        write_json(job.folder / "failed.json", {"job": job.name, "said": failure})
        self.say(f"{job.name}: FAILED, {failure}")
        self.changed.notify_all()

    def forecast(self) -> str:
        """How much is left, as far as jobs of the same kind have shown."""
        kinds = {job.name: job.kind for job in self.jobs}
        known: dict[str, list[float]] = {}
        for name, seconds in self.done.items():
            known.setdefault(kinds.get(name, ""), []).append(seconds)
        left = [job for job in self.jobs if job.name not in (*self.done, *self.failed)]
        counted = f"{len(self.done)} of {len(self.jobs)} done" + (
            f", {len(self.failed)} failed" if self.failed else ""
        )
        told = [job for job in left if job.kind in known]
        total = sum(sum(known[job.kind]) / len(known[job.kind]) for job in told)
        total -= sum(time.monotonic() - self.running[j.name] for j in told if j.name in self.running)
        hours = f"about {max(total, 0) / 3600 / self.workers:.1f} h left"
        unknown = len(left) - len(told)
        more = f" and {unknown} of which nothing is known yet" if unknown else ""
        return f"{counted}, {hours}{more}"


def run_all(jobs: Sequence[Job], workers: int, say: Callable[[str], None]) -> dict[str, str]:
    """Do all jobs, `workers` at once, and return those that failed with what they said."""
    progress = Progress(jobs, say, workers)

    def work() -> None:
        while (job := progress.take()) is not None:
            try:
                do(job)
            except Exception as error:  # One that fails stops no other.
                progress.ended(job, " ".join(str(error).split()) or type(error).__name__)
            else:
                progress.ended(job)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return progress.failed


def do(job: Job) -> None:
    """Do the steps of a job that are not done.

    Raises:
        Failed: A command ended with an error.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    for step in job.steps:
        if not (job.folder / f"{step.name}.done.json").is_file():
            _do(step, job.folder)
    job.finish()
    (job.folder / "failed.json").unlink(missing_ok=True)


def _do(step: Step, folder: Path) -> None:
    so_far = folder / f"{step.name}.seconds.json"
    before = read_json(so_far)["seconds"] if so_far.is_file() else 0.0
    resume = ["--resume"] if step.output and _begun(step.output) else []
    arguments = [*(step.arguments() if callable(step.arguments) else step.arguments), *resume]
    own = arguments[1:] if arguments[0] == "python" else ["-m", "innersearch", *arguments]
    command = [sys.executable, *own]
    started = time.monotonic()
    log = folder / f"{step.name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        while True:
            try:
                code = process.wait(_BEAT_S)
                break
            except subprocess.TimeoutExpired:
                write_json(so_far, {"seconds": round(before + time.monotonic() - started, 1)})
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = lines[-1].strip() if lines else "nothing"
        raise Failed(f"{step.name} ended with {code} and said: {said} (all of it in {shown(log)})")
    typed = " ".join(command[1:]).replace(f"{ROOT}/", "")
    taken = {"seconds": round(before + time.monotonic() - started, 1), "command": typed}
    write_json(folder / f"{step.name}.done.json", taken)


def _begun(output: Path) -> bool:
    return output.is_file() or (output.is_dir() and any(output.iterdir()))


def _end_with_parent() -> None:
    """In the child: it would go on alone, and hold its folder, after a kill -9 of the runner."""
    ctypes.CDLL(None).prctl(_ENDS_WITH_PARENT, signal.SIGKILL)
