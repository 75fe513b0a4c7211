"""A run to hand on: real evaluations by scripted agents, some of whose trajectories are its training."""

from __future__ import annotations

import shutil
from pathlib import Path

from innersearch.cli import taste
from innersearch.config import Recipe
from innersearch.records import LineWriter, write_json
from innersearch.runs import versions
from innersearch.world.bundled import BUNDLED


def make_run(path: Path) -> Path:
    """A run directory with seven evaluations of six questions, a training of three, and a model."""
    before, taste.PER_GROUP = taste.PER_GROUP, 1
    try:
        taste.taste(path, lambda *progress: None)
    finally:
        taste.PER_GROUP = before
    lines = (path / "eval/careful-encyclopedia/trajectories.jsonl").read_text().splitlines()
    LineWriter(path / "trajectories.jsonl").write(*lines[:3])
    recipe = Recipe(
        name="tried", model=str(BUNDLED), data="world:train", search={"engine": "world", "k": 2}
    )
    write_json(path / "recipe.json", recipe.model_dump(mode="json"))
    write_json(path / "environment.json", {"versions": versions()})
    shutil.copytree(BUNDLED, path / "model")
    return path
