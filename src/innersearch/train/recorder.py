"""Keeps the records of a training run while it runs, and watches over it.

With several processes the first one writes, for all of them; every process judges the same metrics, so
that all stop at the same step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from innersearch.config import Recipe
from innersearch.records import LineWriter
from innersearch.runs import Run, Step, figures
from innersearch.search.curriculum import Curriculum
from innersearch.stored import read_records
from innersearch.train import processes
from innersearch.train.ahead import TOLD
from innersearch.train.drift import Drift
from innersearch.train.guard import Guard
from innersearch.train.monitors import Observer, step_metrics
from innersearch.train.trl.colocated import WEIGHTS
from innersearch.trajectories import to_line
from innersearch.types import Trajectory

_FROM_TRAINER = ("loss", "grad_norm", "learning_rate", *WEIGHTS, *TOLD)


@dataclass
class Recorder(TrainerCallback):
    """A trainer callback, and the `on_rollout` of the adapter."""

    recipe: Recipe
    run: Run
    observer: Observer
    drift: Drift | None
    curriculum: Curriculum | None = None
    apart: Callable[[Sequence[Trajectory]], float] | None = None
    """How far the log-probabilities of trajectories are from the trainer's."""
    collapse: str | None = None
    step: int = 0
    _pending: dict[str, float] = field(default_factory=dict)
    _started: float = 0.0

    def __post_init__(self) -> None:
        self.guard = Guard(self.recipe.guard)
        for record in processes.by_first(lambda: list(read_records(self.run.metrics, Step))):
            self._judge(figures(record))
        if processes.is_first():
            self._metrics = LineWriter(self.run.metrics)
            self._trajectories = LineWriter(self.run.trajectories)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock of the step, before the first of its updates."""
        if not state.global_step % self.recipe.trainer.updates:
            self._started = time.perf_counter()

    def on_rollout(self, step: int, trajectories: list[Trajectory]) -> None:
        """Write the trajectories of a step and hold their metrics until it is done."""
        everybodys = processes.to_first(trajectories, Trajectory)
        self._pending = processes.by_first(lambda: self._record(step, everybodys))

    def _record(self, step: int, trajectories: list[Trajectory]) -> dict[str, float]:
        metrics = step_metrics(trajectories)
        if self.curriculum is not None:
            metrics["search/noise_wanted"] = self.curriculum.at(step)
        metrics["time/rollout_s"] = time.perf_counter() - self._started
        if self.drift is not None:
            metrics["policy/kl"] = self.drift.measure(trajectories)
        if self.apart is not None:
            metrics["policy/logprob_gap"] = self.apart(trajectories)
        self._trajectories.write(*map(to_line, trajectories))
        return metrics

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write the metrics of a finished step and let the guard judge them."""
        if not logs or "loss" not in logs or not self._pending:
            return
        metrics = self._pending | {name: logs[name] for name in _FROM_TRAINER if name in logs}
        if logs.get("kl") is not None:
            metrics["policy/kl"] = logs["kl"]
        metrics["time/step_s"] = time.perf_counter() - self._started
        self._pending = {}
        self.step = state.global_step // self.recipe.trainer.updates
        self.collapse = self._judge(processes.by_first(lambda: self._report(metrics)))
        if self.collapse:
            control.should_training_stop = True

    def _report(self, metrics: dict[str, float]) -> dict[str, float]:
        self._metrics.write({"step": self.step, **metrics})
        self.observer(self.step, metrics)
        return metrics

    def _judge(self, metrics: Mapping[str, float]) -> str | None:
        if self.curriculum is not None:
            self.curriculum.observe(metrics.get("reward/em", 0.0))
        return self.guard.check(metrics)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Declare the checkpoint complete: nothing is written to it after this. A collapsed one is not
        worth resuming from.
        """
        if not self.collapse and not processes.are_finite(model):
            self.collapse = "some weights are no numbers"
            control.should_training_stop = True
        if self.collapse:
            return
        processes.demand_same_weights(model)
        processes.wait()
        updates = state.global_step
        step = updates // self.recipe.trainer.updates
        processes.by_first(lambda: self.run.mark_complete(step, self.guard.score(), updates))

    def close(self) -> None:
        """Close the record files."""
        if processes.is_first():
            self._metrics.close()
            self._trajectories.close()
