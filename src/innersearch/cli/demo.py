"""`innersearch demo`: the whole main job on the embedded world, from bundled model to report."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.types import NonNegativeFloat
from typing_extensions import TypedDict

from innersearch.assemble.models import conventions_named
from innersearch.assemble.recipes import recipe_path, toml_of
from innersearch.assemble.sources import load_questions
from innersearch.cli.console import stdout
from innersearch.cli.progress import Display, describe
from innersearch.config import Recipe, SearchSettings
from innersearch.errors import ConfigError
from innersearch.locks import held
from innersearch.records import write_json
from innersearch.runs import Run, versions
from innersearch.stored import read_object, read_records
from innersearch.view.tables import comparison_table
from innersearch.world.bundled import BUNDLED, NAME
from innersearch.world.questions import GROUPS

app = App(name="demo", help_format="plaintext")

_RECIPE = "ssrl-world.toml"
_KS = ("1", "4", "16", "64")
_QUESTIONS, _SMALL_QUESTIONS = 12, 4
"""Questions per group that are sampled 64 times."""
_SMALL_STEPS = 20
_VALIDATION_STRIDE = 4
"""Every fourth question of the validation split calibrates the gate."""
_SIGNAL, _EM_LOSS = "entropy", 0.01
"""What opens the gate, and the exact match it may lose."""


@app.default
def demo(
    output: Path = Path("runs/demo"),
    *,
    small: bool = False,
    seed: int = 0,
    resume: bool = False,
    install_seconds: NonNegativeFloat = 0.0,
) -> None:
    """Train the bundled model to search its own memory, and measure it before and after.

    Evaluates direct answers and self-search, trains with the recipe ssrl-world, and evaluates again:
    searching its memory, searching the encyclopedia with BM25, and searching it only where a calibrated
    gate finds its memory doubtful. Writes summary.json and report.html. Examples:

        innersearch demo
        innersearch demo runs/demo-seed-1 --seed 1
        innersearch demo --small

    Args:
        output: Directory of the run.
        small: Take fewer steps and questions, for a quick look or for CI.
        seed: Seed of the training run and of the sampled trajectories.
        resume: Go on with a demo that was interrupted.
        install_seconds: Seconds that installing took, for the summary.
    """
    # Not the lock of the run that it trains, which is taken and let go of in between.
    with held(output, "demo", ".demo.lock"):
        _demo(output, seed, install_seconds, small=small, resume=resume)


def _demo(output: Path, seed: int, install_seconds: float, *, small: bool, resume: bool) -> None:
    recipe = demo_recipe(small=small, seed=seed)
    # Imported late: help and errors should not wait for matplotlib and torch.
    from innersearch.view.report import write_report

    with held(output, "run"):
        run = Run.start(output, recipe, resume=resume)
    clock = _Clock(run.path / "seconds.json", install_seconds)
    rows = {}
    with Display() as display:
        for name in ("direct", "before"):
            with clock.count("eval"):
                rows[name] = _evaluate(run, name, recipe, display, small=small)
        with clock.count("train"):
            _train(run, recipe, display)
        with clock.count("eval"):
            rows["after"] = _evaluate(run, "after", recipe, display, small=small)
            rows |= _evaluate_real_search(run, recipe, display)
    with clock.count("other"):
        report = write_report(run.path)
    seconds = clock.seconds
    write_json(run.path / "summary.json", _summary(run, recipe, rows, seconds))
    stdout.print(comparison_table(rows))
    stdout.print(f"train {seconds['train']:.0f} s, evaluation {seconds['eval']:.0f} s")
    stdout.print(f"model   {run.model}")
    stdout.print(f"report  {report}")


def demo_recipe(*, small: bool, seed: int) -> Recipe:
    """The recipe of the demo; the small form trains for fewer steps."""
    path = recipe_path(f"recipes/{_RECIPE}")
    if path is None:
        raise ConfigError(f"recipes/{_RECIPE} is missing from this installation: install it anew")
    settings = toml_of(path) | {
        "model": str(BUNDLED),
        "seed": seed,
    }
    if small:
        settings["trainer"]["steps"] = _SMALL_STEPS
    return Recipe.model_validate(settings)


def _train(run: Run, recipe: Recipe, display: Display) -> None:
    from innersearch.train.run import train

    steps = recipe.trainer.steps
    display.update("training", 0, steps)
    train(
        recipe,
        load_questions(recipe.data, recipe.groups),
        run.path,
        resume=True,
        observer=lambda step, metrics: display.update("training", step, steps, describe(metrics)),
    )


def _evaluate(run: Run, name: str, recipe: Recipe, display: Display, *, small: bool) -> dict[str, Any]:
    from innersearch.evaluate.evaluation import Evaluation

    direct = name == "direct"
    evaluation = Evaluation(
        str(run.model) if name == "after" else recipe.model,
        load_questions("world:test"),
        None,
        {
            "direct": direct,
            "samples": 64,
            "sample_questions": _SMALL_QUESTIONS if small else _QUESTIONS,
            "max_new_tokens": recipe.sampling.max_new_tokens,
            "seed": recipe.seed,
        },
        resume=True,
    )
    return evaluation.run(run.path / "eval" / name, None, display.update, name)


def _evaluate_real_search(run: Run, recipe: Recipe, display: Display) -> dict[str, dict[str, Any]]:
    """The trained model with BM25, always and behind a gate that is calibrated on validation data."""
    from innersearch.evaluate.calibrate import Wanted, calibrate_model
    from innersearch.evaluate.evaluation import Evaluation
    from innersearch.routing.gate import gate_router

    world = conventions_named(NAME)
    settings = SearchSettings(engine=world.engine, **world.search)
    choices = {"max_new_tokens": recipe.sampling.max_new_tokens, "seed": recipe.seed}
    validation = load_questions("world:validation")[::_VALIDATION_STRIDE]
    calibration = Evaluation(str(run.model), validation, None, choices, resume=True)
    name, wanted = "calibration", Wanted(em_loss=_EM_LOSS)
    gate = calibrate_model(calibration, settings, _SIGNAL, wanted, run.path / name, display.update, name)
    sampled = {"samples": 64, "sample_questions": _SMALL_QUESTIONS}
    test = Evaluation(str(run.model), load_questions("world:test"), None, choices | sampled, resume=True)
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
        self.seconds: dict[str, float] = {"install": 0.0, "train": 0.0, "eval": 0.0, "other": 0.0}
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
        "em": {group: summary["em"][group] for group in GROUPS},
        "pass_at_k": {
            group: {k: summary["pass_at_k"][group][k]["value"] for k in _KS} for group in GROUPS
        },
        "format_rate": summary["format_rate"],
        "searches": summary["searches"],
        "calls": summary["calls"],
    }
