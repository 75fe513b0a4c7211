"""The command line: `innersearch VERB …`.

    innersearch demo                                    the whole main job on the embedded world
    innersearch train recipes/ssrl-world.toml           train by self-search
    innersearch eval runs/ssrl-world/model --data world:test -n 16
    innersearch compare runs/before runs/after          whether one evaluation is better than another
    innersearch ask runs/ssrl-world/model "Who taught the spouse of Nemie?"
    innersearch index wiki.jsonl runs/wiki              make a BM25 or dense index of a corpus
    innersearch search bm25:runs/wiki "Nobel Prize"     look what an engine finds
    innersearch sim2real runs/ssrl-world/model --data world:test
    innersearch calibrate runs/ssrl-world/model --data world:validation
    innersearch data ls                                 benchmarks by name; get, check and coverage
    innersearch report runs/ssrl-world                  write its report.html
    innersearch world build                             make the embedded world and its model

Results go to stdout, progress to stderr. Exit status: 0 done, 1 failed with a one-line reason,
2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from pydantic import ValidationError

from innersearch import __version__
from innersearch.cli import (
    ask,
    calibrate,
    compare,
    cost,
    data,
    demo,
    evaluate,
    index,
    report,
    search,
    sim2real,
    simulator,
    train,
    world,
)
from innersearch.cli.console import stderr
from innersearch.errors import InnersearchError

app = App(
    name="innersearch",
    help=__doc__,
    help_format="plaintext",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
for verb in (
    demo,
    train,
    evaluate,
    compare,
    ask,
    index,
    search,
    sim2real,
    calibrate,
    simulator,
    cost,
    data,
    report,
    world,
):
    app.command(verb.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    # What transformers renames is no business of whoever types a command.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")
    try:
        if tokens[:1] == ["train"]:
            train.read_recipe(tokens[1:])
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(_usage(error), 2)
    except ValidationError as error:
        return _fail(_validation(error), 2)
    except InnersearchError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail(
            "interrupted; what is written stays, and commands with --resume go on from it",
            130,
        )
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename or 'while writing'}", 1)
    return 0


def _fail(message: str, status: int) -> int:
    line = " ".join(message.split())
    stderr.print(f"innersearch: {line}", style="red")
    return status


def _usage(error: CycloptsError) -> str:
    if isinstance(error.__cause__, ValidationError):
        return _validation(error.__cause__)
    return f"{error}; see innersearch --help"


def _validation(error: ValidationError) -> str:
    first = error.errors()[0]
    place, given = ".".join(str(part) for part in first["loc"]) or "settings", first["input"]
    said = first["msg"].removeprefix("Value error, ")
    # A whole table says nothing that the reason does not.
    return f"{place}: {said}" + (f", given {given!r}" if not isinstance(given, dict) else "")
