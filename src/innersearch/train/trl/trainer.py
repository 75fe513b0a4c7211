"""The TRL adapter: our rollouts inside TRL's GRPOTrainer.

TRL calls `rollout_func` with each prompt repeated group-size times and takes token ids, sampling
log-probabilities and a per-token mask back; the mask multiplies the loss and its normaliser. Prompts
are row numbers, so that the function finds the question with its gold answers. One optimizer step per
generation batch, the default, keeps training strictly on-policy, as SSRL does.

With several processes TRL hands each rank an equal, consecutive part of the repeated prompts, which
`processes.demand_equal_shares` made whole groups. Random numbers are named by step, question and
repetition, so that the trajectories do not depend on the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
)

from innersearch.config import Recipe, TrainerSettings
from innersearch.rewards import Rubric
from innersearch.train import processes
from innersearch.train.adapters import adapters
from innersearch.train.ahead import Ahead, runs_ahead
from innersearch.train.optimizer import MuonWithAdamW
from innersearch.train.order import rows_of
from innersearch.train.tasks import WEIGHT_LIMIT, Rollouts, task_of, tasks_of_groups
from innersearch.train.trl.colocated import (
    colocated_policy,
    engine_of_the_trainers_type,
    vllm_arguments,
    weight_arguments,
)
from innersearch.train.trl.saving import NamedDraws
from innersearch.train.trl.segments import SegmentTrainer
from innersearch.train.trl.sharding import whole
from innersearch.train.versioned import VersionedPolicy
from innersearch.types import Question, Trajectory

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl import GRPOConfig

OnRollout = Callable[[int, list[Trajectory]], None]
"""Called with the number of the step and this process's trajectories, before they are trained on."""


def build_trainer(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    prompts: Sequence[tuple[int, ...]],
    rollout: Rollouts,
    rubric: Rubric,
    *,
    output: Path,
    on_rollout: OnRollout,
    callbacks: Sequence[TrainerCallback] = (),
    rounded: bool = False,
    taken: int = 0,
) -> SegmentTrainer:
    """A GRPOTrainer that trains `model` on rollouts of `questions`, `rounded` or of its own weights.

    Where rollouts run ahead, `taken` groups of the order of questions are done with; whoever trains
    closes the trainer's `ahead`.
    """
    plan = _plan(recipe, rounded=rounded)
    rows = rows_of(recipe.seed, len(questions), plan.prompts_per_step, plan.steps)

    roll_out = _roll_outs(recipe, tokenizer, questions, prompts, rollout, rubric, plan, on_rollout)
    arguments = grpo_config(recipe, output)
    if hasattr(model.config.get_text_config(), "output_router_logits"):
        # TRL would add the balancing loss of a mixture of experts; with other models it takes no number.
        arguments.router_aux_loss_coef = 0.0
    with engine_of_the_trainers_type() if recipe.sampling.policy == "vllm" else nullcontext():
        trainer = SegmentTrainer(
            plan,
            model=model,
            reward_funcs=[_given_reward],
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": [str(row) for row in rows]}),
            processing_class=tokenizer,
            rollout_func=roll_out,
            callbacks=[NamedDraws(recipe.seed), *callbacks],
            optimizers=(_optimizer(recipe, model), None),
            peft_config=adapters(recipe.trainer.lora) if recipe.trainer.lora.rank else None,
        )
    if recipe.sampling.policy == "vllm":
        rollout.policy = colocated_policy(trainer, recipe, tokenizer)
    if runs_ahead(plan):
        # Before training wraps what computes the model, and with adapters in it.
        at_once = processes.sequences_at_once(recipe)
        rollout.policy = VersionedPolicy.following(model, tokenizer, at_once, rounded=rounded)
        tasks = tasks_of_groups(recipe, tokenizer, questions, prompts)
        inside = partial(precision, recipe)
        trainer.ahead = Ahead(rollout, tasks, rubric.settle, plan, taken=taken, inside=inside)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _roll_outs(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    prompts: Sequence[tuple[int, ...]],
    rollout: Rollouts,
    rubric: Rubric,
    plan: TrainerSettings,
    on_rollout: OnRollout,
) -> Callable[[list[str], SegmentTrainer], dict[str, Any]]:
    """What TRL calls for the trajectories of a step, with the numbers of its rows."""

    def roll_out(row_numbers: list[str], trainer: SegmentTrainer) -> dict[str, Any]:
        step = trainer.state.global_step // plan.updates + 1
        if trainer.ahead is not None:
            found = trainer.ahead.take(step)
            trainer.tell(found.metrics)
            on_rollout(step, found.trajectories)
            return trainer.columns(found.trajectories)
        first = trainer.accelerator.process_index * len(row_numbers)
        tasks = [
            task_of(
                recipe,
                tokenizer,
                questions[int(row)],
                prompts[int(row)],
                row=int(row),
                step=step,
                repetition=(first + position) % recipe.trainer.group_size,
            )
            for position, row in enumerate(row_numbers)
        ]
        with precision(recipe), whole(trainer) if processes.are_sharded() else nullcontext():
            trajectories = processes.together(lambda: rollout.run(tasks))
            trajectories = rubric.settle(trajectories)
            on_rollout(step, trajectories)
        return trainer.columns(trajectories)

    return roll_out


