"""How sure a choice among gates is that was made on validation questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from innersearch.evaluate.clusters import find_clusters
from innersearch.evaluate.stored import Answered
from innersearch.intervals import DRAWS, Difference, Scores, difference, generator
from innersearch.stored import read_unique

_LEAST_LOSS = 0.01
"""Exact match that any calibration should be able to tell."""
_TAIL = 0.025


@dataclass(frozen=True)
class Candidate:
    """A gate that was tried, with what it did on each question."""

    rate: float
    threshold: float
    ems: np.ndarray
    counts: np.ndarray
    """Real searches of each question."""
    clusters: np.ndarray
    """The cluster of each question."""
    cluster: str
    """The field that they were made by."""
    tokens: float
    """Sampled tokens per question, rolled back ones included."""

    @classmethod
    def read(cls, folder: Path, rate: float, threshold: float, cluster: str = "") -> Candidate:
        """What an evaluation of it left.

        Raises:
            DataError: No question has the field of the clusters.
        """
        records = sorted(read_unique(folder / "greedy.jsonl", Answered), key=lambda r: str(r["id"]))
        found = find_clusters(folder, records, cluster)
        numbers = found.numbers([r["id"] for r in records]) if found else np.arange(len(records))
        tokens = [record["tokens"] + record.get("rolled_back", 0) for record in records]
        ems, counts = (np.array([float(r[name]) for r in records]) for name in ("em", "calls"))
        return cls(rate, threshold, ems, counts, numbers, cluster, float(np.mean(tokens)))

    @property
    def em(self) -> float:
        """Exact match over all questions."""
        return float(self.ems.mean())

    @property
    def calls(self) -> float:
        """Real searches per question."""
        return float(self.counts.mean())

    @property
    def measured(self) -> dict[str, float]:
        """As records have it."""
        return {"em": self.em, "calls": self.calls, "tokens": self.tokens}


def em_loss(always: Candidate, gate: Candidate) -> Difference:
    """Exact match that a gate loses against real searches only, question by question."""
    lost = Scores.single(always.ems - gate.ems, always.clusters if always.cluster else None)
    return difference(lost, 1.0, DRAWS, generator(0, "em loss"))


def selected_calls(
    tried: Sequence[Candidate], gate: Candidate, always: Candidate, allowed: float | None, seed: int = 0
) -> list[float]:
    """95 % interval of the calls per question over gates that other questions would have led to: the
    choice among those tried is made again for each draw of weights of the questions.
    """
    rng, draws, size = generator(seed, "calls"), 2000, int(always.clusters.max()) + 1
    among = [*tried, always] if allowed is not None else [gate]
    ems, calls = (np.array([getattr(c, name) for c in among]) for name in ("ems", "counts"))
    chosen = []
    for _ in range(draws):
        weights = rng.standard_gamma(1.0, size)[always.clusters]
        weights /= weights.sum()
        lost, cost = always.ems @ weights - ems @ weights, calls @ weights
        enough = np.flatnonzero(lost <= (1.0 if allowed is None else allowed) + 1e-12)
        chosen.append(float(cost[enough[0]]))
    # Weights add up to one as far as floats do, so that one call per question is one and not a bit more.
    return [round(float(np.quantile(chosen, tail)), 12) for tail in (_TAIL, 1 - _TAIL)]


def too_few(loss: Difference, allowed: float | None) -> int:
    """How many questions it takes at least to tell the loss that is allowed; 0 if there are enough.

    At least, since an interval shrinks with their number at best, and with its root at worst.
    """
    limit = max(allowed or 0.0, _LEAST_LOSS)
    half = (loss.high - loss.low) / 2
    return math.ceil(loss.n * half / limit / 100) * 100 if half > limit else 0
