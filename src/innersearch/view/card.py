"""The card of a model: recipe, data, metrics with their intervals, and what went into it.

Everything is read from the directory of its run; what is not there is not said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from innersearch.assemble.models import MODELS
from innersearch.config import Recipe
from innersearch.config.reward import written
from innersearch.evaluate.stored import Shown
from innersearch.stored import Record, read_object
from innersearch.types import ALL_GROUPS
from innersearch.view.tables import comparison_table, line


class _Around(TypedDict):
    versions: NotRequired[dict[str, str | None]]


class _Given(TypedDict):
    """Whatever is there."""


def model_card(run: Path, name: str) -> str:
    """The README.md of the model of a run, with the header that the hub reads.

    Raises:
        RunError: A record of the run is damaged.
    """
    recipe = _recipe(run)
    rows = {f.parent.name: read_object(f, Shown) for f in sorted((run / "eval").glob("*/summary.json"))}
    parts = [*_header(recipe, rows, name), f"# {line(name)}", "", *_what(recipe)]
    if rows:
        # Its cells are greedy exact match in percent with 95 % intervals.
        parts += ["## Evaluations", "", comparison_table(rows), ""]
    parts += list(_how(run, recipe))
    return "\n".join([*parts, ""])


def _recipe(run: Path) -> Recipe | None:
    path = run / "recipe.json"
    return Recipe.recorded(read_object(path, _Given)) if path.is_file() else None


def _header(recipe: Recipe | None, rows: Mapping[str, Record], name: str) -> Iterator[str]:
    yield "---"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    yield "tags: [innersearch, search-agent, reinforcement-learning]"
    if recipe and Path(recipe.model).name and not Path(recipe.model).is_dir():
        yield f"base_model: {recipe.model}"
    if rows:
        yield "model-index:"
        yield f"- name: {name}"
        yield "  results:"
        for row, summary in rows.items():
            yield from _result(row, summary)
    yield "---"
    yield ""


def _result(row: str, summary: Mapping[str, Any]) -> Iterator[str]:
    """One evaluation as the hub's leaderboards read it."""
    found = summary["em"].get(ALL_GROUPS) or next(iter(summary["em"].values()))
    yield "  - task: {type: question-answering}"
    yield f"    dataset: {{name: {row}, type: {row}}}"
    yield f"    metrics: [{{type: exact_match, value: {found['value']}}}]"


def _what(recipe: Recipe | None) -> Iterator[str]:
    if recipe is None:
        return
    plan, search = recipe.trainer, recipe.search
    rows = {
        "recipe": recipe.name,
        "trained from": _model_name(recipe.model),
        "data": recipe.data,
        "who answers queries": f"{search.router}"
        + (f", engine {search.engine}" if search.engine else ""),
        "grammar": recipe.rollout.grammar,
        "reward": written(recipe.reward),
        "steps": f"{plan.steps} of {plan.prompts_per_step} questions × {plan.group_size} trajectories",
        "seed": str(recipe.seed),
    }
    yield "A search agent, trained with innersearch."
    yield ""
    yield "| setting | value |"
    yield "|:--|:--|"
    for key, value in rows.items():
        yield f"| {key} | `{line(value)}` |" if value else f"| {key} | – |"
    yield ""


def _model_name(model: str) -> str:
    """A model as a user names it: that of a bundled one, the last part of a directory, or a hub id."""
    bundled = (name for name in MODELS.names() if str(MODELS.find(name)) == model)
    return next(bundled, Path(model).name if Path(model).is_dir() else model)


def _how(run: Path, recipe: Recipe | None) -> Iterator[str]:
    around = run / "environment.json"
    versions = read_object(around, _Around).get("versions", {}) if around.is_file() else {}
    if versions:
        yield (
            "Made with "
            + ", ".join(f"{package} {version}" for package, version in versions.items())
            + "."
        )
        yield ""
    if recipe:
        yield "`recipe.json` beside this file is the resolved recipe; `innersearch train` repeats it."