def _plan(recipe: Recipe, *, rounded: bool) -> TrainerSettings:
    """How to train; rounding is corrected for where nothing is said of a correction."""
    plan = recipe.trainer
    if not rounded or plan.correction != "none":
        return plan
    return plan.model_copy(update={"correction": "truncate", "cap": WEIGHT_LIMIT})


def _given_reward(given_reward: list[float | None], **_: Any) -> list[float | None]:
    return given_reward


def grpo_config(recipe: Recipe, output: Path) -> GRPOConfig:
    """TRL's configuration for a recipe; token-mean loss over the whole step, as verl's token-mean."""
    settings = recipe.trainer
    on_gpu = torch.cuda.is_available()
    share = settings.prompts_per_step * settings.group_size // processes.count()
    return GRPOConfig(
        output_dir=str(output),
        max_steps=settings.steps * settings.updates,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=share // settings.micro_batch // settings.updates,
        steps_per_generation=share // settings.micro_batch,
        num_generations=settings.group_size,
        shuffle_dataset=False,
        max_completion_length=recipe.sampling.max_new_tokens,
        temperature=recipe.sampling.temperature,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps * settings.updates,
        lr_scheduler_type=settings.schedule,
        max_grad_norm=settings.max_grad_norm,
        use_cpu=not on_gpu,
        bf16=uses_bf16(recipe),
        gradient_checkpointing=recomputes(recipe),
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        seed=recipe.seed,
        data_seed=recipe.seed,
        logging_steps=settings.updates,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every * settings.updates,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **_objective(settings),
        **vllm_arguments(recipe),
    )


def _objective(settings: TrainerSettings) -> dict[str, Any]:
    """Everything the loss depends on, since TRL's defaults change; docs/training.md says it in words."""
    return {
        # dapo is the ratio of ppo, and divides by all trained tokens of the step.
        "loss_type": "dapo" if settings.loss == "ppo" else "cispo",
        "scale_rewards": "group" if settings.advantage == "group" else "none",
        "num_iterations": 1,
        "importance_sampling_level": "token",
        "epsilon": settings.clip,
        "epsilon_high": settings.clip if settings.loss == "ppo" else settings.cap,
        "delta": None,
        "beta": settings.kl,
        # Weighted by the probability ratio it would have another gradient, and not be verl's.
        "use_bias_correction_kl": False,
        "sync_ref_model": False,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "top_entropy_quantile": 1.0,
        "mask_truncated_completions": False,
        "off_policy_mask_threshold": None,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        # Of adapters it is asked for by the recipe, and TRL would switch that off too.
        "disable_dropout": False,
        **weight_arguments(settings),
    }


def uses_bf16(recipe: Recipe) -> bool:
    """Whether to compute in bfloat16: as the recipe says, else where there is a GPU."""
    chosen = recipe.trainer.bf16
    return torch.cuda.is_available() if chosen is None else chosen


def recomputes(recipe: Recipe) -> bool:
    """Whether to recompute activations: as the recipe says, else where there is a GPU."""
    chosen = recipe.trainer.gradient_checkpointing
    return torch.cuda.is_available() if chosen is None else chosen


def precision(recipe: Recipe) -> torch.autocast:
    """Rollouts compute as training does, or the sampled log-probabilities would not be the trainer's."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.autocast(device, torch.bfloat16, enabled=uses_bf16(recipe))


def _optimizer(recipe: Recipe, model: PreTrainedModel) -> torch.optim.Optimizer | None:
    """Muon where the recipe asks for it; None leaves AdamW to the trainer."""
    if recipe.trainer.optimizer == "adamw":
        return None
    return MuonWithAdamW(
        model,
        muon_lr=recipe.trainer.muon_learning_rate,
        adamw_lr=recipe.trainer.learning_rate,
    )
