"""Noise on purpose: how often, and for which queries, a search is answered badly.

Every query draws its own label, from a number that depends on (seed, question, repetition, search) and
on nothing else. ZeroSearch draws once per query as well (generation.py, `dynamic_threshold`).

    >>> curve = Curriculum(NoiseSettings(start=0.0, end=0.75), steps=100)
    >>> [round(curve.at(step), 3) for step in (25, 50, 75, 100)]
    [0.104, 0.25, 0.457, 0.75]
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Literal

from innersearch.config import NoiseSettings
from innersearch.random_draws import draw
from innersearch.search.base import SearchRequest

Label = Literal["useful", "noisy"]

_WINDOW = 10
"""Steps over which competence is averaged."""


@dataclass
class Curriculum:
    """The probability of noise over a training run."""

    settings: NoiseSettings
    steps: int = 1
    """Steps of the run, m."""
    seed: int = 0
    _em: list[float] = field(default_factory=list)

    def at(self, step: int) -> float:
        """The probability of noise in step number `step`, the first being 1; at its end from `steps` on.

        Outside of training, where the step is 0, noise is at its end: what an evaluation asks for.
        """
        settings = self.settings
        grown = 1.0 if step <= 0 else min(1.0, step / self.steps)
        if settings.curve == "constant":
            grown = 1.0
        elif settings.curve == "exponential":
            grown = (settings.base**grown - 1) / (settings.base - 1)
        elif settings.curve == "competence" and step > 0:
            grown = self._competence()
        return settings.start + grown * (settings.end - settings.start)

    def observe(self, em: float) -> None:
        """Take note of the mean EM of the step that ended."""
        self._em.append(em)

    def _competence(self) -> float:
        recent = self._em[-_WINDOW:]
        return min(1.0, statistics.fmean(recent) / self.settings.competent) if recent else 0.0

    def label(self, asked: SearchRequest) -> Label:
        """Whether a query gets a useful or a noisy result."""
        return "noisy" if draw(self.seed, *asked.identity) < self.at(asked.step) else "useful"

    @property
    def identity(self) -> dict[str, str | float]:
        """What an engine adds to its own identity."""
        return {f"noise_{name}": value for name, value in self.settings.model_dump().items()}

    @property
    def silent(self) -> bool:
        """Whether there is never any noise."""
        return not self.settings.end
