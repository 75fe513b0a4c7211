"""A training run from recipe to model: records, checkpoints, monitors, guard, resume."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast, Trainer

from innersearch.assemble.policies import training_policy
from innersearch.checkpoints import MARK, Checkpoint
from innersearch.config import Recipe
from innersearch.errors import CollapseError, ConfigError, ModelError
from innersearch.identity import Parts, demand_same, keep, of_model, of_prompts, use_day
from innersearch.policy.loading import configured_ends, demand_loadable, load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.policy.vllm import VllmPolicy, demand_vllm
from innersearch.readers import balanced, fingerprint
from innersearch.rewards import Rubric
from innersearch.rollout.run import demand_provided
from innersearch.runs import Run, Step, figures, versions
from innersearch.search.base import Engine, InformedEngine
from innersearch.stored import read_records
from innersearch.tools.search import SearchTool
from innersearch.train import adapters, processes
from innersearch.train.ahead import demand_ahead
from innersearch.train.drift import Drift
from innersearch.train.memory import outline
from innersearch.train.monitors import Observer
from innersearch.train.recorder import Recorder
from innersearch.train.rounded import RoundedPolicy, demand_roundable, rollout_dtype, rounds
from innersearch.train.tasks import (
    NO_MEASURES,
    MakeRollouts,
    Measures,
    Rollouts,
    demand_a_full_step,
    demand_weights,
    demand_writing,
    encode_prompts,
    rollout_of,
    rubric_of,
)
from innersearch.train.trl.colocated import compare, comparison
from innersearch.train.trl.trainer import build_trainer, uses_bf16
from innersearch.types import Question


def train(
    recipe: Recipe,
    questions: Sequence[Question],
    path: Path,
    *,
    engine: Engine | Callable[[], Engine] | None = None,
    measures: Measures = NO_MEASURES,
    resume: bool = False,
    observer: Observer = lambda step, metrics: None,
    rollouts: MakeRollouts = rollout_of,
) -> Run:
    """Train on rollouts and leave the result in `path`/model.

    Where a launcher started several processes, each calls this with the same arguments.

    Args:
        recipe: The run; `recipe.model` is a model directory or hub id.
        questions: The training questions.
        path: Run directory.
        engine: What is searched, or what opens it once `path` is held, for what it opens may lie there;
            without one the policy searches its own memory.
        measures: Measures of one's own that the reward of the recipe names.
        resume: Continue from the latest complete checkpoint in `path`.
        observer: Told about every step, in the first process.
        rollouts: Makes what rolls out.

    Raises:
        ConfigError: TRL cannot do what the recipe asks for, or the processes cannot share the questions
            of a step equally.
        ModelError: The model or its tokenizer cannot be used.
        DataError: There are too few questions, or one does not fit the prompt limit.
        RunError: `path` is in the way, or belongs to another recipe, or another process writes it.
        SearchError: Too many searches failed.
        CollapseError: The guard stopped the run; `path`/model holds the best checkpoint.
    """
    if recipe.stage:
        raise ConfigError("the recipe has stages: train it with innersearch.train.stages.train_stages")
    processes.join()
    with processes.first_holds(path, "run"):
        rubric = rubric_of(recipe, measures)
        makes = partial(rollouts, rubric=rubric)
        return _train(recipe, questions, path, engine, rubric, observer, makes, resume=resume)


def _train(
    recipe: Recipe,
    questions: Sequence[Question],
    path: Path,
    engine: Engine | Callable[[], Engine] | None,
    rubric: Rubric,
    observer: Observer,
    rollouts: MakeRollouts,
    *,
    resume: bool,
) -> Run:
    questions = balanced(questions) if recipe.balance_groups else questions
    tokenizer = load_tokenizer(recipe.model)
    encoded = check(recipe, questions, tokenizer, path, resume=resume)
    model = load_model(recipe.model, dtype=_weights(recipe))
    engine = processes.together(engine) if callable(engine) else engine
    made_of = _made_of(recipe, questions, tokenizer, encoded)
    made_of |= {"engine": dict(engine.identity)} if engine else {}
    processes.by_first(lambda: demand_same(path, made_of, recipe.model, "run"))
    run = Run(path)
    processes.by_first(lambda: _start(run, recipe, resume=resume))
    processes.by_first(lambda: keep(path, made_of, recipe.model, versions()))
    latest = processes.by_first(run.latest, Checkpoint | None)
    if latest and latest.step >= recipe.trainer.steps:
        processes.by_first(lambda: _keep(run, recipe, latest.path))
        return run
    torch.manual_seed(recipe.seed)
    rollout = _rollout(recipe, model, tokenizer, engine, rollouts)
    curriculum = engine.curriculum if isinstance(engine, InformedEngine) else None
    apart = comparison(recipe, model) or (partial(compare, model) if rounds(recipe) else None)
    recorder = Recorder(recipe, run, observer, _drift(recipe, model), curriculum, apart)
    trainer = build_trainer(
        recipe,
        model,
        tokenizer,
        questions,
        encoded,
        rollout,
        rubric,
        output=run.checkpoints,
        on_rollout=recorder.on_rollout,
        callbacks=[recorder],
        rounded=rounds(recipe),
        taken=_taken(run, recipe),
    )
    with rollout, trainer.ahead or nullcontext():
        _fit(trainer, recorder, run, recipe, latest)
    return run


def _taken(run: Run, recipe: Recipe) -> int:
    """Groups of the order of questions that a run is done with, by the last of its records."""
    records = list(read_records(run.metrics, Step))
    if not records:
        return 0
    trained = records[-1]["step"] * recipe.trainer.prompts_per_step
    return int(figures(records[-1]).get("group/taken", trained))


def _weights(recipe: Recipe) -> torch.dtype:
    """What trains is float32; frozen weights under adapters are as exact as what computes with them."""
    return torch.bfloat16 if recipe.trainer.lora.rank and uses_bf16(recipe) else torch.float32


def _fit(
    trainer: Trainer, recorder: Recorder, run: Run, recipe: Recipe, latest: Checkpoint | None
) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(latest.path) if latest else None)
    except ModelError as error:
        recorder.collapse = str(error)
    recorder.close()
    if recorder.collapse:
        raise CollapseError(processes.by_first(lambda: _collapsed(run, recipe, recorder)))
    folder = run.adapters if recipe.trainer.lora.rank else run.model
    trainer.save_model(str(folder))
    processes.wait()
    processes.by_first(lambda: _keep(run, recipe, folder))


def _rollout(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    engine: Engine | None,
    rollouts: MakeRollouts,
) -> Rollouts:
    opens = training_policy(recipe.sampling.policy)
    if rounds(recipe):
        opens = RoundedPolicy.following
    policy = opens(model, tokenizer, processes.sequences_at_once(recipe))
    search = SearchTool(engine, recipe.search.rule, recipe.search)
    return rollouts(recipe, policy, tokenizer, search)


def check(
    recipe: Recipe,
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerFast,
    path: Path,
    *,
    resume: bool = False,
) -> list[tuple[int, ...]]:
    """Refuse what cannot be trained before anything starts; the prompt tokens of every question.

    Nothing is written, and no weights are read.

    Raises:
        ConfigError: TRL cannot do what the recipe asks for, the processes cannot share the questions of
            a step equally, or something is not installed.
        ModelError: The model has no weights, or rollouts cannot run it.
        DataError: There are too few questions, or one does not fit the prompt limit.
        RunError: `path` is in the way, or belongs to another recipe.
    """
    if recipe.trainer.advantage in ("reinforce++", "gae"):
        raise ConfigError(
            f"TRL has no advantage {recipe.trainer.advantage!r}: take group or rloo, or --trainer verl"
        )
    _demand_policy(recipe)
    demand_roundable(recipe)
    demand_ahead(recipe)
    processes.by_first(lambda: _demand_way(recipe, Run(path), resume=resume))
    demand_a_full_step(recipe, questions)
    processes.demand_equal_shares(recipe)
    demand_weights(recipe.model)
    demand_loadable(recipe.model, tokenizer)
    demand_writing(recipe, tokenizer)
    model = outline(recipe.model)
    context = TransformersPolicy(model, configured_ends(recipe.model, tokenizer)).context
    if recipe.trainer.lora.rank:
        adapters.adapters(recipe.trainer.lora)
    adapters.demand_targets(model, recipe.trainer.lora)
    use_day(path)
    encoded = encode_prompts(tokenizer, recipe, questions, context)
    made_of = _made_of(recipe, questions, tokenizer, encoded)
    processes.by_first(lambda: demand_same(path, made_of, recipe.model, "run"))
    return encoded


def _made_of(
    recipe: Recipe,
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerFast,
    encoded: Sequence[tuple[int, ...]],
) -> Parts:
    """What a run comes from, by content; its engine apart."""
    asked = of_prompts(recipe.prompt.name, encoded) | {"questions": fingerprint(questions)}
    return of_model(recipe.model, tokenizer) | asked


def _start(run: Run, recipe: Recipe, *, resume: bool) -> None:
    Run.start(run.path, recipe, resume=resume, notes={"rollouts": rollout_dtype(recipe)._asdict()})


def _demand_way(recipe: Recipe, run: Run, *, resume: bool) -> None:
    """Check that the directory is free, or that what is there can be gone on with."""
    if run.goes_on(recipe, resume=resume):
        run.demand_same_order(recipe.trainer.steps)


def _demand_policy(recipe: Recipe) -> None:
    """Check that who runs the model can, is installed, and tells what the router reads."""
    training_policy(recipe.sampling.policy)
    if recipe.sampling.policy == "vllm":
        demand_vllm("sampling.policy vllm")
        demand_provided(recipe.search.rule, VllmPolicy.provides, "vllm")


def _drift(recipe: Recipe, model: PreTrainedModel) -> Drift | None:
    """TRL measures the divergence itself where it is part of the loss."""
    if recipe.trainer.kl or not recipe.trainer.kl_monitor:
        return None
    return Drift(copy.deepcopy(model), recipe.trainer.kl_monitor)


def _collapsed(run: Run, recipe: Recipe, recorder: Recorder) -> str:
    """Leave the best checkpoint as the result, and say what happened."""
    best = run.best()
    result = "there was no checkpoint yet"
    if best is not None:
        _keep(run, recipe, best.path)
        result = f"the best checkpoint, of step {best.step}, is in {run.model}"
    return (
        f"training collapsed at step {recorder.step}: {recorder.collapse}; {result}; "
        "try a lower learning rate, larger groups or a KL weight"
    )


def _keep(run: Run, recipe: Recipe, folder: Path) -> None:
    """Make what is in `folder` the result of its run: a model, or adapters to be merged into one."""
    if adapters.are_in(folder):
        adapters.merge(recipe.model, folder, run.model)
    elif folder != run.model:
        state = ("optimizer*", "scheduler.pt", "rng_state*", "trainer*", "training_args.bin", MARK)
        ignored = shutil.ignore_patterns(*state)
        shutil.copytree(folder, run.model, ignore=ignored, dirs_exist_ok=True)
    _switch_cache_on(run.model)


def _switch_cache_on(folder: Path) -> None:
    """The trainer switches it off, and it would stay off for whoever loads the model."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    config.use_cache = True
    config.save_pretrained(folder)
