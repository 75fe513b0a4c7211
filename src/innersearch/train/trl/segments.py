"""TRL's trainer for trajectories of any number of segments, with more to say about their weights.

TRL has one row per prompt. Rewards and advantages stay so: one per trajectory, and its group is what it
was. The rows behind them are those of all segments: TRL pads them, counts their tokens, computes their
log-probabilities, and each then gets the advantage of its trajectory. Rows that only fill up, so that
every process has the same number of passes, have a mask of zeros.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from innersearch.config import TrainerSettings
from innersearch.train import processes
from innersearch.train.ahead import Ahead
from innersearch.train.samples import mixed, trained_samples, without_failed
from innersearch.train.tasks import WEIGHT_LIMIT
from innersearch.train.trl.advantages import corrected, importance, whitened
from innersearch.train.trl.colocated import WEIGHTS, weight_shares
from innersearch.train.trl.padding import by_length, passes
from innersearch.train.trl.saving import SavesPlainly
from innersearch.types import Trajectory

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl import GRPOTrainer

Columns = dict[str, list[Any]]
"""What `rollout_func` returns: four lists with an entry per row, and the rewards of trajectories."""


def to_columns(trajectories: Sequence[Trajectory]) -> tuple[Columns, list[int]]:
    """Rows of all segments with something to train, tokens and masks as sampled; whose each row is."""
    found = [(owner, sample) for owner, t in enumerate(trajectories) for sample in trained_samples(t)]
    rows = [sample for _, sample in found]
    columns: Columns = {
        "prompt_ids": [row.prompt_ids for row in rows],
        "completion_ids": [row.completion_ids for row in rows],
        "logprobs": [row.logprobs for row in rows],
        "env_mask": [row.loss_mask for row in rows],
        "given_reward": [trajectory.reward for trajectory in trajectories],
    }
    return columns, [owner for owner, _ in found]


def filled_up(columns: Columns, owners: list[int], parts: int) -> tuple[Columns, list[int]]:
    """The same with as many rows as the process with most has, rounded up to a multiple of `parts`."""
    needed = -(-processes.largest(len(owners)) // parts) * parts
    missing = needed - len(owners)
    if not missing:
        return columns, owners
    filler = {
        name: [columns[name][0]] * missing for name in ("prompt_ids", "completion_ids", "logprobs")
    }
    filler["env_mask"] = [[0] * len(columns["env_mask"][0])] * missing
    longer = {name: values + filler.get(name, []) for name, values in columns.items()}
    return longer, owners + [owners[0]] * missing


class SegmentTrainer(SavesPlainly, GRPOTrainer):
    """TRL's, which trains on all segments and counts what weights take from the loss."""

    def __init__(self, plan: TrainerSettings, **named: Any) -> None:
        self.plan = plan
        self._owners: list[int] = []
        self._rewards: list[float] = []
        self._teaches: list[bool] = []
        self._pass: dict[str, Any] | None = None
        self.ahead: Ahead | None = None
        """Samples ahead of training, where the plan says so."""
        super().__init__(**named)

    def columns(self, trajectories: Sequence[Trajectory]) -> Columns:
        """What `rollout_func` returns; whose rows they are is kept for the advantages."""
        trajectories = without_failed(trajectories)
        columns, owners = to_columns(trajectories)
        self._rewards = [trajectory.reward or 0.0 for trajectory in trajectories]
        self._teaches = mixed(trajectories)
        arguments: Any = self.args
        columns, self._owners = filled_up(columns, owners, arguments.steps_per_generation)
        return columns

    def tell(self, metrics: Mapping[str, float]) -> None:
        """Report metrics of the step with those of the trainer."""
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        outputs = super()._generate_and_score_completions(inputs)
        if self.plan.advantage == "reward":
            outputs["advantages"] = outputs["advantages"].new_tensor(self._rewards)
        outputs["advantages"] = outputs["advantages"][self._owners]
        if self.plan.groups == "mixed":
            self._leave_out(outputs)
        trained = outputs["completion_mask"].bool() & outputs["tool_mask"].bool()
        if "importance_sampling_ratio" in outputs:
            self._count(outputs["importance_sampling_ratio"], trained, WEIGHT_LIMIT)
        if self.plan.whiten:
            outputs["advantages"] = whitened(outputs["advantages"], trained, self._total)
        if self.plan.correction != "none":
            self._correct(outputs, trained)
        if self.plan.per_segment_weight == "equal":
            _weigh_equally(outputs, trained, self._total)
        return outputs

    def _leave_out(self, outputs: dict[str, Any]) -> None:
        """Train no token of groups whose rewards are all equal, and divide by none of theirs."""
        mask = outputs["tool_mask"]
        kept = torch.tensor(self._teaches, dtype=mask.dtype, device=mask.device)[self._owners]
        outputs["tool_mask"] = mask * kept[:, None]
        trained = outputs["completion_mask"].bool() & outputs["tool_mask"].bool()
        outputs["num_items_in_batch"] = self._total(trained.sum())

    def _correct(self, outputs: dict[str, Any], trained: torch.Tensor) -> None:
        """Weigh tokens by how likely they are now, against when they were sampled."""
        behaviour = outputs["sampling_per_token_logps"]
        weights = importance(self._logprobs(outputs), behaviour, trained)
        self._count(weights, trained, self.plan.cap)
        assert self.plan.correction != "none"  # noqa: S101
        allowed = corrected(weights, self.plan.correction, self.plan.cap)
        if self.plan.loss == "cispo":
            # Its own ratio is the weight then, and it cuts it by itself.
            outputs["old_per_token_logps"] = behaviour
            allowed = (allowed > 0).to(weights.dtype)
        outputs["advantages"] = outputs["advantages"][:, None] * allowed

    def _logprobs(self, outputs: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities of completions under the weights as they are."""
        known = outputs.get("old_per_token_logps")
        if known is not None:
            return known
        parts = ("prompt", "completion")
        with torch.no_grad():
            logprobs, _, _ = self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([outputs[f"{part}_ids"] for part in parts], dim=1),
                torch.cat([outputs[f"{part}_mask"] for part in parts], dim=1),
                outputs["completion_ids"].size(1),
                batch_size=self.plan.micro_batch,
            )
        return logprobs

    def _total(self, values: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(values)

    def _count(self, weights: torch.Tensor, trained: torch.Tensor, limit: float) -> None:
        shares = weight_shares(weights, trained, self._total, limit)
        self.tell(dict(zip(WEIGHTS, shares, strict=True)))

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One backward pass per micro-batch: with several segments there are more rows than that."""
        model.train()
        *before, last = passes(self._prepare_inputs(inputs), self.plan.micro_batch)
        losses = []
        for rows in before:
            self._pass = rows
            with self._going_on(model):
                losses.append(Trainer.training_step(self, model, rows, num_items_in_batch))
        self._pass = last
        losses.append(super().training_step(model, last, num_items_in_batch))
        return torch.stack(losses).sum() if before else losses[0]

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        rows, self._pass = self._pass, None
        if rows is not None:
            return rows
        sampled_before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is sampled_before:
            return inputs
        together = self.current_gradient_accumulation_steps
        self._buffered_inputs = by_length(self._buffered_inputs, together)
        return self._buffered_inputs[self._step % len(self._buffered_inputs)]

    @contextmanager
    def _going_on(self, model: nn.Module) -> Iterator[None]:
        """While gradients are added up that another pass is still to come for."""
        state = self.accelerator.gradient_state
        ends = state.sync_gradients
        state._set_sync_gradients(False)  # noqa: FBT003
        try:
            with self.accelerator.no_sync(model):
                yield
        finally:
            state._set_sync_gradients(ends)


def _weigh_equally(outputs: dict[str, Any], trained: torch.Tensor, total: Any) -> None:
    """Let each segment count the same: its tokens share a weight of 1, the sum of all is the divisor."""
    tokens = trained.sum(1, keepdim=True).clamp(min=1)
    outputs["tool_mask"] = outputs["tool_mask"] / tokens
    outputs["num_items_in_batch"] = total((trained / tokens).sum())
