"""`innersearch train`: from a recipe to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.config import Dict

from innersearch.cli import sources
from innersearch.cli.console import stderr, stdout
from innersearch.cli.cost import forecast_table
from innersearch.cli.engines import SELF, announce_cost, open_named
from innersearch.cli.progress import Display, describe
from innersearch.cli.sources import load_questions, model_path
from innersearch.config import Recipe
from innersearch.errors import ConfigError
from innersearch.search.noise import Curriculum

app = App(name="train", help_format="plaintext")


def read_recipe(tokens: list[str]) -> None:
    """Make the recipe named among the arguments the source of their defaults.

    Raises:
        ConfigError: A recipe is named and there is no such file, or it is no TOML.
    """
    app.config = ()
    for token in tokens:
        if token.endswith(".toml") and not token.startswith("-"):
            path, values = sources.read_recipe(token)
            # Under the name of the command: cyclopts drops keys that are names of other commands.
            defaults = Dict({"train": values})
            defaults.source = str(path)
            app.config = (defaults,)
            return


@app.default
def train(
    recipe: Path,
    *,
    output: Path | None = None,
    resume: bool = False,
    settings: Annotated[Recipe, Parameter(name="*")] = Recipe(),  # noqa: B008
) -> None:
    """Train a model by self-search or with an engine, as a recipe says.

    Any value of the recipe can be overridden by its dotted name. Examples:

        innersearch train recipes/ssrl-world.toml
        innersearch train recipes/ssrl-world.toml --trainer.steps 20 --seed 1 --output runs/short
        innersearch train recipes/ssrl.toml --model ~/models/Qwen2.5-1.5B-Instruct --data nq.jsonl
        innersearch train recipes/search-r1-world.toml
        innersearch train recipes/zerosearch-world.toml
        innersearch train recipes/ssrl-world.toml --resume

    Args:
        recipe: A .toml file.
        output: Run directory; runs/<name of the recipe> by default.
        resume: Go on from the latest checkpoint of that directory.
        settings: The recipe with overrides.
    """
    if recipe.suffix != ".toml":
        raise ConfigError(f"{recipe} is no recipe: give a .toml file, for example one of recipes/")
    path = output or Path("runs") / settings.name
    questions = load_questions(settings.data, settings.groups)
    resolved = settings.model_copy(update={"model": model_path(settings.model)})
    # Imported late: help and errors should not wait for torch.
    from innersearch.train.run import train as run_training
    from innersearch.view.report import write_report

    engine = None
    if resolved.search.router != SELF:
        trajectories = resolved.trainer.steps * resolved.trainer.prompts_per_step
        stderr.print(forecast_table(resolved), soft_wrap=True)
        announce_cost(resolved.search, trajectories * resolved.trainer.group_size)
        curriculum = Curriculum(resolved.search.noise, resolved.trainer.steps, resolved.seed)
        others = [question.question for question in questions]
        engine = open_named(resolved.search, path / "budget.json", curriculum=curriculum, others=others)
    with Display() as display:
        steps = resolved.trainer.steps
        display.update("training", 0, steps)
        run = run_training(
            resolved,
            questions,
            path,
            engine=engine,
            resume=resume,
            observer=lambda step, metrics: display.update("training", step, steps, describe(metrics)),
        )
    report = write_report(run.path)
    stdout.print(f"model   {run.model}")
    stdout.print(f"report  {report}")
    stdout.print(f"next    innersearch eval {run.model} --data FILE -n 16")
