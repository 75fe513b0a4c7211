"""`innersearch train`: from a recipe to a model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.config import Dict

from innersearch.assemble import recipes
from innersearch.assemble.engines import open_engine
from innersearch.assemble.models import model_path
from innersearch.assemble.plans import demand_engine
from innersearch.assemble.sources import load_questions
from innersearch.cli.console import ANOTHER, stderr, stdout
from innersearch.cli.cost import forecast_table
from innersearch.cli.options import announce_calls
from innersearch.cli.progress import Display, describe
from innersearch.config import Recipe
from innersearch.config.reward import demand_terms, instead_of
from innersearch.config.stages import StageSettings
from innersearch.errors import ConfigError
from innersearch.rewards import Rubric
from innersearch.runs import Run
from innersearch.search.base import Engine
from innersearch.search.curriculum import Curriculum
from innersearch.stored import read_json
from innersearch.tools.search import SearchTool
from innersearch.types import Question

app = App(name="train", help_format="plaintext")


def read_recipe(tokens: list[str]) -> None:
    """Make the recipe named among the arguments the source of their defaults.

    Raises:
        ConfigError: A recipe is named and there is no such file, or it is no TOML; or an option has a
            name that it no longer has.
    """
    demand_terms(tokens)
    _demand_todays_names(tokens)
    app.config = ()
    for token in tokens:
        if token.endswith(".toml") and not token.startswith("-"):
            path, values = recipes.read_recipe(token)
            given = values.get("trainer")
            if isinstance(given, dict) and "engine" in given:
                raise ConfigError(
                    f"{path}: engine is the search engine only: write kind = {given['engine']!r} "
                    "below [trainer], or --trainer"
                )
            # Under the name of the command: cyclopts drops keys that are names of other commands.
            if isinstance(reward := values.get("reward"), dict):
                raise ConfigError(f"{path}: [reward] is a list of terms now: {instead_of(reward)}")
            defaults = Dict({"train": values})
            defaults.source = str(path)
            app.config = (defaults,)
            return


def _demand_todays_names(tokens: list[str]) -> None:
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        name, _, value = token.partition("=")
        if name in ("--engine", "--trainer.engine"):
            chosen = value or following or "verl"
            raise ConfigError(
                f"{name} is no option of training any more: write --trainer {chosen} for what trains, "
                "--search.engine for what is searched"
            )


@app.default
def train(
    recipe: Path,
    *,
    output: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    trainer: Literal["trl", "verl"] | None = None,
    show: Annotated[bool, Parameter(name="--print", negative=())] = False,
    settings: Annotated[Recipe, Parameter(name="*")] = Recipe(),  # noqa: B008
) -> None:
    """Train a model by self-search or with an engine, as a recipe says.

    Any value of the recipe can be overridden by its dotted name. Examples:

        innersearch train recipes/ssrl-world.toml
        innersearch train recipes/ssrl-world.toml --trainer.steps 20 --seed 1 --output runs/short
        innersearch train recipes/ssrl.toml --model ~/models/Qwen2.5-1.5B-Instruct --data nq.jsonl
        innersearch train recipes/search-r1-world.toml
        innersearch train recipes/ssrl-world.toml --resume
        innersearch train recipes/rejection-world.toml
        innersearch train recipes/ssrl.toml --model DIR --data nq.jsonl --dry-run
        innersearch train recipes/ssrl.toml --trainer verl --model ~/models/Qwen2.5-7B --data nq.jsonl
        accelerate launch -m innersearch train recipes/ssrl.toml --model DIR --data nq.jsonl

    Args:
        recipe: A .toml file.
        output: Run directory; runs/<name of the recipe> by default.
        resume: Go on from the latest checkpoint of that directory.
        dry_run: Show settings, work, memory, searches and cost; start and write nothing.
        trainer: What trains: trl, or verl (on a Ray cluster, see docs/scaling.md). As in the recipe by
            default, which is trl.
        show: Only print how verl would be started.
        settings: The recipe with overrides.
    """
    if recipe.suffix != ".toml":
        raise ConfigError(f"{recipe} is no recipe: give a .toml file, for example one of recipes/")
    path = output or Path("runs") / settings.name
    resolved = settings.model_copy(update={"model": model_path(settings.model)})
    if trainer is not None:
        chosen = settings.trainer.model_copy(update={"kind": trainer})
        resolved = resolved.model_copy(update={"trainer": chosen})
    if resolved.stage and show:
        raise ConfigError("--print shows a run without stages: start it, or print a recipe of one stage")
    if resolved.stage and dry_run:
        return _dry_run_of_stages(recipe, resolved, path, resume=resume)
    if resolved.stage:
        return _train_stages(resolved, path, resume=resume)
    questions = _fitting(resolved, _questions(resolved))
    if dry_run and resolved.trainer.kind == "verl":
        raise ConfigError("--dry-run shows a run of TRL: look at verl's with --trainer verl --print")
    if dry_run:
        return _dry_run(recipe, settings, questions, path, resume=resume)
    if resolved.trainer.kind == "verl":
        _train_with_verl(resolved, questions, path, resume=resume, show=show)
    elif show:
        raise ConfigError("--print shows how verl would be started: add --trainer verl")
    else:
        _train_with_trl(resolved, questions, path, resume=resume)
    return None


def _questions(recipe: Recipe) -> list[Question]:
    labelled = Rubric.of(recipe.reward).needs_gold
    return load_questions(recipe.data, recipe.groups, labelled=labelled)


def _demand_stages(recipe: Recipe) -> dict[str, list[Question]]:
    """The questions of each stage that has some, where nothing speaks against any stage."""
    from innersearch.train.imitation import demand_learnable

    asked: dict[str, list[Question]] = {}
    for stage, values in zip(recipe.stage, recipe.stages(), strict=True):
        if stage.kind == "sft":
            demand_learnable(stage, values)
        if stage.kind == "rl" or stage.samples:
            asked[stage.name] = _fitting(values, _questions(values))
    return asked


def _dry_run_of_stages(file: Path, recipe: Recipe, path: Path, *, resume: bool) -> None:
    from innersearch.train.stages import folder_name

    asked = _demand_stages(recipe)
    for number, (stage, values) in enumerate(zip(recipe.stage, recipe.stages(), strict=True), 1):
        stdout.print(f"stage {number}: {stage.name} ({stage.kind})\n")
        if stage.kind == "rl":
            folder = path / folder_name(number, stage)
            _dry_run(file, values, asked[stage.name], folder, resume=resume)


def _train_stages(recipe: Recipe, path: Path, *, resume: bool) -> None:
    from innersearch.train.stages import train_stages

    asked = _demand_stages(recipe)

    def train_one(stage: StageSettings, values: Recipe, folder: Path) -> Run:
        stderr.print(f"stage {folder.name}")
        questions = asked.get(stage.name, [])
        if stage.kind == "sft":
            return _learn(stage, values, questions, folder, resume=resume)
        if values.trainer.kind == "verl":
            return _train_with_verl(values, questions, folder, resume=resume, show=False)
        return _train_with_trl(values, questions, folder, resume=resume)

    run = train_stages(recipe, path, train_one, resume=resume)
    stdout.print(f"model   {run.model}")


def _learn(
    stage: StageSettings, recipe: Recipe, questions: Sequence[Question], path: Path, *, resume: bool
) -> Run:
    from innersearch.train.imitation import KEPT, learn

    def search() -> SearchTool:
        engine = _open_engine(recipe, questions, path)
        return SearchTool(engine, recipe.search.rule, recipe.search)

    with Display() as display:
        display.update(stage.name, 0, 1)
        run = learn(
            stage,
            recipe,
            questions,
            path,
            search=search if recipe.search.rule.asks and stage.samples else None,
            resume=resume,
            on_step=lambda step, steps, loss: display.update(
                stage.name, step, steps, f"loss {loss:.3f}"
            ),
        )
    stdout.print("kept    {kept:,} of {trajectories:,} trajectories".format(**read_json(path / KEPT)))
    return run


def _fitting(recipe: Recipe, questions: list[Question]) -> list[Question]:
    """The questions that are not too long, if the others are to be left out, which is said."""
    if not recipe.prompt.skip_long:
        return questions
    from innersearch.policy.loading import load_tokenizer
    from innersearch.train.tasks import fitting

    kept = fitting(load_tokenizer(recipe.model), recipe, questions)
    left_out = f"{len(questions) - len(kept):,} of {len(questions):,} questions are left out"
    stderr.print(f"note: {left_out}, their prompts are too long", soft_wrap=True)
    return kept


def _dry_run(
    recipe: Path, settings: Recipe, questions: Sequence[Question], path: Path, *, resume: bool
) -> None:
    # Imported late: help and errors should not wait for torch.
    from innersearch.cli.dry_run import dry_run
    from innersearch.train import processes

    processes.join()
    stdout.print(dry_run(recipe, settings, questions, path, resume=resume))


def _train_with_trl(recipe: Recipe, questions: Sequence[Question], path: Path, *, resume: bool) -> Run:
    from innersearch.policy.loading import load_tokenizer
    from innersearch.train import processes
    from innersearch.train.run import train as run_training
    from innersearch.train.tokenizer_notices import notices
    from innersearch.view.report import write_report

    processes.join()
    for text in filter(None, [processes.missing(), *notices(load_tokenizer(recipe.model))]):
        stderr.print(f"note: {text}")
    searches = recipe.search.rule.asks
    if searches:
        _announce(recipe)
    with Display() as display:
        steps = recipe.trainer.steps
        display.update("training", 0, steps)
        run = run_training(
            recipe,
            questions,
            path,
            engine=partial(_open_engine, recipe, questions, path) if searches else None,
            resume=resume,
            observer=lambda step, metrics: display.update("training", step, steps, describe(metrics)),
        )
    if not ANOTHER:
        _say_where(run, write_report(run.path))
    return run


def _open_engine(recipe: Recipe, questions: Sequence[Question], path: Path) -> Engine:
    from innersearch.train import processes

    return open_engine(
        processes.budget_share(recipe.search),
        path / processes.own_name("budget.json"),
        curriculum=Curriculum(recipe.search.noise, recipe.trainer.steps, recipe.seed),
        others=[question.question for question in questions],
    )


def _train_with_verl(
    recipe: Recipe, questions: Sequence[Question], path: Path, *, resume: bool, show: bool
) -> Run:
    from innersearch.train.verl import launch
    from innersearch.train.verl.cluster import check_keys, demand_verl
    from innersearch.view.report import write_report

    if Path(recipe.model).is_dir():
        # The processes of a cluster have working directories of their own.
        recipe = recipe.model_copy(update={"model": str(Path(recipe.model).resolve())})
    demand_engine(recipe.search)
    if show:
        launch.check(recipe, questions, path, resume=resume)
        arguments = launch.command(recipe, Run(path))
        stdout.print(" \\\n  ".join(map(shlex.quote, arguments)), soft_wrap=True)
        demand_verl()
        check_keys(launch.overrides(recipe, Run(path)))
        return Run(path)
    if recipe.search.rule.asks:
        _announce(recipe)
    with Display() as display:
        steps = recipe.trainer.steps
        display.update("training", 0, steps)
        run = launch.train(
            recipe,
            questions,
            path,
            resume=resume,
            observer=lambda step, metrics: display.update("training", step, steps, describe(metrics)),
        )
    _say_where(run, write_report(run.path))
    return run


def _announce(recipe: Recipe) -> None:
    """Say what the searches of a run may cost."""
    stderr.print(forecast_table(recipe), soft_wrap=True)
    announce_calls(recipe)


def _say_where(run: Run, report: Path) -> None:
    stdout.print(f"model   {run.model}")
    stdout.print(f"report  {report}")
    stdout.print(f"next    innersearch eval {run.model} --data FILE -n 16")
