"""Where commands print: results to stdout, errors to stderr.

Neither reads square brackets as markup: questions, paths and answers may hold them. Where a launcher
started several processes, the first one speaks for all; errors are printed once per machine.
"""

from __future__ import annotations

import os

from rich.console import Console

ANOTHER = os.environ.get("RANK", "0") != "0"
"""Whether another process speaks for this one."""

_QUIET = os.environ.get("LOCAL_RANK", "0") not in ("0", "-1")

stdout = Console(highlight=False, soft_wrap=True, markup=False, quiet=ANOTHER)
stderr = Console(highlight=False, soft_wrap=True, markup=False, stderr=True, quiet=_QUIET)
