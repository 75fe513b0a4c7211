"""`innersearch real demo`: a real model learns to search its own memory for real facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innersearch.assemble.recipes import read_recipe, recipe_path
from innersearch.assemble.sources import load_questions
from innersearch.cli.console import stderr, stdout
from innersearch.cli.progress import Display, describe
from innersearch.cli.start import said, show
from innersearch.config import Recipe, SearchSettings
from innersearch.errors import ConfigError
from innersearch.locks import held
from innersearch.random_draws import draw
from innersearch.records import write_json
from innersearch.runs import Run, versions
from innersearch.view.tables import comparison_table

if TYPE_CHECKING:
    from innersearch.cold_start.settings import StartSettings
    from innersearch.types import Question

_RECIPE = "recipes/ssrl-real.toml"
_START = "start"
_GROUPS = ("one_hop", "two_hop")


@dataclass(frozen=True)
class Size:
    """How much of everything is done."""

    start: Mapping[str, Any]
    """Values of `StartSettings`."""
    recipe: Mapping[str, Mapping[str, Any]]
    """Values of the recipe that differ, by table."""
    questions: int
    """Test questions of each group."""


FULL = Size({"questions": 256, "measured": 24, "sampled": 12}, {}, 40)
SMALL = Size(
    {
        "questions": 12,
        "searches": 1,
        "batch": 4,
        "measured": 2,
        "sampled": 1,
        "samples": 2,
        "max_new_tokens": 96,
    },
    {
        "sampling": {"max_new_tokens": 96},
        "trainer": {
            "steps": 2,
            "prompts_per_step": 2,
            "group_size": 2,
            "micro_batch": 4,
            "groups": "all",
            "save_every": 1,
        },
    },
    10,
)


def run_demo(output: Path, folder: Path, seed: int, size: Size, *, resume: bool) -> None:
    """Build what is missing in `folder`, start, train and evaluate in `output`, and print the tables.

    Raises:
        RunError: `output` is in the way, or belongs to another demo.
        DataError: A package of the atlas is missing.
        ModelError: The package of the model is missing.
    """
    recipe = _recipe(output, seed, size)
    with held(output, "demo", ".demo.lock"):
        with Display() as display:
            model = _built(folder, display)
        settings = _settings(model, recipe, size)
        with held(output, "run"):
            run = Run.start(output, recipe, resume=resume)
        asked = _questions(seed, size)
        if not (output / _START / "start.json").is_file():
            _tell_forecast(settings, recipe, len(asked))
        rows = _done(run, recipe, settings, asked, folder)
        from innersearch.view.report import write_report

        report = write_report(run.path)
    write_json(run.path / "summary.json", {"rows": rows, "versions": versions(), "seed": seed})
    stdout.print(comparison_table(rows))
    stdout.print(f"model   {run.model}")
    stdout.print(f"report  {report}")


def _recipe(output: Path, seed: int, size: Size) -> Recipe:
    path = recipe_path(_RECIPE)
    if path is None:
        raise ConfigError(f"{_RECIPE} is missing from this installation: install it anew")
    values = read_recipe(str(path))[1]
    values |= {"model": str(output / _START / "model"), "seed": seed}
    values |= {table: values.get(table, {}) | dict(given) for table, given in size.recipe.items()}
    return Recipe.model_validate(values)


def _built(folder: Path, display: Display) -> str:
    """The directory of the model, made if it is missing."""
    from innersearch.real.build import MODEL, build

    build(folder, progress=display.update)
    return str(folder / MODEL)


def _settings(model: str, recipe: Recipe, size: Size) -> StartSettings:
    from innersearch.cold_start.settings import StartSettings

    given = {
        "model": model,
        "data": "atlas:train",
        "validation": "atlas:validation",
        "prompt": recipe.prompt.name,
        "temperature": recipe.sampling.temperature,
        "max_new_tokens": recipe.sampling.max_new_tokens,
        "seed": recipe.seed,
    }
    return StartSettings.model_validate(given | dict(size.start))


def _questions(seed: int, size: Size) -> list[Question]:
    """The test questions, drawn by the seed, as many of one hop as of two."""
    order = sorted(load_questions("atlas:test"), key=lambda q: draw("demo", seed, q.id))
    return [q for group in _GROUPS for q in [q for q in order if q.group == group][: size.questions]]


def _tell_forecast(settings: StartSettings, recipe: Recipe, asked: int) -> None:
    """Say how long it is going to take, at the speed of the model here and now."""
    from innersearch.assemble.policies import TRANSFORMERS, open_policy
    from innersearch.cold_start import forecast
    from innersearch.policy.loading import load_tokenizer
    from innersearch.policy.speed import measure

    tokenizer = load_tokenizer(settings.model)
    policy: Any = open_policy(
        TRANSFORMERS, settings.model, tokenizer, max_batch=settings.max_batch, dtype=settings.dtype
    )
    speed = measure(policy, settings.max_batch)
    parts = forecast.start_seconds(settings, len(_GROUPS) * settings.measured, speed)
    parts["reinforcement"] = forecast.training_seconds(recipe, speed)
    parts["evaluation"] = forecast.evaluation_seconds(3 * asked, speed)
    stderr.print(forecast.told(parts, speed), soft_wrap=True)


def _done(
    run: Run, recipe: Recipe, settings: StartSettings, asked: list[Question], folder: Path
) -> dict[str, dict[str, Any]]:
    """The summaries of the evaluations, once everything is done."""
    from innersearch.cold_start.start import start
    from innersearch.train.run import train

    steps, rows = recipe.trainer.steps, {}
    with Display() as display:
        made = start(settings, run.path / _START, resume=True, progress=display.update)
    show(made)
    if not made.figures.ready:
        stderr.print(f"note: {said(made)}; the demo goes on and shows what comes of it", soft_wrap=True)
    with Display() as display:
        rows["before"] = _evaluate(run, "before", recipe.model, recipe, asked, display)
        train(
            recipe,
            load_questions(recipe.data, recipe.groups),
            run.path,
            resume=True,
            observer=lambda step, found: display.update("reinforcement", step, steps, describe(found)),
        )
        rows["after"] = _evaluate(run, "after", str(run.model), recipe, asked, display)
        bm25 = SearchSettings(engine=f"bm25:{folder / 'bm25'}", router="always")
        rows["after_bm25"] = _evaluate(run, "after_bm25", str(run.model), recipe, asked, display, bm25)
    return rows


def _evaluate(
    run: Run,
    name: str,
    model: str,
    recipe: Recipe,
    asked: list[Question],
    display: Display,
    search: SearchSettings | None = None,
) -> dict[str, Any]:
    from innersearch.evaluate.evaluation import Evaluation

    given = {"max_new_tokens": recipe.sampling.max_new_tokens, "max_batch": 32, "dtype": "auto"}
    evaluation = Evaluation(model, asked, recipe.prompt.name, given, resume=True)
    return evaluation.run(run.path / "eval" / name, search, display.update, name)
