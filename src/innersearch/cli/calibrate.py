"""`innersearch calibrate`: a gate for a model that is to search only where it must."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from innersearch.cli.console import stdout
from innersearch.cli.engines import SearchOptions, announce_cost
from innersearch.cli.evaluate import Evaluation, label
from innersearch.cli.progress import Display
from innersearch.cli.sources import load_questions, model_path

app = App(name="calibrate", help_format="plaintext")

Signal = Literal["entropy", "max-entropy", "min-prob", "consistency"]


@app.default
def calibrate_command(
    model: str,
    *,
    data: str,
    signal: Signal = "entropy",
    call_rate: float | None = None,
    em_loss: float | None = None,
    prompt: str | None = None,
    groups: tuple[str, ...] = (),
    max_new_tokens: NonNegativeInt = 0,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(search="always"),  # noqa: B008
) -> None:
    """Find out where a model should rather search than trust itself, and keep that with the model.

    Evaluates with real searches only, then with gates, on questions that are not the test set. Then
    `--search hybrid` of eval and ask uses the gate. Examples:

        innersearch calibrate runs/demo/model --data world:validation
        innersearch calibrate runs/demo/model --data world:validation --call-rate 0.3
        innersearch calibrate ~/models/agent --data nq-dev.jsonl --engine bm25:wiki --em-loss 0.01

    Args:
        model: Model directory.
        data: Questions to calibrate on, as for eval.
        signal: What tells that the model is unsure of its own information.
        call_rate: Wanted share of searches that are real.
        em_loss: Or: exact match that may be lost against real searches only; 0.01 by default.
        prompt: Prompt text; what the model expects by default.
        groups: Only questions of these groups.
        max_new_tokens: As for eval.
        seed: As for eval.
        output: Directory of the evaluations; runs/calibrate-<model> by default.
        resume: Go on with what is in that directory.
        options: Which engine, as for eval.
    """
    from innersearch.evaluate.calibrate import Wanted, calibrate, save_gate
    from innersearch.records import begun

    loss = 0.01 if call_rate is None and em_loss is None else em_loss
    wanted = Wanted(call_rate, loss)
    folder = output or Path("runs") / f"calibrate-{label(model)}"
    questions = load_questions(data, groups)
    begun(folder, resume=resume, what="calibration")
    evaluation = Evaluation(
        model, questions, prompt, {"max_new_tokens": max_new_tokens, "seed": seed}, resume=True
    )
    settings = evaluation.search_settings(replace(options, search="always"))
    assert settings  # noqa: S101
    announce_cost(settings, 4 * len(questions))

    with Display() as display:
        gate = calibrate(
            lambda router, path: evaluation.run(
                path, settings.model_copy(update={"router": router}), display, path.name
            ),
            signal,
            wanted,
            folder,
        )
    kept = save_gate(Path(model_path(model)), gate)
    measured, always = gate["measured"], gate["always"]
    stdout.print(
        f"gate     {signal} above {gate['threshold']:.4g}\n"
        f"always   EM {always['em']:.1%}, {always['calls']:.2f} real searches per question\n"
        f"hybrid   EM {measured['em']:.1%}, {measured['calls']:.2f} real searches per question "
        f"(n = {gate['n']})\n"
        f"kept in  {kept}"
    )
