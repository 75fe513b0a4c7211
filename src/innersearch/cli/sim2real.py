"""`innersearch sim2real`: a model trained on its own memory, plugged into real search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from innersearch.assemble.sources import load_questions
from innersearch.cli.evaluate import default_folder
from innersearch.cli.options import SearchOptions, announce_cost
from innersearch.cli.progress import Display
from innersearch.cli.results import AsJson, show
from innersearch.locks import held
from innersearch.records import begun
from innersearch.view.tables import comparison_table

app = App(name="sim2real", help_format="plaintext")


@app.default
def sim2real(
    model: str,
    *,
    data: str,
    prompt: str | None = None,
    groups: tuple[str, ...] = (),
    max_new_tokens: NonNegativeInt = 0,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
    as_json: AsJson = False,
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(),  # noqa: B008
) -> None:
    """Evaluate a model with its first K searches real and the rest its own: K = 0, 1, 3 and all.

    Without further training, as in SSRL's Sim2Real (arXiv 2508.10874). Examples:

        innersearch sim2real runs/ssrl-world/model --data world:test
        innersearch sim2real ~/models/agent --data bamboogle.jsonl --engine serper --max-usd 2

    Args:
        model: Model directory or hub id; `world` is the bundled model.
        data: Questions: a file or directory, a fetched benchmark, or world:test; see eval.
        prompt: Name of the prompt text; what the model expects by default.
        groups: Groups of questions that are asked; all by default.
        max_new_tokens: Longest response in tokens; by default 256 for the world's model, else 4096.
        seed: Seed of the random numbers.
        output: Directory of the evaluations; runs/sim2real-<model> by default.
        resume: Go on with what is in the directory of the evaluations.
        as_json: Print the result as JSON, in place of text and tables.
        options: Which engine is searched; K takes the place of --search.
    """
    # Imported late: help and errors should not wait for torch.
    from innersearch.evaluate.evaluation import Evaluation
    from innersearch.evaluate.sim2real import STAGES
    from innersearch.evaluate.sim2real import sim2real as evaluate

    folder = output or default_folder("sim2real", model)
    questions = load_questions(data, groups, allow_sealed=True)
    choices = {"max_new_tokens": max_new_tokens, "seed": seed}
    evaluation = Evaluation(model, questions, prompt, choices, resume=True)
    stages = {n: evaluation.search_settings(options.for_rule(r).choice()) for n, r in STAGES.items()}
    announce_cost(stages["all"], (len(stages) - 1) * len(questions))
    with held(folder, "evaluation"), Display() as display:
        begun(folder, resume=resume, what="evaluation")
        rows = evaluate(evaluation, stages, folder, display.update)
    show(rows, comparison_table(rows), as_json=as_json, notes=[f"records  {folder}"])
