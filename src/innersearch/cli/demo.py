"""`innersearch demo`: the whole main job on the embedded world, from bundled model to report."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.types import NonNegativeFloat
from typing_extensions import TypedDict

from innersearch.assemble.models import conventions_named
from innersearch.assemble.recipes import read_recipe, recipe_path
from innersearch.assemble.sources import load_questions
from innersearch.cli.progress import Display, describe
from innersearch.cli.results import AsJson, show
from innersearch.config import Recipe, SearchSettings
from innersearch.errors import ConfigError
from innersearch.locks import held
from innersearch.records import begun, write_json
from innersearch.runs import Run, versions
from innersearch.stored import read_object, read_records
from innersearch.types import Question
from innersearch.view.tables import comparison_table
from innersearch.world.bundled import BUNDLED, NAME
from innersearch.world.questions import GROUPS
from innersearch.world.relations import Wording

app = App(name="demo", help_format="plaintext")

_RECIPE, _REJECTION = "ssrl-world.toml", "rft.toml"
_KS = ("1", "4", "16")
_SAMPLES = 16
_QUESTIONS, _SMALL_QUESTIONS = 24, 4
"""Questions per group that are sampled so often."""
_STEPS, _SMALL_STEPS = 60, 20
"""Of reinforcement; rejection sampling takes as many trajectories."""
_STRIDE = 3
"""Every third question of the test split is asked, in both wordings alike."""
_VALIDATION, _SMALL_VALIDATION = 1_000, 200
"""Questions of the validation split that calibrate the gate, where there are so many."""
_SIGNAL, _EM_LOSS = "entropy", 0.01
"""What opens the gate, and the exact match it may lose."""
_REWORDED = " in other words"
_REWORDED_GROUPS = ("depth_1", "depth_2")
_GROUPS = tuple(
    name
    for group in GROUPS
    for name in ((group, group + _REWORDED) if group in _REWORDED_GROUPS else (group,))
)
"""What the rows are told apart by; the wordings of the second kind occur in no training."""


@app.default
def demo(
    output: Path | None = None,
    *,
    taste: bool = False,
    small: bool = False,
    seed: int = 0,
    resume: bool = False,
    install_seconds: NonNegativeFloat = 0.0,
    as_json: AsJson = False,
) -> None:
    """Train the bundled model to search its own memory, and measure it before and after.

    Evaluates the start, trains it once by rejection sampling and once by reinforcement (the recipe
    ssrl-world), at the same number of trajectories, and evaluates both; the latter also searching the
    encyclopedia with BM25, always and only where a calibrated gate finds its memory doubtful. Questions
    of one to three hops, in wordings of training and in others, of relation pairs that no training
    asks for, and of facts that have changed since. Writes summary.json and report.html.

    With --taste nothing is trained and torch is not needed: scripted agents, a careful, a hasty and a
    silent one, answer the world's questions over three engines, in some seconds. Examples:

        innersearch demo --taste
        innersearch demo
        innersearch demo runs/demo-seed-1 --seed 1
        innersearch demo --small

    Args:
        output: Directory of the run; runs/demo by default, with --taste the first free of runs/taste,
            runs/taste-2, …
        taste: Let scripted agents search, and train nothing.
        small: Take fewer steps and questions, for a quick look or for CI.
        seed: Seed of the training run and of the sampled trajectories.
        resume: Go on with a demo that was interrupted.
        install_seconds: Seconds that installing took, for the summary.
        as_json: Print the result as JSON, in place of text and tables.
    """
    if taste:
        _taste(output or free_folder(Path("runs/taste")), as_json=as_json)
        return
    output = output or Path("runs/demo")
    # Not the lock of the run that it trains, which is taken and let go of in between.
    with held(output, "demo", ".demo.lock"):
        found = _demo(output, seed, install_seconds, small=small, resume=resume)
    seconds = found["seconds"]
    took = f"train {seconds['train']:.0f} s, evaluation {seconds['eval']:.0f} s"
    notes = [f"model   {Run(output).model}", f"report  {output / 'report.html'}"]
    show(found["summary"], f"{found['table']}\n{took}", as_json=as_json, notes=notes)


def _taste(output: Path, *, as_json: bool) -> None:
    from innersearch.cli.taste import taste
    from innersearch.view.report import write_report

    begun(output, resume=False, what="taste")
    with Display() as display:
        rows = taste(output, display.update)
    report = write_report(output)
    notes = [f"report  {report}", f"next    innersearch view {output}"]
    show(rows, comparison_table(rows), as_json=as_json, notes=notes)


def free_folder(wanted: Path) -> Path:
    """The first of NAME, NAME-2, NAME-3, … that does not exist."""
    names = chain([wanted], (wanted.with_name(f"{wanted.name}-{n}") for n in count(2)))
    return next(path for path in names if not path.exists())


def _demo(
    output: Path, seed: int, install_seconds: float, *, small: bool, resume: bool
) -> dict[str, Any]:
    recipe = demo_recipe(small=small, seed=seed)
    # Imported late: help and errors should not wait for matplotlib and torch.
    from innersearch.view.report import write_report

    with held(output, "run"):
        run = Run.start(output, recipe, resume=resume)
    clock = _Clock(run.path / "seconds.json", install_seconds)
    rows = {}
    with Display() as display:
        with clock.count("eval"):
            rows["before"] = _evaluate(run, "before", recipe.model, display, small=small)
        with clock.count("rejection"):
            rejected = _reject(run, recipe, display)
        with clock.count("eval"):
            rows["rft"] = _evaluate(run, "rft", str(rejected), display, small=small)
        with clock.count("train"):
            _train(run, recipe, display)
        with clock.count("eval"):
            rows["after"] = _evaluate(run, "after", str(run.model), display, small=small)
            rows |= _evaluate_real_search(run, display, small=small)
    with clock.count("other"):
        write_report(run.path)
    summary = _summary(run, recipe, rows, clock.seconds)
    write_json(run.path / "summary.json", summary)
    return {"summary": summary, "table": comparison_table(rows), "seconds": clock.seconds}


def demo_recipe(*, small: bool, seed: int) -> Recipe:
    """The recipe of the demo; the small form trains for fewer steps."""
    return _recipe(f"recipes/{_RECIPE}", seed, {"steps": _SMALL_STEPS if small else _STEPS})


def _recipe(name: str, seed: int, trainer: dict[str, Any]) -> Recipe:
    path = recipe_path(name)
    if path is None:
        raise ConfigError(f"{name} is missing from this installation: install it anew")
    settings = read_recipe(str(path))[1] | {"model": str(BUNDLED), "seed": seed}
    settings["trainer"] = settings.get("trainer", {}) | trainer
    return Recipe.model_validate(settings)


def _train(run: Run, recipe: Recipe, display: Display) -> None:
    from innersearch.train.run import train

    steps = recipe.trainer.steps
    display.update("reinforcement", 0, steps)
    train(
        recipe,
        load_questions(recipe.data, recipe.groups),
        run.path,
        resume=True,
        observer=lambda step, metrics: display.update("reinforcement", step, steps, describe(metrics)),
    )


def _reject(run: Run, recipe: Recipe, display: Display) -> Path:
    """Rejection sampling with as many trajectories as reinforcement has; the model that comes of it."""
    from innersearch.train.start import Training

    budget = recipe.trainer.steps * recipe.trainer.prompts_per_step
    rejection = _recipe(f"recipes/controls/{_REJECTION}", recipe.seed, {})
    stages = tuple(stage.model_copy(update={"questions": budget}) for stage in rejection.stage)
    rejection = rejection.model_copy(update={"stage": stages})
    training = Training(rejection, watcher=_Shown(display, "rejection sampling"))
    return training.start(run.path / "rft", resume=True).model


class _Shown:
    """Shows how a training goes as a line of the demo."""

    def __init__(self, display: Display, name: str) -> None:
        self.display, self.name = display, name

    def notice(self, text: str) -> None:
        """See `Watcher`."""

    def begins(self, recipe: Recipe, what: str, steps: int) -> None:
        """See `Watcher`."""

    def ends(self, run: Run, what: str) -> None:
        """See `Watcher`."""

    def step(self, what: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """See `Watcher`."""
        self.display.update(self.name, step, steps, describe(metrics))


def _test_questions() -> list[Question]:
    """A part of the test split, with the wordings told apart."""
    questions = load_questions("world:test")[::_STRIDE]
    return [replace(q, metadata=q.metadata | {"group": _group(q)}) for q in questions]


def _group(question: Question) -> str:
    group = question.group
    reworded = group in _REWORDED_GROUPS and question.metadata["wording"] == Wording.UNSEEN
    return group + _REWORDED if reworded else group


def _evaluate(run: Run, name: str, model: str, display: Display, *, small: bool) -> dict[str, Any]:
    from innersearch.evaluate.evaluation import Evaluation

    sampled = {"samples": _SAMPLES, "sample_questions": _SMALL_QUESTIONS if small else _QUESTIONS}
    evaluation = Evaluation(model, _test_questions(), None, sampled, resume=True)
    return evaluation.run(run.path / "eval" / name, None, display.update, name)


def _evaluate_real_search(run: Run, display: Display, *, small: bool) -> dict[str, dict[str, Any]]:
    """The trained model with BM25, always and behind a gate that is calibrated on validation data."""
    from innersearch.evaluate.calibrate import Wanted, calibrate_model
    from innersearch.evaluate.evaluation import Evaluation
    from innersearch.routing.gate import gate_router

    world = conventions_named(NAME)
    settings = SearchSettings(engine=world.engine, **world.search)
    validation = load_questions("world:validation")
    most = _SMALL_VALIDATION if small else _VALIDATION
    validation = validation[:: -(-len(validation) // most)]
    calibration = Evaluation(str(run.model), validation, None, {}, resume=True)
    name, wanted = "calibration", Wanted(em_loss=_EM_LOSS)
    gate = calibrate_model(calibration, settings, _SIGNAL, wanted, run.path / name, display.update, name)
    test = Evaluation(str(run.model), _test_questions(), None, {}, resume=True)
    return {
        name: test.run(
            run.path / "eval" / name,
            settings.model_copy(update={"router": router}),
            display.update,
            name,
        )
        for name, router in (("after_bm25", "always"), ("after_hybrid", gate_router(gate)))
    }


_Trained = TypedDict("_Trained", {"policy/trained_share": float})
"""What metrics.jsonl needs to be summed up."""


class _Clock:
    """Seconds of each part of the demo, over all the calls it took."""

    def __init__(self, path: Path, install_seconds: float) -> None:
        self.path = path
        parts = ("install", "rejection", "train", "eval", "other")
        self.seconds = dict.fromkeys(parts, 0.0)
        if path.is_file():
            self.seconds |= read_object(path, dict[str, float])
        self.seconds["install"] = install_seconds or self.seconds["install"]

    @contextmanager
    def count(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - started
            write_json(self.path, self.seconds)


def _summary(
    run: Run, recipe: Recipe, rows: dict[str, dict[str, Any]], seconds: dict[str, float]
) -> dict[str, Any]:
    steps = list(read_records(run.metrics, _Trained))
    return {
        "rows": {name: _row(summary) for name, summary in rows.items()},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "trained_token_share": statistics.fmean(step["policy/trained_share"] for step in steps),
        "steps": len(steps),
        "seed": recipe.seed,
        "versions": versions(),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def _row(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "em": {group: summary["em"][group] for group in _GROUPS},
        "pass_at_k": {
            group: {k: found[k]["value"] for k in _KS}
            for group, found in summary.get("pass_at_k", {}).items()
            if group in _GROUPS
        },
        "format_rate": summary["format_rate"],
        "searches": summary["searches"],
        "calls": summary["calls"],
    }
