"""A stage that learns trajectories by heart: those that `data` holds, or the policy's own that are kept.

The tokens that carry loss are those that reinforcement would train; see `innersearch.train.samples`.
What the policy samples itself is written as it comes, so a killed stage goes on with the next one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch.config import Recipe, TuningSettings
from innersearch.config.stages import StageSettings
from innersearch.errors import ConfigError, DataError
from innersearch.identity import Parts, demand_same, keep, of_model, of_prompts, of_texts, use_day
from innersearch.locks import held
from innersearch.policy.bias import biased_tokens
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.readers import balanced, fingerprint
from innersearch.records import LineWriter, write_json
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.runs import Run, versions
from innersearch.stored import read_json
from innersearch.token_text import pieces
from innersearch.tools.search import SearchTool
from innersearch.train import processes
from innersearch.train.conditions import condition
from innersearch.train.demonstrations import (
    demand_source,
    is_file_of_trajectories,
    trajectories_of,
    written,
)
from innersearch.train.order import order, rows_from
from innersearch.train.samples import Sample, trained_samples
from innersearch.train.sft import IGNORED, OnStep, Row, fit
from innersearch.train.spent import KEPT
from innersearch.train.tasks import (
    NO_MEASURES,
    Measures,
    encode_prompts,
    message_of,
    rollout_of,
    rubric_of,
)
from innersearch.trajectories import read_trajectories, to_line
from innersearch.types import Finish, Question, Trajectory

OnSample = Callable[[int, int], None]
"""Called with the number of trajectories that are sampled and that are wanted."""


def learn(
    stage: StageSettings,
    recipe: Recipe,
    questions: Sequence[Question],
    path: Path,
    *,
    number: int = 1,
    search: Callable[[], SearchTool] | None = None,
    measures: Measures = NO_MEASURES,
    resume: bool = False,
    on_step: OnStep = lambda step, steps, loss: None,
    on_sample: OnSample = lambda done, wanted: None,
) -> Run:
    """Fine-tune on trajectories and leave the result in `path`/model.

    Args:
        stage: What is learnt.
        recipe: The recipe of the stage; `recipe.data` holds what is learnt, unless the policy samples
            it.
        questions: What the policy is asked, where it samples them.
        path: Directory of the stage.
        number: Which round of the stage this is, counted from 1.
        search: Opens what answers its searches then, or those of replies in the data, once `path` is
            held; without it the policy does.
        measures: Measures of one's own that the reward of the recipe names.
        resume: Go on where a stage was left.
        on_step: Told about every optimizer step.
        on_sample: Told about every trajectory that the policy has sampled.

    Raises:
        ConfigError: There are several processes, or the condition is none.
        DataError: There is nothing to learn, or not in tokens of this model.
        RunError: `path` is in the way, or belongs to something else.
    """
    demand_learnable(stage, recipe)
    kept, rubric = condition(stage.keep), rubric_of(recipe, measures)
    with held(path, "run"):
        use_day(path)
        tokenizer, model = load_tokenizer(recipe.model), load_model(recipe.model)
        context = model.config.max_position_embeddings
        found, tasks = [], []
        if stage.samples:
            tasks = _tasks(stage, recipe, questions, tokenizer, context, number)
        else:
            found = _given(stage, recipe, tokenizer, context, rubric, search)
        made_of = of_model(recipe.model, tokenizer) | _source(recipe, tasks, found)
        demand_same(path, made_of, recipe.model, "run")
        run = Run.start(path, recipe, resume=resume)
        keep(path, made_of, recipe.model, versions())
        seconds = 0.0
        if stage.samples:
            answers = search() if search else SearchTool.itself(recipe.search)
            seconds = _sample(recipe, run, model, tokenizer, tasks, answers, rubric, on_sample)
            found = trajectories_of(run.trajectories)
        chosen = [t for t in rubric.settle(found) if t.error is None and kept(_numbers(t))]
        rows = _rows(stage, chosen, tokenizer, len(found))
        _note_kept(stage, path, found, chosen, rows, seconds)
        _fit(stage, recipe, run, model, tokenizer, rows, on_step)
    return run


def _note_kept(
    stage: StageSettings,
    path: Path,
    found: Sequence[Trajectory],
    chosen: Sequence[Trajectory],
    rows: Sequence[Row],
    seconds: float,
) -> None:
    learnt = sum(target != IGNORED for row in rows for target in row["labels"])
    segments = chain.from_iterable(trajectory.segments for trajectory in found)
    sampled = sum(sum(segment.sampled_mask) for segment in segments) if stage.samples else 0
    record = {"trajectories": len(found), "kept": len(chosen), "segments": len(rows)}
    # A stage that goes on, or is done already, has sampled before.
    before = read_json(path / KEPT).get("sampling_s", 0.0) if (path / KEPT).is_file() else 0.0
    spent = {"sampled_tokens": sampled, "sampling_s": before + seconds}
    spent["trained_tokens"] = stage.epochs * learnt
    write_json(path / KEPT, record | spent)


def demand_learnable(stage: StageSettings, recipe: Recipe) -> bool:
    """Refuse a stage that cannot be learnt, before anything starts; whether searches are answered in it.

    Raises:
        ConfigError: There are several processes, or the condition is none.
        DataError: There is nothing to learn from.
    """
    if processes.count() > 1:
        raise ConfigError(f"stage {stage.name!r}: sft runs in one process; start it without a launcher")
    condition(stage.keep)
    return bool(stage.samples) or demand_source(recipe.data)


def _tasks(
    stage: StageSettings,
    recipe: Recipe,
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    number: int,
) -> list[Task]:
    """Every question of a round so many times, in the order of training."""
    questions = balanced(questions) if recipe.balance_groups else questions
    encoded = encode_prompts(tokenizer, recipe, questions, context)
    size = stage.questions or len(questions)
    asked = Counter[int]()
    tasks = []
    for row in rows_from(recipe.seed, len(questions), (number - 1) * size, size):
        # Of a question that comes up again in a round other trajectories are drawn.
        first = asked[row] * stage.samples
        asked[row] += 1
        tasks += [
            Task(
                questions[row],
                encoded[row],
                f"{number - 1}/{row}",
                repetition,
                step=0,
                message=message_of(recipe, questions[row]),
            )
            for repetition in range(first, first + stage.samples)
        ]
    return tasks


def _given(
    stage: StageSettings,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    rubric: Rubric,
    search: Callable[[], SearchTool] | None,
) -> list[Trajectory]:
    """What the data of a stage holds, as much of it as is asked for."""
    if is_file_of_trajectories(recipe.data):
        found = trajectories_of(Path(recipe.data))
    else:
        found = written(recipe, tokenizer, context, rubric, search)
    rows = order(recipe.seed, 0, len(found))[: stage.questions] if stage.questions else range(len(found))
    return [found[row] for row in rows]


def _source(recipe: Recipe, tasks: Sequence[Task], found: Sequence[Trajectory]) -> Parts:
    """What the trajectories come from, by content."""
    if tasks:
        asked = of_prompts(recipe.prompt.name, (task.prompt_ids for task in tasks))
        return asked | {"questions": fingerprint([task.question for task in tasks])}
    return {"trajectories": of_texts(*map(to_line, found))["prompt text"]}


def _sample(
    recipe: Recipe,
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Task],
    search: SearchTool,
    rubric: Rubric,
    on_sample: OnSample,
) -> float:
    """Write the trajectories of all tasks, from the first that is not there yet; the seconds it took."""
    began = time.perf_counter()
    writer = LineWriter(run.trajectories)
    done = len(list(read_trajectories(run.trajectories)))
    bias = biased_tokens(tokenizer, recipe.sampling.logit_bias)
    policy = TransformersPolicy.of(model, tokenizer, recipe.sampling.max_batch, bias)
    with rollout_of(recipe, policy, tokenizer, search, rubric) as rollout:
        for number, trajectory in enumerate(rollout.stream(tasks[done:]), done + 1):
            writer.write(to_line(trajectory))
            on_sample(number, len(tasks))
    writer.close()
    return time.perf_counter() - began


def _numbers(trajectory: Trajectory) -> Mapping[str, float]:
    reward = {} if trajectory.reward is None else {"reward": trajectory.reward}
    return {**trajectory.components, **reward}


def _rows(
    stage: StageSettings, chosen: Sequence[Trajectory], tokenizer: PreTrainedTokenizerFast, found: int
) -> list[Row]:
    _demand_tokens(chosen, tokenizer)
    samples = chain.from_iterable(map(trained_samples, chosen))
    rows = [_row(sample) for sample in samples if sample.trained]
    if not rows:
        asked = f" fulfils {stage.keep!r}" if stage.keep else " has tokens that carry loss"
        raise DataError(f"stage {stage.name!r}: none of {found:,} trajectories{asked}")
    return rows


def _row(sample: Sample) -> Row:
    pairs = zip(sample.completion_ids, sample.loss_mask, strict=True)
    targets = [token if loss else IGNORED for token, loss in pairs]
    ids = sample.prompt_ids + sample.completion_ids
    return {"input_ids": ids, "labels": [IGNORED] * len(sample.prompt_ids) + targets}


def _demand_tokens(chosen: Sequence[Trajectory], tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse tokens of another tokenizer, which are other text in this one."""
    for segment in chain.from_iterable(t.segments for t in chosen[:1]):
        written = "".join(span.text for span in segment.spans)
        ids, ended = segment.token_ids[segment.prompt_len :], segment.finish is Finish.EOS
        known = max(segment.token_ids) < len(tokenizer)
        if not known or "".join(pieces(tokenizer, ids, ended=ended)) != written:
            raise DataError(
                "the trajectories have tokens of another tokenizer, that of "
                f"{chosen[0].tokenizer_id or 'an unknown model'}: let a policy write them whose "
                "tokenizer is that of the trained model"
            )


def _fit(
    stage: StageSettings,
    recipe: Recipe,
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    on_step: OnStep,
) -> None:
    plan = recipe.trainer
    settings = TuningSettings(
        epochs=stage.epochs,
        batch=stage.batch,
        optimizer=plan.optimizer,
        learning_rate=plan.learning_rate,
        muon_learning_rate=plan.muon_learning_rate,
        lora=plan.lora.rank,
        seed=recipe.seed,
    )
    metrics = LineWriter(run.metrics)
    before = time.perf_counter()

    def note(step: int, steps: int, loss: float) -> None:
        nonlocal before
        now = time.perf_counter()
        metrics.write({"step": step, "loss": loss, "time/step_s": now - before})
        before = now
        on_step(step, steps, loss)

    given = (model, tokenizer, rows, settings, run.kept(), run.latest(), run.model, note)
    fit(*given, logged=1, save_every=plan.save_every)
    metrics.close()
