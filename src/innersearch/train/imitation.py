"""A stage that learns trajectories by heart: those in a file, or the policy's own that are kept.

The tokens that carry loss are those that reinforcement would train; see `innersearch.train.samples`.
What the policy samples itself is written as it comes, so a killed stage goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch.config import Recipe, TuningSettings
from innersearch.config.stages import StageSettings
from innersearch.errors import ConfigError, DataError
from innersearch.identity import Parts, demand_same, keep, of_model, of_prompts, of_texts, use_day
from innersearch.locks import held
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.readers import fingerprint
from innersearch.records import LineWriter, write_json
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.runs import Run, versions
from innersearch.token_text import pieces
from innersearch.tools.search import SearchTool
from innersearch.train import processes
from innersearch.train.conditions import condition
from innersearch.train.order import order
from innersearch.train.samples import Sample, trained_samples
from innersearch.train.sft import IGNORED, OnStep, Row, fit
from innersearch.train.tasks import NO_MEASURES, Measures, encode_prompts, rollout_of, rubric_of
from innersearch.trajectories import as_trajectory, read_trajectories, to_line
from innersearch.types import Finish, Question, Trajectory

KEPT = "kept.json"
"""How many trajectories there were, how many were kept, and of how many segments."""


def learn(
    stage: StageSettings,
    recipe: Recipe,
    questions: Sequence[Question],
    path: Path,
    *,
    search: Callable[[], SearchTool] | None = None,
    measures: Measures = NO_MEASURES,
    resume: bool = False,
    on_step: OnStep = lambda step, steps, loss: None,
) -> Run:
    """Fine-tune on trajectories and leave the result in `path`/model.

    Args:
        stage: What is learnt.
        recipe: The recipe of the stage; `recipe.data` is a file of trajectories, unless the policy
            samples them.
        questions: What the policy is asked, where it samples them.
        path: Directory of the stage.
        search: Opens what answers its searches then, once `path` is held; without it the policy does.
        measures: Measures of one's own that the reward of the recipe names.
        resume: Go on where a stage was left.
        on_step: Told about every optimizer step.

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
        tasks = _tasks(stage, recipe, questions, tokenizer, model) if stage.samples else []
        made_of = of_model(recipe.model, tokenizer) | _source(recipe, tasks)
        demand_same(path, made_of, recipe.model, "run")
        run = Run.start(path, recipe, resume=resume)
        keep(path, made_of, recipe.model, versions())
        if stage.samples:
            answers = search() if search else SearchTool.itself(recipe.search)
            _sample(recipe, run, model, tokenizer, tasks, answers, rubric)
        found = _trajectories(run.trajectories if stage.samples else Path(recipe.data))
        chosen = [t for t in rubric.settle(found) if t.error is None and kept(_numbers(t))]
        rows = _rows(stage, chosen, tokenizer, len(found))
        write_json(path / KEPT, {"trajectories": len(found), "kept": len(chosen), "segments": len(rows)})
        _fit(stage, recipe, run, model, tokenizer, rows, on_step)
    return run


def demand_learnable(stage: StageSettings, recipe: Recipe) -> None:
    """Refuse a stage that cannot be learnt, before anything starts.

    Raises:
        ConfigError: There are several processes, or the condition is none.
        DataError: There is no file of trajectories.
    """
    if processes.count() > 1:
        raise ConfigError(f"stage {stage.name!r}: sft runs in one process; start it without a launcher")
    condition(stage.keep)
    if not stage.samples:
        _demand_file(Path(recipe.data))


def _demand_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"no file of trajectories at {path}: give one as data, or let the stage sample")


def _tasks(
    stage: StageSettings,
    recipe: Recipe,
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
) -> list[Task]:
    """Every question so many times, in the order of an epoch."""
    encoded = encode_prompts(tokenizer, recipe, questions, model.config.max_position_embeddings)
    rows = order(recipe.seed, 0, len(questions))[: stage.questions or None]
    return [
        Task(questions[row], encoded[row], group=f"0/{row}", repetition=repetition, step=0)
        for row in rows
        for repetition in range(stage.samples)
    ]


def _source(recipe: Recipe, tasks: Sequence[Task]) -> Parts:
    """What the trajectories come from, by content."""
    if tasks:
        asked = of_prompts(recipe.prompt.name, (task.prompt_ids for task in tasks))
        return asked | {"questions": fingerprint([task.question for task in tasks])}
    return {"trajectories": of_texts(*map(to_line, _trajectories(Path(recipe.data))))["prompt text"]}


def _sample(
    recipe: Recipe,
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Task],
    search: SearchTool,
    rubric: Rubric,
) -> None:
    """Write the trajectories of all tasks, from the first that is not there yet."""
    writer = LineWriter(run.trajectories)
    done = len(list(read_trajectories(run.trajectories)))
    policy = TransformersPolicy.of(model, tokenizer, recipe.sampling.max_batch)
    with rollout_of(recipe, policy, tokenizer, search, rubric) as rollout:
        for trajectory in rollout.stream(tasks[done:]):
            writer.write(to_line(trajectory))
    writer.close()


def _trajectories(path: Path) -> list[Trajectory]:
    _demand_file(path)
    lines = read_trajectories(path)
    return [as_trajectory(record, path.parent, place) for record, place in lines]


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

    def note(step: int, steps: int, loss: float) -> None:
        metrics.write({"step": step, "loss": loss})
        on_step(step, steps, loss)

    fit(model, tokenizer, rows, settings, run.kept(), run.latest(), run.model, note, logged=1)
    metrics.close()
