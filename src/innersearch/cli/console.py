"""Where commands print: results to stdout, errors to stderr.

Neither reads square brackets as markup: questions, paths and answers may hold them.
"""

from __future__ import annotations

from rich.console import Console

stdout = Console(highlight=False, soft_wrap=True, markup=False)
stderr = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)
