"""`innersearch train`: from a recipe to a model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.config import Dict
from cyclopts.types import NonNegativeInt

from innersearch.assemble import recipes
from innersearch.assemble.plans import demand_engine
from innersearch.cli.console import ANOTHER, stderr, stdout
from innersearch.cli.cost import forecast_table
from innersearch.cli.options import announce_calls
from innersearch.cli.progress import Display, describe
from innersearch.cli.samples import print_newest_group
from innersearch.cli.verbs import ENVIRONMENT
from innersearch.config import Recipe
from innersearch.config.earlier import demand_todays_options
from innersearch.errors import ConfigError
from innersearch.runs import Run
from innersearch.stored import read_json

if TYPE_CHECKING:
    from innersearch.train.start import Training, Watcher

app = App(name="train", help_format="plaintext")


def read_recipe(tokens: list[str]) -> None:
    """Make the recipe named among the arguments the source of their defaults.

    Raises:
        ConfigError: A recipe is named and there is no such file, or it is no TOML; or an option has a
            name that it no longer has.
    """
    demand_todays_options(tokens)
    app.config = (ENVIRONMENT,)
    for token in tokens:
        if token.endswith(".toml") and not token.startswith("-"):
            path, values = recipes.read_recipe(token)
            # Under the name of the command: cyclopts drops keys that are names of other commands.
            defaults = Dict({"train": values})
            defaults.source = str(path)
            app.config = (ENVIRONMENT, defaults)
            return


@app.default
def train(
    recipe: Path,
    *,
    output: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    trainer: Literal["trl", "verl"] | None = None,
    agent: str = "",
    track: str = "",
    samples_every: NonNegativeInt = 0,
    show: Annotated[bool, Parameter(name="--print", negative=())] = False,
    settings: Annotated[Recipe, Parameter(name="*")] = Recipe(),  # noqa: B008
) -> None:
    """Train a model by self-search or with an engine, as a recipe says.

    Any value of the recipe can be overridden by its dotted name. Examples:

        innersearch train recipes/ssrl-world.toml
        innersearch train recipes/ssrl-world.toml --trainer.steps 20 --seed 1 --output runs/short
        innersearch train recipes/ssrl.toml --model ~/models/Qwen2.5-1.5B-Instruct --data nq.jsonl
        innersearch train recipes/ssrl-world.toml --resume --samples-every 10
        innersearch train recipes/my-agent.toml --agent "python agent.py {question}"
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
        agent: A program that is trained as it is: run for every question, it asks the model at
            OPENAI_BASE_URL and searches at INNERSEARCH_SEARCH_URL (see docs/serving.md).
        track: Mirror metrics.jsonl in wandb (WANDB_MODE=offline sends nothing), trackio or tensorboard.
        samples_every: Print a group, with rewards and advantages, after so many steps; 0 prints none.
        show: Only print how verl would be started.
        settings: The recipe with overrides.
    """
    if recipe.suffix != ".toml":
        raise ConfigError(f"{recipe} is no recipe: give a .toml file, for example one of recipes/")
    path = output or Path("runs") / settings.name
    if trainer is not None:
        settings = _changed(settings, "trainer", kind=trainer)
    if agent:
        settings = _changed(settings, "agent", command=agent)
    # Late: help and errors should not wait for torch.
    from innersearch.serve.rollouts import rollouts_of
    from innersearch.train.start import Training, resolved

    with _Watcher(path, samples_every) as shown:
        watcher = shown.tracked(track, path)
        training = Training(resolved(settings), watcher=watcher, rollouts=rollouts_of(settings))
        if dry_run:
            _dry_run(recipe, settings, training, path, resume=resume)
        elif show:
            _show(training, path, resume=resume)
        else:
            _start(training, path, resume=resume)


def _start(training: Training, path: Path, *, resume: bool) -> None:
    run = training.start(path, resume=resume)
    if training.recipe.stage:
        stdout.print(f"model   {run.model}")
    from innersearch.train.spent import spent

    if not ANOTHER:
        stdout.print(f"spent   {spent(run.path)}")


def _changed(recipe: Recipe, table: str, **values: str) -> Recipe:
    return recipe.model_copy(update={table: getattr(recipe, table).model_copy(update=values)})


def _show(training: Training, path: Path, *, resume: bool) -> None:
    """Print how verl would be started."""
    recipe = training.recipe
    if recipe.stage:
        raise ConfigError("--print shows a run without stages: start it, or print a recipe of one stage")
    if recipe.trainer.kind != "verl":
        raise ConfigError("--print shows how verl would be started: add --trainer verl")
    from innersearch.train.start import with_whole_path
    from innersearch.train.verl import launch
    from innersearch.train.verl.cluster import check_keys, demand_verl

    questions = training.asked()[""]
    recipe = with_whole_path(recipe)
    demand_engine(recipe.search)
    launch.check(recipe, questions, path, resume=resume)
    arguments = launch.command(recipe, Run(path))
    stdout.print(" \\\n  ".join(map(shlex.quote, arguments)), soft_wrap=True)
    demand_verl()
    check_keys(launch.overrides(recipe, Run(path)))


def _dry_run(file: Path, settings: Recipe, training: Training, path: Path, *, resume: bool) -> None:
    from innersearch.cli.dry_run import dry_run, sft_text
    from innersearch.train import processes
    from innersearch.train.stages import folder_name

    recipe, asked = training.recipe, training.asked()
    if not recipe.stage:
        _demand_trl(recipe)
        processes.join()
        stdout.print(dry_run(file, settings, asked[""], path, resume=resume))
        return
    for number, (stage, values) in enumerate(zip(recipe.stage, recipe.stages(), strict=True), 1):
        stdout.print(f"stage {number}: {stage.name} ({stage.kind})\n")
        if stage.kind == "rl":
            _demand_trl(values)
            processes.join()
            folder = path / folder_name(number, stage)
            stdout.print(dry_run(file, values, asked[stage.name], folder, resume=resume))
        else:
            stdout.print(sft_text(values, stage, len(asked.get(stage.name, ()))))


def _demand_trl(recipe: Recipe) -> None:
    if recipe.trainer.kind == "verl":
        raise ConfigError("--dry-run shows a run of TRL: look at verl's with --trainer verl --print")


class _Watcher(ExitStack):
    """Shows on the terminal how a training goes."""

    def __init__(self, path: Path, samples_every: int) -> None:
        super().__init__()
        self._path, self._samples_every = path, samples_every

    def tracked(self, name: str, path: Path) -> Watcher:
        """The same, with a tracker beside it where one is named."""
        if not name:
            return self
        from innersearch.train.tracking import TRACKERS, Tracked

        kind = TRACKERS.get(name)
        kind.demand()
        tracked = Tracked(self, kind, path / "tracking")
        self.callback(tracked.close)
        return tracked

    def notice(self, text: str) -> None:
        """Say it."""
        stderr.print(text, soft_wrap=True)

    def begins(self, recipe: Recipe, what: str, steps: int) -> None:
        """Say what searches may cost, and show the first step."""
        if recipe.search.rule.asks:
            stderr.print(forecast_table(recipe), soft_wrap=True)
            announce_calls(recipe)
        self._recipe, self._display = recipe, self.enter_context(Display())
        self._display.update(what, 0, steps)

    def step(self, what: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """Show a step with its figures."""
        loss = f"loss {metrics['loss']:.3f}" if "loss" in metrics else ""
        self._display.update(what, step, steps, describe(metrics) or loss)
        if self._samples_every and step % self._samples_every == 0:
            print_newest_group(self._path, self._recipe, self._display.console)

    def ends(self, run: Run, what: str) -> None:
        """Say where the results are."""
        self.close()
        if ANOTHER:
            return
        from innersearch.train.spent import KEPT
        from innersearch.view.report import write_report

        if (kept := run.path / KEPT).is_file():
            stdout.print("kept    {kept:,} of {trajectories:,} trajectories".format(**read_json(kept)))
            return
        report = write_report(run.path)
        stdout.print(f"model   {run.model}")
        stdout.print(f"report  {report}")
        stdout.print(f"next    innersearch eval {run.model} --data FILE -n 16")
