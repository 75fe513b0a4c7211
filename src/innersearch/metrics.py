"""Answer metrics and their confidence intervals: the only copy.

Normalisation follows the SQuAD evaluation script: lower-case, delete ASCII punctuation, drop the
articles a, an, the, collapse white space. `exact_match` is strict equality after it; `cover_match`
is containment, which ZeroSearch prints as "EM"; the two are never mixed under one name.

    >>> exact_match("The Eiffel Tower!", ["eiffel tower"]), token_f1("Eiffel", "Eiffel Tower")
    (True, 0.6666666666666666)
    >>> round(pass_at_k(n=4, correct=1, k=2), 3)
    0.5
"""

from __future__ import annotations

import math
import re
import string
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_BOOTSTRAP_SAMPLES = 2000
_RESAMPLED_AT_ONCE = 1 << 21
"""Counts in memory while means are resampled."""
_ROUNDING = 1e-12
"""Means of the same values in another order differ by less."""


class Estimate(NamedTuple):
    """A mean over `n` questions with its 95 % confidence interval `[low, high]`."""

    value: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """A mean difference over `n` pairs, its 95 % confidence interval, and how likely chance is."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, of the randomisation test; see `flipped_means`."""
    n: int


def normalise(text: str) -> str:
    """SQuAD normalisation of an answer."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def _golds(golden_answers: str | Iterable[object]) -> list[str]:
    answers = [golden_answers] if isinstance(golden_answers, str) else golden_answers
    return [normalise(str(answer)) for answer in answers]


def exact_match(prediction: str | None, golden_answers: str | Iterable[object]) -> bool:
    """Whether the normalised prediction equals any normalised gold answer. No prediction is wrong."""
    return prediction is not None and normalise(prediction) in _golds(golden_answers)


def cover_match(prediction: str | None, golden_answers: str | Iterable[object]) -> bool:
    """Whether the normalised prediction contains any non-empty normalised gold answer."""
    if prediction is None:
        return False
    normalised = normalise(prediction)
    return any(gold and gold in normalised for gold in _golds(golden_answers))


def token_f1(prediction: str | None, golden_answers: str | Iterable[object]) -> float:
    """Best token-level F1 over the gold answers, in [0, 1]; with an empty side, equality decides."""
    if prediction is None:
        return 0.0
    predicted = normalise(prediction).split()
    return max((_f1(predicted, gold.split()) for gold in _golds(golden_answers)), default=0.0)


def _f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    overlap = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * overlap / (len(predicted) + len(gold))


def majority(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer by normalised form, as first written; ties go to the first seen.

    Missing answers do not vote. None if nobody voted.
    """
    votes = Counter(normalise(answer) for answer in answers if answer is not None)
    if not votes:
        return None
    winner = votes.most_common(1)[0][0]
    return next(a for a in answers if a is not None and normalise(a) == winner)


def maj_at_k(answers: Sequence[str | None], golden_answers: str | Iterable[object], k: int) -> float:
    """Whether the majority of the first `k` answers is right (0.0 or 1.0); NaN if there are fewer."""
    if k > len(answers):
        return math.nan
    return float(exact_match(majority(answers[:k]), golden_answers))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of "at least one of k samples is right" from n samples, `correct` of them right.

    1 − C(n − correct, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1); NaN when k > n.

    Raises:
        ValueError: `correct` is not in [0, n], or k < 1.
    """
    if not 0 <= correct <= n or k < 1:
        raise ValueError(f"pass@k needs 0 <= correct <= n and k >= 1, got {correct=}, {n=}, {k=}")
    if k > n:
        return math.nan
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Chance that a positive one scores higher than another one; ties count half, NaN without either.

    >>> auroc([0.9, 0.4, 0.4], [True, True, False])
    0.75
    """
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    _, first, counts = np.unique(np.asarray(scores)[order], return_index=True, return_counts=True)
    ranks[order] = np.repeat(first + (counts - 1) / 2, counts)
    flags = np.asarray(positive, dtype=bool)
    n, m = int(flags.sum()), int((~flags).sum())
    return float((ranks[flags].sum() - n * (n - 1) / 2) / (n * m)) if n and m else math.nan


