"""`innersearch hybrid`: what searching only where it is needed costs, on one's own questions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt

from innersearch.assemble.choices import cached_in
from innersearch.assemble.sources import load_questions
from innersearch.cli.evaluate import default_folder
from innersearch.cli.options import SearchOptions, announce_cost
from innersearch.cli.progress import Display
from innersearch.cli.results import AsJson, show
from innersearch.locks import held
from innersearch.records import begun, replace_text, write_json
from innersearch.view.curves import curves_csv, curves_figure, curves_tables

if TYPE_CHECKING:
    from innersearch.evaluate.curves import Plan
    from innersearch.evaluate.evaluation import Evaluation
    from innersearch.types import Question

app = App(name="hybrid", help_format="plaintext")

_EVALUATIONS = 40
"""Of all routers together, about."""


@app.default
def hybrid(
    model: str,
    *,
    data: str,
    by: tuple[str, ...] = (),
    cluster: str = "",
    questions: NonNegativeInt = 0,
    after: NonNegativeInt = 200,
    signals: tuple[str, ...] = (),
    latency: NonNegativeFloat = 0.3,
    token_ms: NonNegativeFloat = 0.0,
    popularity: str = "mentions",
    prompt: str | None = None,
    groups: tuple[str, ...] = (),
    max_new_tokens: NonNegativeInt = 0,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
    as_json: AsJson = False,
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(),  # noqa: B008
) -> None:
    """Measure what hybrid search costs: exact match against real searches, tokens and time.

    Evaluates all routers, and gates at several thresholds, into curves.json, .csv and .svg:

        innersearch hybrid ~/models/agent --data mine.jsonl --engine bm25:wiki --by kind

    Args:
        model: Model directory or hub id; `world` is the bundled model.
        data: Questions: a file or directory, a fetched benchmark, or world:test; see eval.
        by: Field of the questions, in whose values they are measured apart; several are possible.
        cluster: Field of the questions; those in which it is the same err together, see compare.
        questions: Number of questions that are asked, in a drawn order; 0 takes all.
        after: Questions at the beginning that are not measured, from which the router learning learns.
        signals: Signals of gates, all but consistency by default; several are possible.
        latency: Mean seconds that a real search is taken to last.
        token_ms: Milliseconds that a sampled token takes; 0 measures it with one question at a time.
        popularity: Field of the questions that says how often pre-training states their facts.
        prompt: Name of the prompt text; what the model expects by default.
        groups: Groups of questions that are asked; all by default.
        max_new_tokens: Longest response in tokens; by default 256 for the world's model, else 4096.
        seed: Seed of the order of the questions.
        output: Directory of the evaluations; runs/hybrid-<model> by default.
        resume: Go on with what is in the directory of the evaluations.
        as_json: Print the result as JSON, in place of text and tables.
        options: Which engine is searched.
    """
    from innersearch.evaluate.calibrate import CHEAP
    from innersearch.evaluate.clusters import demand_fields
    from innersearch.evaluate.curves import SHARES, Plan
    from innersearch.evaluate.evaluation import Evaluation

    folder = output or default_folder("hybrid", model)
    rows = _drawn(data, groups, seed, questions)
    evaluation = Evaluation(model, rows, prompt, {"max_new_tokens": max_new_tokens}, resume=True)
    gate = _gate_of(Path(evaluation.path))
    plan = Plan(after, latency, by, cluster, popularity, signals or CHEAP, SHARES, gate, token_ms / 1000)
    demand_fields(rows, [*by, *filter(None, [cluster])])
    found = _write(evaluation, plan, options, folder, resume=resume)
    show(found, curves_tables(found), as_json=as_json, notes=[f"records  {folder}"])


def _drawn(data: str, groups: tuple[str, ...], seed: int, number: int) -> list[Question]:
    rows = load_questions(data, groups)
    random.Random(f"hybrid-{seed}").shuffle(rows)
    return rows[: number or None]


def _gate_of(model: Path) -> dict[str, Any] | None:
    """The gate that was calibrated for a model, if one was."""
    from innersearch.routing.gate import GATE, load_gate

    return load_gate(model) if (model / GATE).is_file() else None


def _write(
    evaluation: Evaluation, plan: Plan, options: SearchOptions, folder: Path, *, resume: bool
) -> dict[str, Any]:
    with held(folder, "measurement"):
        begun(folder, resume=resume, what="measurement")
        found = _measure(evaluation, plan, options, folder)
        write_json(folder / "curves.json", found)
        replace_text(folder / "curves.csv", curves_csv(found))
        replace_text(folder / "curves.svg", curves_figure(found))
    return found


def _measure(evaluation: Evaluation, plan: Plan, options: SearchOptions, folder: Path) -> dict[str, Any]:
    from innersearch.evaluate.curves import curves

    settings = cached_in(evaluation.search_settings(options.for_rule("always").choice()), folder)
    assert settings  # noqa: S101
    announce_cost(settings, _EVALUATIONS * len(evaluation.questions))
    with Display() as display:
        return curves(evaluation, settings, plan, folder, display.update)
