"""A recipe in verl's words: its configuration as hydra overrides, its questions as Parquet.

The estimators: GRPO with and without the deviation, REINFORCE++, and GAE with a critic, which is PPO.
The KL term is k3 (`low_var_kl`), which is never negative, and verl adds it to the loss
(workers/utils/losses.py 140 of 0.9.1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from innersearch import prompts
from innersearch.config import Recipe, TrainerSettings
from innersearch.errors import ConfigError
from innersearch.rewards import Rubric
from innersearch.runs import Run
from innersearch.train.tasks import WEIGHT_LIMIT
from innersearch.train.verl.server import ServerPolicy
from innersearch.types import Question

ESTIMATORS = {
    "group": "grpo",
    "rloo": "grpo",
    "reinforce++": "reinforce_plus_plus",
    "gae": "gae",
}
"""Advantage of a recipe → `algorithm.adv_estimator`."""

_WHITENED = {
    "rloo": "reinforce_plus_plus_baseline",
    "reinforce++": "reinforce_plus_plus",
    "gae": "gae",
}
"""The same where advantages are whitened; verl always does it with the last two."""

_SCHEDULES = {"constant_with_warmup": "constant", "cosine": "cosine"}
_AROUND = 64
"""Tokens of tags and line breaks around injected documents, at most."""
_STORES_PER_NODE = 2
"""Processes per machine that hold verl's batches in transit; each takes a CPU."""
_FIXED = {
    "actor_rollout_ref.rollout.name": ("vllm",),
    "actor_rollout_ref.rollout.top_p": ("1", "1.0"),
    "actor_rollout_ref.rollout.top_k": ("-1", "0"),
    "actor_rollout_ref.rollout.calculate_log_probs": ("true", "True"),
    "trainer.use_v1": ("true", "True"),
    "data.shuffle": ("false", "False"),
}
"""Settings of verl's that nobody may change, and what they may be."""


def refuse(recipe: Recipe) -> None:
    """Refuse what verl cannot do.

    Raises:
        ConfigError: The recipe asks for it.
    """
    settings = recipe.trainer
    if settings.optimizer != "adamw":
        raise ConfigError(
            f"verl has no optimizer {settings.optimizer!r}: add --trainer.optimizer adamw and a "
            "learning rate for it"
        )
    if settings.schedule not in _SCHEDULES:
        raise ConfigError(
            f"verl has no schedule {settings.schedule!r}: add --trainer.schedule "
            f"{' or '.join(_SCHEDULES)}"
        )
    if settings.bf16 is False:
        raise ConfigError("verl trains in mixed precision: leave trainer.bf16 at true")
    if settings.lora.rank:
        raise ConfigError(
            "adapters are not written for verl: leave trainer.lora.rank at 0, or give verl's own "
            "settings with --verl.overrides actor_rollout_ref.model.lora_rank=…"
        )
    _refuse_objective(settings)
    if Rubric.of(recipe.reward).needs_groups:
        raise ConfigError(
            "verl hands out rewards one by one, and votes need whole groups: train with trl"
        )
    sequences = settings.prompts_per_step * settings.group_size
    gpus = recipe.verl.nodes * recipe.verl.gpus_per_node
    if sequences % gpus:
        raise ConfigError(
            f"{gpus} GPUs do not divide prompts_per_step × group_size = {settings.prompts_per_step} × "
            f"{settings.group_size} = {sequences} trajectories of a step: change one of them"
        )
    if recipe.verl.gpus_per_node % recipe.verl.tensor_parallel:
        raise ConfigError(
            f"verl.tensor_parallel {recipe.verl.tensor_parallel} does not divide the "
            f"{recipe.verl.gpus_per_node} GPUs of a node"
        )
    _refuse_search(recipe)
    for override in recipe.verl.overrides:
        _refuse_override(override)


