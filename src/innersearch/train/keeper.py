"""Keeps the records of a training run while it runs, and watches over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from innersearch.config import Recipe
from innersearch.records import LineWriter, read_lines, to_json
from innersearch.runs import Run
from innersearch.search.noise import Curriculum
from innersearch.train.drift import Drift
from innersearch.train.guard import Guard
from innersearch.train.monitors import step_metrics
from innersearch.types import Trajectory

Observer = Callable[[int, Mapping[str, float]], None]
"""Called with each finished step and its metrics."""

_TRAJECTORY = TypeAdapter(Trajectory)
_FROM_TRAINER = ("loss", "grad_norm", "learning_rate")


@dataclass
class Keeper(TrainerCallback):
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
        for record in read_lines(self.run.metrics):
            self._judge({key: value for key, value in record.items() if key != "step"})
        self._metrics = LineWriter(self.run.metrics)
        self._trajectories = LineWriter(self.run.trajectories)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock of the step."""
        self._started = time.perf_counter()

    def on_rollout(self, step: int, trajectories: list[Trajectory]) -> None:
        """Write the trajectories of a step and hold their metrics until it is done."""
        self._pending = step_metrics(trajectories)
        if self.curriculum is not None:
            self._pending["search/noise_wanted"] = self.curriculum.at(step)
        self._pending["time/rollout_s"] = time.perf_counter() - self._started
        if self.drift is not None:
            self._pending["policy/kl"] = self.drift.measure(trajectories)
        if self.apart is not None:
            self._pending["policy/logprob_gap"] = self.apart(trajectories)
        self._trajectories.write(*(to_json(_TRAJECTORY, t) for t in trajectories))

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
        self.step = state.global_step
        self._metrics.write({"step": self.step, **metrics})
        self.observer(self.step, metrics)
        self.collapse = self._judge(metrics)
        if self.collapse:
            control.should_training_stop = True

    def _judge(self, metrics: Mapping[str, float]) -> str | None:
        if self.curriculum is not None:
            self.curriculum.observe(metrics["reward/em"])
        return self.guard.check(metrics)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Declare the checkpoint complete: nothing is written to it after this. A collapsed one is not
        worth resuming from.
        """
        if self.collapse:
            return
        self.run.mark_complete(state.global_step, self.guard.score())

    def close(self) -> None:
        """Close the record files."""
        self._metrics.close()
        self._trajectories.close()
