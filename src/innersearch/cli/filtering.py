"""`innersearch data filter`: questions of the right difficulty for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveFloat, PositiveInt

from innersearch.assemble.choices import cached_in
from innersearch.assemble.sources import load_questions
from innersearch.cli.console import stdout
from innersearch.cli.options import RolloutOptions, SearchOptions, announce_cost
from innersearch.cli.progress import Display

if TYPE_CHECKING:
    from innersearch.evaluate.evaluation import Evaluation
    from innersearch.types import Question


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How the model of a filter answers."""

    runs: str = "transformers"
    """Who runs the model: transformers, vllm, http:URL or chat:URL#NAME."""
    direct: bool = False
    """Ask for the answer without a search: what the model knows by heart."""
    prompt: str | None = None
    """Name of the prompt text; what the model expects by default."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature."""
    max_new_tokens: NonNegativeInt = 0
    """Longest response in tokens; what the model expects by default."""
    seed: int = 0
    """Seed of the answers."""


def filter_command(
    file: str,
    *,
    policy: str,
    keep: str,
    n: Annotated[PositiveInt, Parameter(alias="-n")] = 10,
    groups: tuple[str, ...] = (),
    output: Path | None = None,
    records: Path | None = None,
    resume: bool = False,
    answers: Annotated[AnswerOptions, Parameter(name="*")] = AnswerOptions(),
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(),  # noqa: B008
    writes: Annotated[RolloutOptions, Parameter(name="*")] = RolloutOptions(),  # noqa: B008
) -> None:
    """Ask a model every question n times, and keep those that are right as often as is wanted.

    What is kept is written as JSON lines, with the numbers of each question in its metadata: correct,
    wrong, share, first (the number of the first right answer) and searches. A killed filter goes on with
    --resume; another --keep over the same records asks nothing again. Examples:

        innersearch data filter nq.jsonl --policy ~/models/Qwen2.5-7B-Instruct --keep "1 <= correct <= 9"
        innersearch data filter nq.jsonl --policy DIR --direct -n 10 --keep "correct == 0"
        innersearch data filter nq:train --policy DIR --search bm25:runs/wiki -n 20 --keep "first > 10"
        innersearch data filter world:train --policy world -n 4 --keep "1 <= correct <= 3" --resume

    Args:
        file: Questions: a file or directory, a fetched benchmark, or world:train.
        policy: Model that answers: a directory or hub id, or `world`.
        keep: Condition that the numbers of a question must fulfil.
        n: Answers per question.
        groups: Groups of questions that are asked; all by default.
        output: File of what is kept; <name of the file>-kept.jsonl by default.
        records: Directory of all answers; runs/filter-<model>-<file> by default.
        resume: Go on with what is in that directory.
        answers: How the model answers.
        options: Who answers the queries of the model.
        writes: How the model writes, what it sees next, and when a trajectory ends.
    """
    from innersearch.cli.evaluate import default_folder
    from innersearch.records import replace_text
    from innersearch.train.filtering import demand_condition, kept, row

    demand_condition(keep)
    questions = load_questions(file, groups)
    evaluation = _evaluation(policy, questions, n, answers, options, writes, resume=resume)
    folder = records or default_folder("filter", policy, Path(file).stem)
    _ask(evaluation, options, folder, n)
    path = output or Path(f"{Path(file).stem.replace(':', '-')}-kept.jsonl")
    chosen = [row(question, known) for question, known in kept(questions, folder, keep)]
    replace_text(path, "".join(f"{line}\n" for line in chosen))
    stdout.print(f"{path}  {len(chosen):,} of {len(questions):,} questions: {keep}, of {n} answers each")
    stdout.print(f"records  {folder}")


def _evaluation(
    policy: str,
    questions: Sequence[Question],
    n: int,
    answers: AnswerOptions,
    options: SearchOptions,
    writes: RolloutOptions,
    *,
    resume: bool,
) -> Evaluation:
    from innersearch.evaluate.evaluation import Evaluation

    given: dict[str, Any] = {"direct": answers.direct, "samples": n, "seed": answers.seed}
    given |= {"temperature": answers.temperature, "max_new_tokens": answers.max_new_tokens}
    choice = options.choice()
    real = choice is not None and choice.only_real
    how: dict[str, Any] = {"resume": resume, "real": real, "policy": answers.runs}
    return Evaluation(policy, questions, answers.prompt, given, rollout=writes.given, **how)


def _ask(evaluation: Evaluation, options: SearchOptions, folder: Path, n: int) -> None:
    settings = evaluation.search_settings(options.choice())
    announce_cost(settings, len(evaluation.questions) * (1 + n))
    with Display() as display:
        evaluation.run(folder, cached_in(settings, folder), display.update)