def _refuse_objective(settings: TrainerSettings) -> None:
    if settings.advantage not in ESTIMATORS:
        raise ConfigError(
            f"verl has no advantage {settings.advantage!r}: take {', '.join(ESTIMATORS)}, or train with "
            "trl"
        )
    if settings.groups != "all":
        raise ConfigError(
            f"verl trains on all groups, and the recipe asks for trainer.groups = {settings.groups!r}: "
            "leave it at all, or train with trl"
        )
    if settings.ahead or settings.refill:
        raise ConfigError(
            "verl rolls out and trains by turns, on the groups it was given: leave trainer.ahead at 0 "
            "and trainer.refill at false, or train with trl"
        )
    if settings.whiten and settings.advantage not in _WHITENED:
        raise ConfigError(
            f"verl does not whiten the advantage {settings.advantage!r}: take rloo, or train with trl"
        )
    if settings.correction == "drop":
        raise ConfigError(
            "verl weighs tokens, and drops none by the weight of its own alone: take "
            "--trainer.correction truncate, or train with trl"
        )
    if settings.loss == "cispo" and settings.correction != "none" and settings.updates > 1:
        raise ConfigError(
            "verl multiplies the weight of cispo with that of the correction, which with "
            f"trainer.updates = {settings.updates} are two: leave trainer.correction at none, or train "
            "with trl"
        )
    if settings.prompts_per_step % settings.updates:
        raise ConfigError(
            "verl deals the prompts of a step to its updates: "
            f"trainer.updates = {settings.updates} does not divide trainer.prompts_per_step = "
            f"{settings.prompts_per_step}"
        )


def _refuse_override(override: str) -> None:
    key, given, value = override.lstrip("+").partition("=")
    # Hydra deletes a key with a tilde.
    if not key or not (given or key.startswith("~")):
        raise ConfigError(f"verl.overrides: {override!r} sets nothing: write KEY=VALUE")
    allowed = _FIXED.get(key, (value,))
    if value not in allowed:
        raise ConfigError(
            f"verl.overrides sets {key} to {value}, with which log-probabilities or records would "
            f"be wrong: leave it at {allowed[0]}"
        )


def _recomputes(recipe: Recipe) -> bool:
    """On GPUs activations are computed again unless the recipe says otherwise."""
    return recipe.trainer.gradient_checkpointing is not False


def _refuse_search(recipe: Recipe) -> None:
    reads = recipe.search.rule.reads
    if reads and reads not in ServerPolicy.provides:
        raise ConfigError(
            f"the router {recipe.search.router!r} reads {reads}, which verl's servers do not tell: take "
            "a gate with the signal min-prob or consistency"
        )


def write_questions(recipe: Recipe, questions: Sequence[Question], path: Path) -> None:
    """Write questions as verl's data set, which our own reader and Search-R1's take as well."""
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [_row(recipe, number, question) for number, question in enumerate(questions)]
    partial = path.with_suffix(".partial")
    parquet.write_table(pa.Table.from_pylist(rows), partial)
    partial.replace(path)


def _row(recipe: Recipe, number: int, question: Question) -> dict[str, Any]:
    answers = list(question.golden_answers)
    return {
        "id": question.id,
        "question": question.question,
        "golden_answers": answers,
        "data_source": question.group,
        "prompt": [{"role": "user", "content": prompts.render(recipe.prompt.name, question.question)}],
        "ability": "search",
        "reward_model": {"style": "rule", "ground_truth": {"target": answers}},
        "extra_info": {"index": number},
    }


def response_length(recipe: Recipe) -> int:
    """Longest response in tokens: what the policy samples, and what searches put in between."""
    search = recipe.search
    injected = search.max_searches * (search.max_tokens + _AROUND) if search.rule.asks else 0
    return recipe.sampling.max_new_tokens + injected


def attention(recipe: Recipe) -> str:
    """How the trainer computes attention."""
    if recipe.verl.attention != "auto":
        return recipe.verl.attention
    return "flash_attention_2" if find_spec("flash_attn") else "sdpa"


def cpus_per_node(recipe: Recipe) -> int:
    """CPUs that verl's processes reserve on each machine.

    Three for each GPU (ResourcePoolManager, single_controller/ray/base.py 192), and one for each
    process that stores batches or controls; with too few, Ray waits for ever without a word.
    """
    return 3 * recipe.verl.gpus_per_node + _STORES_PER_NODE + 2


