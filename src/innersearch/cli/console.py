"""Where commands print: results to stdout, errors to stderr.

Neither reads square brackets as markup: questions, paths and answers may hold them. Where a launcher
started several processes, the first one speaks for all; errors are printed once per machine.
"""

from __future__ import annotations

import os

from rich.console import Console


def _number(variable: str) -> int:
    """A variable that launchers set; whoever needs it refuses what is no number."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0


ANOTHER = 0 < _number("RANK") < _number("WORLD_SIZE")
"""Whether another process speaks for this one."""

_QUIET = ANOTHER and _number("LOCAL_RANK") > 0

stdout = Console(highlight=False, soft_wrap=True, markup=False, quiet=ANOTHER)
stderr = Console(highlight=False, soft_wrap=True, markup=False, stderr=True, quiet=_QUIET)
