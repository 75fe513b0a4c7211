"""What a policy writes while it is trained: a group of one question, with rewards and advantages."""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from innersearch.types import Trajectory

if TYPE_CHECKING:
    from innersearch.config import Recipe

_BLOCK = 1 << 16


def print_newest_group(run: Path, recipe: Recipe, console: Console) -> None:
    """Print the group that was recorded last in a run, or in the stage of it that was written last.

    Args:
        run: Directory of the run.
        recipe: What is trained; its groups have that many trajectories.
        console: Where it is printed.
    """
    files = sorted(run.rglob("trajectories.jsonl"), key=lambda file: file.stat().st_mtime)
    group = _newest_group(files[-1], recipe.trainer.group_size) if files else []
    if not group:
        return
    from innersearch.view.terminal import print_trajectory

    rewards = [trajectory.reward or 0.0 for trajectory in group]
    for number, (trajectory, reward) in enumerate(zip(group, rewards, strict=True), 1):
        terms = "  ".join(f"{name} {value:.3g}" for name, value in trajectory.components.items())
        advantage = reward - statistics.fmean(rewards)
        figures = f"reward {reward:.3f}  advantage {advantage:+.3f}  {terms}".rstrip()
        console.rule(f"step {trajectory.step}, {number} of {len(group)}: {figures}", align="left")
        print_trajectory(trajectory, console)


def _newest_group(file: Path, size: int) -> list[Trajectory]:
    """The last trajectories of a file, as far as they are of one group."""
    from innersearch.trajectories import as_trajectory, current

    lines = last_lines(file, size)
    found = [as_trajectory(current(json.loads(line)), file.parent, file.name) for line in lines]
    return [trajectory for trajectory in found if trajectory.group_id == found[-1].group_id]


def last_lines(file: Path, number: int) -> list[bytes]:
    """The last whole lines of a file, which may be long: no more is read than holds them."""
    found = b""
    with file.open("rb") as stream:
        at = stream.seek(0, os.SEEK_END)
        while at and found.count(b"\n") <= number:
            step = min(_BLOCK, at)
            at -= step
            stream.seek(at)
            found = stream.read(step) + found
    return found[: found.rfind(b"\n") + 1].splitlines()[-number:]
