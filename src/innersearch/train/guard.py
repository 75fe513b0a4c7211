"""The collapse guard: notices when a run is lost, says why, and names the best step so far.

Search-RL runs collapse silently in most public repositories: reward goes to zero, the format falls
apart, correct answers become unlikely before the reward shows it, or the loss is no number any more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from innersearch.config import GuardSettings

Metrics = Mapping[str, float]


class Guard:
    """Feed it the metrics of every step, in order; it answers with a reason to stop, or None."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self._history: list[Metrics] = []
        self._best: dict[str, float] = {}

    def check(self, metrics: Metrics) -> str | None:
        """The reason why the run counts as collapsed after this step, or None."""
        for name in ("loss", "grad_norm", "reward/mean"):
            if not math.isfinite(metrics.get(name, 0.0)):
                return f"{name} is {metrics[name]}"
        self._history.append(metrics)
        if not self.settings.enabled or len(self._history) < self.settings.window:
            return None
        return self._reward() or self._format() or self._logprob()

    def score(self) -> float:
        """The average reward over the window, by which checkpoints are ranked."""
        return self._average("reward/mean") or 0.0

    def _average(self, name: str) -> float | None:
        recent = self._history[-self.settings.window :]
        values = [metrics[name] for metrics in recent if name in metrics]
        return statistics.fmean(values) if values else None

    def _against_best(self, name: str) -> tuple[float, float] | None:
        """(average now, best average so far)."""
        now = self._average(name)
        if now is None:
            return None
        self._best[name] = max(now, self._best.get(name, now))
        return now, self._best[name]

    def _reward(self) -> str | None:
        now, best = self._against_best("reward/mean") or (0.0, 0.0)
        if best > 0.05 and now < best * (1 - self.settings.reward_drop):
            return f"the average reward fell from {best:.3f} to {now:.3f}"
        return None

    def _format(self) -> str | None:
        now, best = self._against_best("reward/format") or (0.0, 0.0)
        floor = self.settings.format_floor
        if best >= 3 * floor and now < floor:
            return f"the format rate fell from {best:.3f} to {now:.3f}"
        return None

    def _logprob(self) -> str | None:
        now, best = self._against_best("policy/correct_logprob") or (0.0, 0.0)
        if now < best - self.settings.logprob_drop:
            return (
                f"correct trajectories became {best - now:.2f} nats per token less likely "
                f"(log-probability {best:.2f} → {now:.2f})"
            )
        return None