def wilson(successes: int, n: int, z: float = 1.959964) -> Estimate:
    """Share of successes with its Wilson score interval; all NaN when n is 0."""
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    margin = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bounds are exact; computed, they miss by a rounding error.
    low = centre - margin if successes else 0.0
    high = centre + margin if successes < n else 1.0
    return Estimate(share, low, high, n)


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of per-question values with its percentile bootstrap interval (2,000 resamples).

    NaN values (pass@k with too few samples) make the estimate NaN; they are never dropped. The order of
    the values does not matter.
    """
    data = np.sort(np.asarray(values, dtype=float))
    if data.size == 0 or np.isnan(data).any():
        return Estimate(math.nan, math.nan, math.nan, data.size)
    rng = np.random.default_rng(seed)
    draws = rng.integers(data.size, size=(_BOOTSTRAP_SAMPLES, data.size))
    low, high = np.quantile(data[draws].mean(axis=1), [0.025, 0.975])
    return Estimate(float(data.mean()), float(low), float(high), data.size)


def generator(seed: int, group: str) -> np.random.Generator:
    """One for each group, so that its interval does not depend on which others there are."""
    return np.random.default_rng([seed, zlib.crc32(group.encode())])


def mean_of_groups(values: Mapping[str, Sequence[float]], seed: int = 0) -> Estimate:
    """The mean of the groups' means, each group resampled by itself; n counts all values."""
    means = [
        resampled_means(members, _BOOTSTRAP_SAMPLES, generator(seed, group))
        for group, members in values.items()
    ]
    low, high = np.quantile(np.mean(means, axis=0), [0.025, 0.975])
    value = float(np.mean([np.mean(members) for members in values.values()]))
    return Estimate(value, float(low), float(high), sum(map(len, values.values())))


def resampled_means(values: Sequence[float], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """The means of `resamples` bootstrap resamples of `values`.

    How often each distinct value occurs in a resample is drawn at once, from a multinomial distribution:
    the same distribution as drawing one by one, at a cost that does not grow with the number of values.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    n = int(counts.sum())
    return np.concatenate(
        [
            rng.multinomial(n, counts / n, size=size) @ distinct / n
            for size in _parts(resamples, distinct)
        ]
    )


def flipped_means(values: Sequence[float], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """The means of differences whose signs are drawn at random: what chance alone makes of them.

    Were A no better than B, each difference could as well have the other sign: the randomisation test
    of paired scores (Noreen 1989; Dror et al., ACL 2018). It holds for any number of them, where a
    bootstrap takes three equal differences for certainty. How many of equal size keep
    their sign is drawn at once, from a binomial distribution.
    """
    distinct, counts = np.unique(np.abs(np.asarray(values, dtype=float)), return_counts=True)
    return np.concatenate(
        [
            (2 * rng.binomial(counts, 0.5, size=(size, len(counts))) - counts) @ distinct / counts.sum()
            for size in _parts(resamples, distinct)
        ]
    )


def _parts(resamples: int, distinct: np.ndarray) -> Iterator[int]:
    """How many resamples to draw at once, so that their counts take little memory."""
    at_once = max(1, _RESAMPLED_AT_ONCE // len(distinct))
    return (min(at_once, resamples - start) for start in range(0, resamples, at_once))


def difference(values: Sequence[float], means: np.ndarray, flipped: np.ndarray) -> Difference:
    """Mean of per-question differences, with the interval of their resampled means, and with the p of
    their flipped ones, which counts what was found as one of them and so is never 0.
    """
    value = float(np.mean(values))
    low, high = np.quantile(means, [0.025, 0.975])
    as_far = int((np.abs(flipped) >= abs(value) - _ROUNDING).sum())
    p = (as_far + 1) / (len(flipped) + 1)
    return Difference(value, float(low), float(high), p, len(values))
