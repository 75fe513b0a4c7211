"""`innersearch eval`: how good a model is, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt, PositiveFloat

from innersearch.cli.console import stdout
from innersearch.cli.progress import Display
from innersearch.cli.sources import WORLD, default_prompt, load_questions, model_path
from innersearch.types import Question
from innersearch.view.tables import evaluation_table

app = App(name="eval", help_format="plaintext")


@app.default
def evaluate_command(
    model: str,
    *,
    data: str,
    n: Annotated[NonNegativeInt, Parameter(alias="-n")] = 0,
    sample_questions: NonNegativeInt = 0,
    prompt: str | None = None,
    direct: bool = False,
    groups: tuple[str, ...] = (),
    temperature: PositiveFloat = 1.0,
    max_new_tokens: NonNegativeInt = 0,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
) -> None:
    """Evaluate a model: greedy exact match and F1, and pass@k from n samples per question.

    Every value is printed with its n and 95 % interval, and records go to disk. Examples:

        innersearch eval world --data world:test -n 64 --sample-questions 16
        innersearch eval runs/ssrl-world/model --data world:test
        innersearch eval ~/models/Qwen2.5-1.5B-Instruct --data bamboogle.jsonl -n 8
        innersearch eval world --data world:test --direct

    Args:
        model: Model directory or hub id; `world` is the shipped model.
        data: A .jsonl or .parquet file of questions, or world:train, world:validation, world:test.
        n: Sampled trajectories per question, for pass@k up to k = n.
        sample_questions: Questions per group that are sampled; 0 takes all.
        prompt: Prompt text; what the model expects by default.
        direct: Ask for the answer without search tags: the baseline.
        groups: Only questions of these groups.
        temperature: Of the sampled trajectories.
        max_new_tokens: Longest response; 128 for the world's model and 4096 for others by default.
        seed: Of the sampled trajectories.
        output: Directory of the records; runs/eval-<model>-<data> by default.
        resume: Go on with what is in that directory.
    """
    folder = output or Path("runs") / f"eval-{_label(model)}-{Path(data).stem}".replace(":", "-")
    choices = {
        "direct": direct,
        "samples": n,
        "sample_questions": sample_questions,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
    }
    summary = _evaluate(model, load_questions(data, groups), folder, prompt, choices, resume=resume)
    stdout.print(evaluation_table(summary))
    stdout.print(f"records  {folder}")


def _label(model: str) -> str:
    """The name of a run for its model, and of the directory for others."""
    path = Path(model)
    return path.absolute().parent.name if path.name == "model" else path.name


def _evaluate(
    model: str,
    questions: list[Question],
    folder: Path,
    prompt: str | None,
    choices: dict[str, Any],
    *,
    resume: bool,
) -> dict[str, Any]:
    # Imported late: help and errors should not wait for torch.
    from innersearch.evaluate.run import EvalSettings, evaluate
    from innersearch.policy.loading import load_model, load_tokenizer

    path = model_path(model)
    tokenizer = load_tokenizer(path)
    name = prompt or default_prompt(tokenizer, direct=choices["direct"])
    choices["max_new_tokens"] = choices["max_new_tokens"] or (128 if name.startswith(WORLD) else 4096)
    settings = EvalSettings(prompt=name, **choices)
    with Display() as display:
        show = display.update
        return evaluate(
            load_model(path), tokenizer, questions, folder, settings, resume=resume, progress=show
        )