def configuration(recipe: Recipe, run: Run, *, context: int) -> dict[str, Any]:
    """Verl's settings for a recipe, by their dotted names; a leading + adds one that has no default.

    `context` is the longest sequence of the model, in tokens.
    """
    settings = {**_data(recipe, run), **_model(recipe), **_actor(recipe)}
    settings |= _rollout(recipe, run, context)
    if recipe.trainer.advantage == "gae":
        settings |= _critic(recipe)
    return {**settings, **_trainer(recipe, run)}


def _data(recipe: Recipe, run: Run) -> dict[str, Any]:
    file = str(run.questions.absolute())
    return {
        "data.train_files": file,
        # verl insists on some, and never looks at them: `innersearch eval` evaluates.
        "data.val_files": file,
        "data.train_batch_size": recipe.trainer.prompts_per_step,
        "data.max_prompt_length": recipe.prompt.max_tokens,
        "data.max_response_length": response_length(recipe),
        "data.seed": recipe.seed,
        "data.shuffle": False,
        "data.custom_cls.path": "pkg://innersearch.train.verl.ordered",
        "data.custom_cls.name": "OrderedQuestions",
        "+data.steps": recipe.trainer.steps,
        "data.filter_overlong_prompts": False,
        "data.truncation": "error",
    }


def _model(recipe: Recipe) -> dict[str, Any]:
    kind = attention(recipe)
    return {
        "actor_rollout_ref.model.path": recipe.model,
        "+actor_rollout_ref.model.override_config.attn_implementation": kind,
        "actor_rollout_ref.model.use_remove_padding": kind == "flash_attention_2",
        "actor_rollout_ref.model.enable_gradient_checkpointing": _recomputes(recipe),
    }


def _actor(recipe: Recipe) -> dict[str, Any]:
    settings, offload = recipe.trainer, recipe.verl.offload
    values = {
        "strategy": "fsdp2",
        "fsdp_config.param_offload": offload,
        "fsdp_config.optimizer_offload": offload,
        "ppo_mini_batch_size": settings.prompts_per_step // settings.updates,
        "ppo_micro_batch_size_per_gpu": _micro_batch(recipe),
        "ppo_epochs": 1,
        **_loss(settings),
        "entropy_coeff": 0,
        "use_kl_loss": settings.kl > 0,
        "kl_loss_coef": settings.kl,
        "kl_loss_type": "low_var_kl",
        "optim.lr": settings.learning_rate,
        "optim.weight_decay": settings.weight_decay,
        "optim.lr_warmup_steps": settings.warmup_steps,
        "optim.lr_scheduler_type": _SCHEDULES[settings.schedule],
        "optim.clip_grad": settings.max_grad_norm,
        "grad_clip": settings.max_grad_norm,
        "checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
        # A model that was saved in the Hugging Face format as well is loaded from its shards.
        "checkpoint.load_contents": ["model", "optimizer", "extra"],
    }
    reference = {
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": _micro_batch(recipe),
        "actor_rollout_ref.ref.fsdp_config.param_offload": offload,
    }
    return {f"actor_rollout_ref.actor.{name}": value for name, value in values.items()} | reference


def _loss(settings: TrainerSettings) -> dict[str, Any]:
    """The ratio and what becomes of it, and how tokens are averaged."""
    low, high = (settings.clip, settings.clip) if settings.loss == "ppo" else (1.0, settings.cap - 1)
    mean = {"tokens": "token-mean", "equal": "seq-mean-token-mean"}
    chosen = {"policy_loss.loss_mode": "cispo"} if settings.loss == "cispo" else {}
    return {
        "clip_ratio": settings.clip,
        "clip_ratio_low": low,
        "clip_ratio_high": high,
        "loss_agg_mode": mean[settings.per_segment_weight],
        **chosen,
    }


