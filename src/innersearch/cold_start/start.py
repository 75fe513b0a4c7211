"""A cold start, from a model that writes no tags to one that reinforcement can begin with.

runs/start-<model>/
  settings.json recipe.json environment.json   written before the first token
  all-demonstrations.jsonl demonstrations.jsonl few-shot.jsonl   what the model wrote behind examples
  1-tags/ model/                               the stage that learns them, and the result
  greedy/ samples/                             evaluations of the result, with records per question
  start.json                                   the figures, and whether reinforcement can begin
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innersearch.assemble.policies import TRANSFORMERS, open_policy
from innersearch.assemble.sources import load_questions
from innersearch.cold_start.examples import demand_writable, read_examples
from innersearch.cold_start.figures import Figures, figures
from innersearch.cold_start.forecast import start_seconds, told
from innersearch.cold_start.settings import DEMONSTRATIONS, StartSettings
from innersearch.cold_start.writing import FEW_SHOT, Shot, Writing, measured
from innersearch.errors import RunError
from innersearch.evaluate.evaluation import Evaluation
from innersearch.evaluate.stored import Answered, Repeated
from innersearch.grammar import grammar_of
from innersearch.locks import held
from innersearch.policy.dtype import choose
from innersearch.policy.loading import load_tokenizer
from innersearch.policy.speed import measure
from innersearch.progress import Progress, silent
from innersearch.records import write_json
from innersearch.runs import Run
from innersearch.stored import read_json, read_object, read_records, read_unique
from innersearch.train.start import Silent, Training
from innersearch.types import Question

Notice = Callable[[str], None]
"""Told something that whoever waits should know."""
SUMMARY = "start.json"
_SETTINGS = "settings.json"
_SECONDS = "seconds.json"


@dataclass(frozen=True)
class Started:
    """A start that was made and measured."""

    run: Run
    figures: Figures
    demonstrations: int
    """Trajectories that were learnt."""
    seconds: Mapping[str, float]
    """Of its parts, over all the processes it took."""


def start(
    settings: StartSettings,
    path: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    notice: Notice = lambda text: None,
) -> Started:
    """Let a model write trajectories behind examples, teach it these, and measure what came of it.

    Args:
        settings: What is done; `settings.model` is a model directory or hub id.
        path: Directory of the start.
        resume: Go on with what is there.
        progress: Told how far it is.
        notice: Told how long it is going to take.

    Raises:
        ConfigError: No such trajectory can be written in the grammar, or with so many searches.
        DataError: There are no questions, or none was written to its end.
        ModelError: There is no such model.
        RunError: `path` is in the way, or holds something else, or another process writes it.
    """
    demand_writable(grammar_of(settings.grammar))
    read_examples(settings.examples).text(settings.searches)
    questions = load_questions(settings.data)
    asked = measured(load_questions(settings.validation), settings)
    recipe = settings.recipe(str(path / DEMONSTRATIONS))
    with held(path, "cold start", ".start.lock"):
        with held(path, "run"):
            computes = choose(settings.dtype, settings.model)
            run = Run.start(path, recipe, resume=resume, notes={"computes": computes._asdict()})
            _demand_same(path, settings)
        clock = _Clock(path / _SECONDS)
        with clock.count("writing"):
            learnt = _written(settings, path, questions, asked, progress, notice)
        with clock.count("tuning"):
            Training(recipe, watcher=_Told(progress)).start(path, resume=True)
        with clock.count("measuring"):
            found = _measured(settings, run, asked, progress)
        made = Started(run, found, learnt, clock.seconds)
        seconds = {name: round(value, 1) for name, value in clock.seconds.items()}
        write_json(path / SUMMARY, found.record() | {"demonstrations": learnt, "seconds": seconds})
    return made


def _demand_same(path: Path, settings: StartSettings) -> None:
    """Write what the folder belongs to, or check it."""
    file, now = path / _SETTINGS, settings.model_dump()
    if not file.is_file():
        write_json(file, now)
        return
    before = read_json(file)
    changed = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
    if changed:
        raise RunError(
            f"cannot resume {path}: {', '.join(changed)} differ from what it began with; resume with "
            "the same settings, or start anew with another --output"
        )


def _written(
    settings: StartSettings,
    path: Path,
    questions: list[Question],
    asked: list[Question],
    progress: Progress,
    notice: Notice,
) -> int:
    """Let the model write, and say how many trajectories are to be learnt."""
    tokenizer = load_tokenizer(settings.model)
    # The weights are let go of before the trainer reads its own.
    policy: Any = open_policy(
        TRANSFORMERS,
        settings.model,
        tokenizer,
        max_batch=settings.max_batch,
        dtype=settings.dtype,
    )
    if not (path / SUMMARY).is_file():
        speed = measure(policy, settings.max_batch)
        parts = start_seconds(settings, len(asked), speed)
        notice(told(parts, speed))
    writing = Writing(path, settings, policy, tokenizer, progress)
    learnt = len(writing.demonstrations(questions))
    writing.few_shot(asked)
    return learnt


def _measured(settings: StartSettings, run: Run, asked: list[Question], progress: Progress) -> Figures:
    hard = [q for q in asked if q.group == settings.two_hop] or asked
    _evaluate(settings, run, "greedy", asked, 0, progress)
    _evaluate(settings, run, "samples", hard[: settings.sampled], settings.samples, progress)
    return figures(
        settings,
        list(read_records(run.path / FEW_SHOT, Shot)),
        read_unique(run.path / "greedy" / "greedy.jsonl", Answered),
        read_unique(run.path / "samples" / "samples.jsonl", Repeated),
    )


def _evaluate(
    settings: StartSettings,
    run: Run,
    name: str,
    questions: list[Question],
    samples: int,
    progress: Progress,
) -> None:
    choices: dict[str, Any] = {
        "samples": samples,
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_new_tokens,
        "max_batch": settings.max_batch,
        "dtype": settings.dtype,
        "seed": settings.seed,
        "metrics": () if settings.well_formed == "format:strict" else (settings.well_formed,),
    }
    evaluation = Evaluation(
        str(run.model),
        questions,
        settings.prompt,
        choices,
        resume=True,
        rollout={"grammar": settings.grammar},
    )
    evaluation.run(run.path / name, None, progress, name)


@dataclass(frozen=True)
class _Told(Silent):
    """Tells how far the tuning is."""

    progress: Progress

    def step(self, what: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """See `Watcher`."""
        self.progress("tuning", step, steps, f"loss {metrics['loss']:.3f}" if "loss" in metrics else "")


@dataclass
class _Clock:
    """Seconds of each part, over all the processes it took."""

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.is_file():
            self.seconds |= read_object(self.path, dict[str, float])

    @contextmanager
    def count(self, part: str) -> Iterator[None]:
        """Add what the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began
            write_json(self.path, self.seconds)
