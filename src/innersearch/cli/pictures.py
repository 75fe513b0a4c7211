"""What the terminal shows of trajectories, as an SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from innersearch.cli.console import SafeConsole, stdout
from innersearch.records import replace_text
from innersearch.types import Trajectory
from innersearch.view.terminal import print_trajectory

WIDTH = 100
"""Characters in a line, where longer ones are wrapped."""
_FONT_FROM_ELSEWHERE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def draw(trajectories: Sequence[Trajectory], path: Path, title: str) -> None:
    """Write an SVG of trajectories, one below the other, which loads nothing from elsewhere.

    Args:
        trajectories: What is drawn.
        path: The file, which is replaced.
        title: What stands at the top.
    """
    console = SafeConsole(
        **{"record": True, "file": io.StringIO(), "width": WIDTH, "force_terminal": True},
        **{"color_system": "truecolor", "highlight": False, "markup": False},
    )
    for number, trajectory in enumerate(trajectories):
        if number:
            console.print()
        print_trajectory(trajectory, console)
    drawn = console.export_svg(title=title, unique_id="trajectory")
    replace_text(path, _FONT_FROM_ELSEWHERE.sub("", drawn))
    stdout.print(f"picture  {path}")
