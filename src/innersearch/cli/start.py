"""`innersearch start`: a model that never writes the tags learns to, from its own few-shot text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from innersearch.assemble.models import model_path
from innersearch.cli.console import stderr, stdout
from innersearch.cli.evaluate import default_folder
from innersearch.cli.progress import Display
from innersearch.cold_start.settings import StartPlan, StartSettings
from innersearch.errors import ConfigError, RunError
from innersearch.view.tables import markdown, percent

if TYPE_CHECKING:
    from innersearch.cold_start.figures import Figures
    from innersearch.cold_start.start import Started

app = App(name="start", help_format="plaintext")


@app.default
def start_command(
    model: str,
    *,
    data: str = "",
    validation: str = "",
    output: Path | None = None,
    resume: bool = False,
    plan: Annotated[StartPlan, Parameter(name="*")] = StartPlan(),  # noqa: B008
) -> None:
    """Teach a model the tags by trajectories that it wrote behind examples, and measure the start.

    For models that never write the tags, so that reinforcement would have nothing to reward. How often
    a trajectory searches is drawn for each, whatever the question, and results are what the model
    itself writes, right or wrong: nothing is planted. Before any reinforcement it is measured on
    validation questions: one hop against what the model knew behind examples, well-formed trajectories,
    and pass@16 on two hops. Where a figure falls short of its target the command says so and fails; the
    model is kept. Examples:

        innersearch start runs/real/model --data atlas:train
        innersearch start ~/models/Qwen2.5-0.5B --data nq.jsonl --validation dev.jsonl --lora 16
        innersearch start MODEL --data nq.jsonl --validation dev.jsonl --examples mine.jsonl
        innersearch start runs/real/model --data atlas:train --resume

    Args:
        model: Model directory, hub id or GGUF file.
        data: Questions that trajectories are written for, such as atlas:train or a file.
        validation: Questions that measure the start; NAME:validation where data is NAME:train.
        output: Directory of the start; runs/start-<model> by default.
        resume: Go on with a start that was interrupted.
        plan: How it is done.
    """
    questions = {"data": _demanded(data), "validation": _validation(data, validation)}
    settings = StartSettings(model=model_path(model), **questions, **plan.model_dump())
    # Late: help and errors should not wait for torch.
    from innersearch.cold_start.start import start

    with Display() as display:
        made = start(
            settings,
            output or default_folder("start", model),
            resume=resume,
            progress=display.update,
            notice=lambda text: stderr.print(text, soft_wrap=True),
        )
    show(made)
    if not made.figures.ready:
        raise RunError(said(made))


def show(made: Started) -> None:
    """Print the figures of a start."""
    stdout.print(few_shot_table(made.figures))
    stdout.print(targets_table(made.figures))
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in made.seconds.items())
    stdout.print(f"learnt  {made.demonstrations:,} trajectories ({parts})")
    stdout.print(f"model   {made.run.model}")


def said(made: Started) -> str:
    """What is wrong with a start, in one line."""
    missed = "; ".join(
        f"{t.name} is {100 * t.found.value:.1f} %, at least {100 * t.least:.1f} needed"
        for t in made.figures.targets
        if not t.met
    )
    return (
        f"this is no start for reinforcement: {missed}. Try more --questions, a lower --learning-rate, "
        f"--lora, or --examples in the form of your questions; the model is kept in {made.run.model}"
    )


def few_shot_table(figures: Figures) -> str:
    """Exact match behind examples and of the start, a column per group."""
    groups = list(figures.greedy)
    rows = [
        [f"behind examples, {n} searches", *(percent(row[g]._asdict()) for g in groups)]
        for n, row in figures.few_shot.items()
    ]
    rows.append(["start, greedy", *(percent(figures.greedy[g]._asdict()) for g in groups)])
    return markdown(["EM %, 95 % interval", *groups], rows)


def targets_table(figures: Figures) -> str:
    """What must hold before reinforcement, a line per figure."""
    rows = [
        [
            target.name,
            str(target.found.n),
            percent(target.found._asdict()),
            f"{100 * target.least:.1f}",
            "yes" if target.met else "NO",
        ]
        for target in figures.targets
    ]
    return markdown(["%, 95 % interval", "n", "found", "at least", "met"], rows)


def _demanded(data: str) -> str:
    if not data:
        raise ConfigError("no questions given: add --data, such as atlas:train or a file")
    return data


def _validation(data: str, given: str) -> str:
    """The questions that measure, which must be others than those that are learnt from."""
    found = given or (data.removesuffix("train") + "validation" if data.endswith(":train") else "")
    if not found:
        raise ConfigError(
            "no validation questions given: add --validation, other questions than those of --data"
        )
    if found == data:
        raise ConfigError("--validation names the questions of --data: give others")
    return found
