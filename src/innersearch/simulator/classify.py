"""Telling two kinds of text apart by their words: how like the real engine a simulator writes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

_FOLDS = 5


def cross_validated(ones: Sequence[str], others: Sequence[str]) -> list[float]:
    """Scores of naive Bayes over words and pairs of words: of `ones`, then of `others`; higher for ones.

    Text i of both is scored by a classifier that saw neither.
    """
    kinds = [[_features(text) for text in texts] for texts in (ones, others)]
    classifiers = [
        [_counts(f for index, f in enumerate(kind) if index % _FOLDS != fold) for kind in kinds]
        for fold in range(_FOLDS)
    ]
    return [
        _score(features, *classifiers[index % _FOLDS])
        for kind in kinds
        for index, features in enumerate(kind)
    ]


def _features(text: str) -> list[str]:
    words = text.lower().split()
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]


def _counts(texts: Iterable[Sequence[str]]) -> Counter[str]:
    return Counter(feature for features in texts for feature in features)


def _score(features: Sequence[str], ones: Counter[str], others: Counter[str]) -> float:
    """Log-odds with one added to every count; 0 where there was nothing to learn from."""
    size = len(ones | others)
    if not size:
        return 0.0
    prior = math.log((ones.total() + size) / (others.total() + size))
    return sum(math.log((ones[f] + 1) / (others[f] + 1)) - prior for f in features)
