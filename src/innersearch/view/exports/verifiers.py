"""An environment of verifiers (1.x API): the questions of a run, its engine as a tool, and its reward.

    pip install ./DIR
    uv run eval TASKSET -m MODEL

What is written is a package of its own that imports innersearch for the engine and the measures.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from innersearch import __version__
from innersearch.errors import ConfigError, DataError
from innersearch.records import replace_text
from innersearch.stored import read_object
from innersearch.view.exports import ExportKind, Searching
from innersearch.view.exports.parts import parts


class _Searched(TypedDict):
    engine: NotRequired[str]
    k: NotRequired[int]


class _Made(TypedDict):
    """What an environment needs of a recipe."""

    search: NotRequired[_Searched]


def write(run: Path, output: Path, searching: Searching) -> str:
    """A package with the questions, settings, and code that serves them."""
    settings, questions = _settings(run, searching), _questions(run)
    name = re.sub(r"\W+", "_", f"innersearch_{run.absolute().name}".lower()).strip("_")
    package = output / name
    code = (files("innersearch.view.exports") / "verifiers_taskset.txt").read_text(encoding="utf-8")
    replace_text(package / "__init__.py", code)
    replace_text(package / "questions.jsonl", "".join(json.dumps(q) + "\n" for q in questions))
    replace_text(package / "settings.json", json.dumps(settings, indent=2) + "\n")
    replace_text(output / "pyproject.toml", _project(name))
    replace_text(output / "README.md", _readme(name, len(questions)))
    return f"pip install {output} && eval {name.replace('_', '-')} -m MODEL"


def _questions(run: Path) -> list[dict[str, Any]]:
    """Each question once, whatever part it stands in; only those with gold answers can be scored."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts(run):
        for trajectory in part.trajectories():
            asked = trajectory.question
            if asked.golden_answers:
                row: dict[str, Any] = {"id": asked.id, "question": asked.question}
                row |= {"golden_answers": list(asked.golden_answers), "group": asked.group}
                found.setdefault(asked.id, row)
    if not found:
        raise DataError(f"no question of {run} has gold answers: an environment could not score it")
    return list(found.values())


def _settings(run: Path, searching: Searching) -> dict[str, Any]:
    """What is searched: as is asked for, else as the recipe says."""
    recipe = run / "recipe.json"
    search = read_object(recipe, _Made).get("search", {}) if recipe.is_file() else {}
    engine, k = searching.engine or search.get("engine", ""), searching.k or search.get("k", 3)
    if not engine:
        raise ConfigError(
            f"{run} does not say what the environment is to search: add --engine, for example bm25:DIR"
        )
    return {"engine": engine, "k": k}


def _project(name: str) -> str:
    return f"""[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name.replace("_", "-")}"
version = "0.1.0"
description = "Questions of an innersearch run, with its engine and its reward"
requires-python = ">=3.11"
dependencies = ["innersearch>={__version__}", "verifiers>=0.4"]

[tool.hatch.build.targets.wheel]
packages = ["{name}"]
"""


def _readme(name: str, number: int) -> str:
    return f"""# {name}

{number:,} questions of an innersearch run as an environment of verifiers: a policy searches with the
tool `search` and is rewarded by exact match. `settings.json` names the engine and how many documents
it shows.
"""


KIND = ExportKind("verifiers", "an environment: questions, the engine as a tool, the reward", write)