def _rollout(recipe: Recipe, run: Run, context: int) -> dict[str, Any]:
    longest = recipe.prompt.max_tokens + response_length(recipe)
    values = {
        "name": "vllm",
        "n": recipe.trainer.group_size,
        "temperature": recipe.sampling.temperature,
        "top_p": 1.0,
        "top_k": -1,
        "calculate_log_probs": True,
        "seed": recipe.seed,
        # What would be longer ends there, marked as truncated.
        "max_model_len": min(longest, context),
        "max_num_seqs": recipe.sampling.max_batch,
        "tensor_model_parallel_size": recipe.verl.tensor_parallel,
        "gpu_memory_utilization": recipe.verl.gpu_memory,
        "log_prob_micro_batch_size_per_gpu": _micro_batch(recipe),
        "agent.num_workers": workers(recipe),
        "agent.default_agent_loop": "innersearch",
        "agent.agent_loop_config_path": str(run.agent_loop.absolute()),
    }
    return {f"actor_rollout_ref.rollout.{name}": value for name, value in values.items()}


def _critic(recipe: Recipe) -> dict[str, Any]:
    kind, settings = attention(recipe), recipe.trainer
    values = {
        "strategy": "fsdp2",
        "model.path": recipe.model,
        "+model.override_config.attn_implementation": kind,
        "model.use_remove_padding": kind == "flash_attention_2",
        "model.enable_gradient_checkpointing": _recomputes(recipe),
        "optim.lr": recipe.verl.critic_learning_rate,
        "optim.weight_decay": settings.weight_decay,
        "optim.clip_grad": settings.max_grad_norm,
        "ppo_micro_batch_size_per_gpu": _micro_batch(recipe),
        "fsdp.param_offload": recipe.verl.offload,
        "fsdp.optimizer_offload": recipe.verl.offload,
    }
    return {
        f"{'+' * name.startswith('+')}critic.{name.removeprefix('+')}": value
        for name, value in values.items()
    }


def _trainer(recipe: Recipe, run: Run) -> dict[str, Any]:
    settings = recipe.trainer
    return {
        "algorithm.adv_estimator": (_WHITENED if settings.whiten else ESTIMATORS)[settings.advantage],
        "algorithm.norm_adv_by_std_in_grpo": settings.advantage == "group",
        "algorithm.use_kl_in_reward": False,
        "algorithm.rollout_correction.rollout_is": "token",
        "algorithm.rollout_correction.rollout_is_threshold": (
            settings.cap if settings.correction == "truncate" else WEIGHT_LIMIT
        ),
        "reward.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": (
            _STORES_PER_NODE * recipe.verl.nodes
        ),
        "trainer.use_v1": True,
        "trainer.v1.trainer_mode": "sync",
        "trainer.total_training_steps": settings.steps,
        # The data set is the whole run: see `ordered`.
        "trainer.total_epochs": 1,
        "trainer.save_freq": settings.save_every,
        "trainer.max_actor_ckpt_to_keep": 2,
        "trainer.max_critic_ckpt_to_keep": 2,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.nnodes": recipe.verl.nodes,
        "trainer.n_gpus_per_node": recipe.verl.gpus_per_node,
        "trainer.project_name": "innersearch",
        "trainer.experiment_name": recipe.name,
        "trainer.logger": ["console", "file"],
        "trainer.default_local_dir": str(run.checkpoints.absolute()),
        "trainer.resume_mode": "auto",
    }


def workers(recipe: Recipe) -> int:
    """Processes that run episodes: one where calls are counted, since each counts its own."""
    limited = recipe.search.max_calls or recipe.search.max_usd
    return 1 if limited else recipe.verl.workers


def _micro_batch(recipe: Recipe) -> int:
    """Trajectories of a pass on one GPU: a divisor of those it trains on in an update."""
    settings = recipe.trainer
    gpus = recipe.verl.nodes * recipe.verl.gpus_per_node
    mine = settings.prompts_per_step * settings.group_size // gpus // settings.updates
    return math.gcd(settings.micro_batch, mine)


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as hydra reads them on a command line; text in quotes, so that no character counts."""
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]
