"""`innersearch calibrate`: a gate for a model that is to search only where it must."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from innersearch.assemble.choices import cached_in
from innersearch.assemble.sources import load_questions
from innersearch.cli.evaluate import default_folder
from innersearch.cli.options import SearchOptions, announce_cost
from innersearch.cli.progress import Display
from innersearch.cli.results import AsJson, show
from innersearch.errors import ConfigError
from innersearch.types import Question
from innersearch.view.calibration import calibration_text

if TYPE_CHECKING:
    from innersearch.evaluate.calibrate import Wanted
    from innersearch.evaluate.evaluation import Evaluation

app = App(name="calibrate", help_format="plaintext")

Signal = Literal["entropy", "max-entropy", "min-prob", "consistency", "query-entropy", "best"]


@app.default
def calibrate_command(
    model: str,
    *,
    data: str,
    signal: Signal = "entropy",
    call_rate: float | None = None,
    em_loss: float | None = None,
    questions: NonNegativeInt = 0,
    cluster: str = "",
    prompt: str | None = None,
    groups: tuple[str, ...] = (),
    max_new_tokens: NonNegativeInt = 0,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
    as_json: AsJson = False,
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(),  # noqa: B008
) -> None:
    """Find out where a model should rather search than trust itself, and keep that with the model.

    Evaluates with real searches only, then with gates; `--search hybrid` uses the result. Examples:

        innersearch calibrate runs/demo/model --data world:validation --signal best --cluster chain.0
        innersearch calibrate ~/models/agent --data nq-dev.jsonl --engine bm25:wiki --em-loss 0.01

    Args:
        model: Model directory.
        data: Questions to calibrate on: a file or directory, a fetched benchmark, or world:validation.
        signal: Signal that tells when the model is unsure; best tries all but consistency.
        call_rate: Wanted share of searches that are real.
        em_loss: Exact match that may be lost for fewer searches; 0.01 where no call rate is given.
        questions: Number of questions that are asked, drawn with the seed; 0 takes all.
        cluster: Field of the questions; those in which it is the same err together, see compare.
        prompt: Name of the prompt text; what the model expects by default.
        groups: Groups of questions that are asked; all by default.
        max_new_tokens: Longest response in tokens; by default 256 for the world's model, else 4096.
        seed: Seed of the random numbers.
        output: Directory of the evaluations; runs/calibrate-<model> by default.
        resume: Go on with what is in the directory of the evaluations.
        as_json: Print the result as JSON, in place of text and tables.
        options: Which engine is searched.
    """
    from innersearch.evaluate.calibrate import Wanted
    from innersearch.evaluate.evaluation import Evaluation
    from innersearch.locks import held
    from innersearch.records import begun
    from innersearch.routing.gate import GATE

    wanted = Wanted(call_rate, 0.01 if call_rate is None and em_loss is None else em_loss)
    folder = output or default_folder("calibrate", model)
    _demand_writable(model)
    choices = {"max_new_tokens": max_new_tokens, "seed": seed}
    rows = _drawn(load_questions(data, groups), questions, seed)
    evaluation = Evaluation(model, rows, prompt, choices, resume=True)
    replaced = ", instead of the one before" if (Path(model) / GATE).is_file() else ""
    with held(folder, "calibration"):
        begun(folder, resume=resume, what="calibration")
        gate = _calibrate(evaluation, signal, wanted, options, folder, cluster)
    show(gate, calibration_text(gate, f"kept in {evaluation.path}{replaced}"), as_json=as_json)


def _demand_writable(model: str) -> None:
    if not Path(model).is_dir() or not os.access(model, os.W_OK):
        raise ConfigError(
            f"{model} is no directory that can be written to: a gate is kept beside its model"
        )


def _drawn(rows: Sequence[Question], number: int, seed: int) -> Sequence[Question]:
    if not number or number >= len(rows):
        return rows
    return random.Random(f"calibrate-{seed}").sample(rows, number)


def _calibrate(
    evaluation: Evaluation,
    signal: Signal,
    wanted: Wanted,
    options: SearchOptions,
    folder: Path,
    cluster: str,
) -> dict[str, Any]:
    from innersearch.evaluate.calibrate import BEST, CHEAP, STEPS, calibrate_model

    settings = cached_in(evaluation.search_settings(options.for_rule("always").choice()), folder)
    assert settings  # noqa: S101
    tries = (2 + math.ceil(math.log2(STEPS))) * (len(CHEAP) if signal == BEST else 1)
    announce_cost(settings, (1 + tries) * len(evaluation.questions))
    budget = folder / "budget.json"
    with Display() as display:
        show = display.update
        work = evaluation, settings, signal, wanted, folder, show
        return calibrate_model(*work, budget_file=budget, cluster=cluster)
