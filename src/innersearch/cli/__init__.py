"""The command line: `innersearch VERB …`.

Results go to stdout, progress to stderr. Exit status: 0 done, 1 failed with a one-line reason, 2 wrong
usage, 130 interrupted. Verbs are imported when they are typed; see `innersearch.cli.verbs`.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, Parameter

from innersearch import __version__
from innersearch.cli.console import stderr
from innersearch.cli.verbs import register, unfold
from innersearch.errors import InnersearchError, missing

if TYPE_CHECKING:
    from pydantic import ValidationError

HELP = """Train, measure and serve LLM search agents without paying for a search engine.

`innersearch VERB --help` shows examples of each verb. To begin with:

    innersearch demo --taste                       agents and engines at work
    innersearch search world "employer of Zerorn"  what an engine finds
    innersearch play                               be the policy yourself
    innersearch train recipes/ssrl-world.toml      train by self-search
    innersearch eval world --data world:test       measure a model
    innersearch serve bm25:runs/wiki               answer as search APIs do

Results go to stdout, progress to stderr; --json prints results for programs.
Options are variables, too: INNERSEARCH_EVAL_SEED=3 is --seed 3 of eval. Exit
status: 0 done, 1 failed with a one-line reason, 2 wrong usage, 130 interrupted.
"""

app = App(
    name="innersearch",
    help=HELP,
    help_format="plaintext",
    # `--groups depth_1 depth_2` as well as `--groups depth_1 --groups depth_2`.
    default_parameter=Parameter(consume_multiple=True),
    version=__version__,
    suppress_keyboard_interrupt=False,
)
register(app)
_registered = app


_INTERRUPTED = "interrupted; what is written stays, and commands with --resume go on from it"
_LONG = re.compile(r"(\S{200})\S+")
"""A word that would fill the screen: what somebody gave is cut in what is said about it."""
_MAIN = threading.main_thread()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    # What transformers renames is no business of whoever types a command.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")
    with _noting_interrupts() as interrupts:
        try:
            if tokens[:1] == ["train"]:
                from innersearch.cli.train import read_recipe

                read_recipe(tokens[1:])
            unfold(_registered, tokens[:1])
            app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        except BaseException as error:
            # Libraries turn the interrupt that comes in the middle of them into errors of their own.
            told = _told(KeyboardInterrupt() if interrupts else error)
            if told is None:
                raise
            return _fail(*told)
    return 0


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Ctrl-C as ever, and the signals that came."""
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not _MAIN:
        yield came
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _told(error: BaseException) -> tuple[str, int] | None:
    """The line that an error is, and the exit status; None where it is a fault of ours."""
    # Late: only what went wrong needs it.
    from pydantic import ValidationError

    match error:
        case CycloptsError(__cause__=ValidationError() as cause):
            return _validation(cause)
        case ValidationError():
            return _validation(error)
        case CycloptsError():
            return f"{error}; see innersearch --help", 2
        case InnersearchError():
            return str(error), 1
        case KeyboardInterrupt():
            return _INTERRUPTED, 130
        case ModuleNotFoundError() if said := missing(error):
            return said, 1
        case OSError():
            return _system(error), 1
    return None


def _fail(message: str, status: int) -> int:
    from innersearch.net.addresses import without_users

    line = without_users(_LONG.sub(r"\1…", " ".join(message.split())))
    stderr.print(f"innersearch: {line}", style="red")
    return status


def _system(error: OSError) -> str:
    """What the machine refused, and where; the text of other errors may hold what was sent."""
    import socket
    import ssl

    if isinstance(error, ssl.SSLError | socket.gaierror) or error.errno is None:
        return f"something that needs the machine failed: {type(error).__name__}"
    said = os.strerror(error.errno)
    if error.filename is not None:
        return f"{said}: {error.filename}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO, errno.EROFS)
    return f"{said}: while writing" if full else f"{said} ({type(error).__name__})"


def _validation(error: ValidationError) -> tuple[str, int]:
    first = error.errors()[0]
    place, given = ".".join(str(part) for part in first["loc"]) or "settings", first["input"]
    if isinstance(ours := first.get("ctx", {}).get("error"), InnersearchError):
        return f"{place}: {ours}", 1
    said = first["msg"].removeprefix("Value error, ")
    # A whole table says nothing that the reason does not.
    return f"{place}: {said}" + (f", given {given!r}" if not isinstance(given, dict) else ""), 2
