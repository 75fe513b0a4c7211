"""Signals: how unsure a policy is of information that it wrote itself. Higher means less sure.

>>> wobbly = Own("Belira works for Coltek.", logprobs=(-0.1, -1.2), entropies=(0.2, 1.6))
>>> round(SIGNALS["entropy"](wobbly), 2), round(SIGNALS["min-prob"](wobbly), 2)
(0.9, 0.7)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from innersearch.metrics import token_f1


@dataclass(frozen=True, slots=True)
class Own:
    """Information that a policy wrote for a query of its own."""

    text: str
    logprobs: Sequence[float]
    """Of its tokens, natural log, at temperature 1 or that of the sampling."""
    entropies: Sequence[float]
    """Of the distributions its tokens were drawn from, nats."""
    samples: Sequence[str] = ()
    """Further samples of the same information."""


def entropy(own: Own) -> float:
    """Mean entropy of the tokens' distributions, nats; infinite for no text."""
    return statistics.fmean(own.entropies) if own.entropies else math.inf


def max_entropy(own: Own) -> float:
    """Largest entropy among the tokens' distributions, nats; infinite for no text."""
    return max(own.entropies, default=math.inf)


def least_probability(own: Own) -> float:
    """1 − the smallest probability of a token that was drawn; 1 for no text."""
    return 1 - math.exp(min(own.logprobs, default=-math.inf))


def disagreement(own: Own) -> float:
    """1 − mean token F1 over all pairs of samples, what was written first included; self-consistency."""
    texts = [own.text, *own.samples]
    scores = [token_f1(one, [other]) for one, other in combinations(texts, 2)]
    return 1 - statistics.fmean(scores) if scores else 0.0


SIGNALS: dict[str, Callable[[Own], float]] = {
    "entropy": entropy,
    "max-entropy": max_entropy,
    "min-prob": least_probability,
    "consistency": disagreement,
}

QUERY_ENTROPY = "query-entropy"
"""The signal that is there before the policy writes any information: the mean entropy of the query."""

READS = {
    "entropy": "entropies",
    "max-entropy": "entropies",
    "min-prob": "logprobs",
    QUERY_ENTROPY: "entropies",
}
"""What of the policy's tokens a signal is made of."""

SAMPLED = frozenset({"consistency"})
"""The signals that compare further samples."""
