"""The stages of a recipe, one after another, each from the model of the one before.

    runs/<name>/
      recipe.json environment.json
      1-<stage>/ 2-<stage>/            each the directory of a run; of several rounds 1-<stage>-1/ and on
      model/                           that of the last stage

A recipe without stages is one stage, in the directory of the run itself.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from innersearch.config import Recipe
from innersearch.config.stages import StageSettings
from innersearch.runs import Run
from innersearch.train import processes

Train = Callable[[StageSettings, Recipe, Path, int], Run]
"""Trains a round of a stage with its recipe in a directory; one that is done already it only returns."""


def train_stages(recipe: Recipe, path: Path, train: Train, *, resume: bool = False) -> Run:
    """Train the stages of a recipe.

    Raises:
        RunError: `path` is in the way, or belongs to another recipe, or another process writes it.
    """
    with processes.first_holds(path, "run"):
        processes.by_first(lambda: _start(path, recipe, resume=resume))
        model = recipe.model
        for number, (stage, values) in enumerate(zip(recipe.stage, recipe.stages(), strict=True), 1):
            for turn in range(1, stage.rounds + 1):
                folder = path / folder_name(number, stage, turn)
                done = train(stage, values.model_copy(update={"model": model}), folder, turn)
                model = str(done.model)
        processes.by_first(lambda: _leave(Path(model), Run(path).model))
    return Run(path)


def folder_name(number: int, stage: StageSettings, turn: int = 1) -> str:
    """The folder of a stage, or of a round of it, both counted from 1.

    >>> folder_name(1, StageSettings(name="learn to search"))
    '1-learn-to-search'
    >>> folder_name(1, StageSettings(name="rft", kind="sft", samples=4, rounds=3), 2)
    '1-rft-2'
    """
    words = re.sub(r"[^\w.-]+", "-", stage.name).strip("-.")
    return f"{number}-{words}" + (f"-{turn}" if stage.rounds > 1 else "")


def _start(path: Path, recipe: Recipe, *, resume: bool) -> None:
    Run.start(path, recipe, resume=resume)


def _leave(model: Path, result: Path) -> None:
    """The model of the last stage as that of the run, without taking its room on the disk twice."""
    shutil.copytree(model, result, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
