"""95 % confidence intervals of means of bounded scores, and of their differences: the only copy.

Every score here lies between two known bounds: an exact match is 0 or 1, an F1 lies between, a
difference of two of them lies in [-1, 1]. For such means there is an interval that is exact where the
scores are all 0 or 1, where it is Clopper and Pearson's, and that goes over into the usual one where
there are many values: Gaffke's bounds (Gaffke 2005; Learned-Miller and Thomas, arXiv 1905.06208). The
questions are weighed at random, as in the Bayesian bootstrap, together with one more question that
nobody asked; it is as bad as can be for the lower bound and as good as can be for the upper one. So five
right answers of five are not taken for certainty, which a bootstrap of the five does.

Differences that are -1, 0 or 1 get an interval that leaves out 0 when the exact McNemar test rejects
it. `benchmarks/intervals.py` simulates how often all of them hold what they should.

    >>> [round(part, 3) for part in proportion(5, 5)]
    [1.0, 0.478, 1.0, 5]
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 10_000
"""Of the weights of questions, for an interval."""
FEW_CLUSTERS = 10
"""With fewer, intervals and p of clusters are rough, and said to be."""
_DRAWN_AT_ONCE = 1 << 21
"""Weights in memory while means are drawn."""
_ROUNDING = 1e-12
"""Means of the same values in another order differ by less."""
_TAIL = (1 - LEVEL) / 2


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


@dataclass(frozen=True)
class Scores:
    """Scores of questions, each in one group and in one cluster, and how much each group weighs.

    Their mean is that of the groups' means, by weight. Questions of one cluster err together; without
    `clusters` each errs by itself.
    """

    values: np.ndarray
    groups: np.ndarray
    """The number of each question's group, from 0."""
    weights: np.ndarray
    """Of the groups; they add up to 1."""
    clusters: np.ndarray | None = None
    """The number of each question's cluster, from 0."""

    @classmethod
    def single(cls, values: Sequence[float] | np.ndarray, clusters: np.ndarray | None = None) -> Scores:
        """Those of one group."""
        data = np.asarray(values, dtype=float)
        return cls(data, np.zeros(len(data), dtype=int), np.ones(1), clusters)

    @property
    def mean(self) -> float:
        """The mean of the groups' means, by weight; NaN where a group has no score."""
        return float(np.sum(self.values * self._shares))

    @property
    def _shares(self) -> np.ndarray:
        """How much each question weighs; they add up to 1."""
        sizes = np.bincount(self.groups, minlength=len(self.weights))
        return self.weights[self.groups] / sizes[self.groups]

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is weighed at random, the same taken together: sums of scores per group, how many
        scores those are, and how many clusters are so.
        """
        groups, ones = len(self.weights), np.ones_like(self.values)
        if self.clusters is None:
            apart = [self.values[self.groups == group] for group in range(groups)]
            found = [np.unique(values, return_counts=True) for values in apart]
            sizes = np.repeat(np.eye(groups), [len(distinct) for distinct, _ in found], axis=0)
            sums = sizes * np.concatenate([distinct for distinct, _ in found])[:, None]
            return sums, sizes, np.concatenate([counts for _, counts in found])
        sums, sizes = np.zeros((2, int(self.clusters.max()) + 1, groups))
        np.add.at(sums, (self.clusters, self.groups), self.values)
        np.add.at(sizes, (self.clusters, self.groups), ones)
        distinct, counts = np.unique(np.hstack([sums, sizes]), axis=0, return_counts=True)
        return distinct[:, :groups], distinct[:, groups:], counts

    def contributions(self) -> np.ndarray:
        """What each cluster adds to the mean."""
        shared = self.values * self._shares
        return shared if self.clusters is None else np.bincount(self.clusters, weights=shared)


def proportion(successes: int, n: int) -> Estimate:
    """Share of successes with its exact interval (Clopper and Pearson 1934); all NaN when n is 0."""
    from scipy.special import betaincinv

    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    low = float(betaincinv(successes, n - successes + 1, _TAIL)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - _TAIL)) if successes < n else 1.0
    return Estimate(successes / n, low, high, n)


def mean_score(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of per-question scores in [0, 1] with its interval.

    NaN values (pass@k with too few samples) make the estimate NaN; they are never dropped. The order of
    the values does not matter.
    """
    data = np.asarray(values, dtype=float)
    if data.size == 0 or np.isnan(data).any():
        return Estimate(math.nan, math.nan, math.nan, data.size)
    if np.isin(data, (0.0, 1.0)).all():
        return proportion(int(data.sum()), data.size)
    scores = Scores.single(data)
    low, high = interval(scores, (0.0, 1.0), DRAWS, generator(seed, ""))
    return Estimate(scores.mean, low, high, data.size)


def mean_of_groups(
    values: Mapping[str, Sequence[float]], weights: Mapping[str, float] | None = None, seed: int = 0
) -> Estimate:
    """The mean of the groups' means with its interval; n counts all values.

    Args:
        values: Scores in [0, 1] of each group's questions.
        weights: How much each group counts; all the same by default.
        seed: Of the draws.
    """
    scores = grouped(values, weights)
    n = scores.values.size
    if n == 0 or np.isnan(scores.values).any() or not all(map(len, values.values())):
        return Estimate(math.nan, math.nan, math.nan, n)
    low, high = interval(scores, (0.0, 1.0), DRAWS, generator(seed, "groups"))
    return Estimate(scores.mean, low, high, n)


def grouped(
    values: Mapping[str, Sequence[float] | np.ndarray],
    weights: Mapping[str, float] | None = None,
    clusters: Mapping[str, np.ndarray] | None = None,
) -> Scores:
    """The scores of several groups; the weights need not add up to 1 and are equal by default."""
    given = np.array([1.0 if weights is None else weights[group] for group in values])
    return Scores(
        np.concatenate([np.asarray(members, dtype=float) for members in values.values()]),
        np.repeat(np.arange(len(values)), [len(members) for members in values.values()]),
        given / given.sum(),
        None if clusters is None else np.concatenate([clusters[group] for group in values]),
    )


def generator(seed: int, group: str) -> np.random.Generator:
    """One for each group, so that its interval does not depend on which others there are."""
    return np.random.default_rng([seed, zlib.crc32(group.encode("utf-8", "surrogatepass"))])


def interval(
    scores: Scores, bounds: tuple[float, float], draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The 95 % interval of the mean of scores that lie within `bounds`."""
    low, high = drawn_means(scores, bounds, draws, rng)
    below, above = np.quantile(low, _TAIL), np.quantile(high, 1 - _TAIL)
    # The mean itself is always within, but for rounding.
    return min(float(below), scores.mean), max(float(above), scores.mean)


def drawn_means(
    scores: Scores, bounds: tuple[float, float], draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means under random weights, with one more cluster at the lower bound, and with it at the upper.

    Weights of equal rows are drawn at once, from a gamma distribution: the same as one by one, at a cost
    that does not grow with the number of questions.
    """
    sums, sizes, counts = scores.rows()
    # A cluster that has questions of several groups moves them all, and so does the one more.
    apart = 1 if ((sizes > 0).sum(axis=1) > 1).any() else len(scores.weights)
    # Where sizes differ much, the large clusters decide: the one more is as large as that of a question.
    typical = (sizes**2 * counts[:, None]).sum(axis=0) / (sizes * counts[:, None]).sum(axis=0)
    means: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for size in _parts(draws, len(counts)):
        weights = rng.standard_gamma(counts, size=(size, len(counts)))
        more = rng.standard_gamma(1.0, size=(size, apart)) * typical
        total, whole = weights @ sums, weights @ sizes + more
        for bound, into in zip(bounds, means, strict=True):
            into.append((total + more * bound) / whole @ scores.weights)
    return np.concatenate(means[0]), np.concatenate(means[1])


def flipped_means(scores: Scores, draws: int, rng: np.random.Generator) -> np.ndarray:
    """The means of differences whose signs are drawn at random: what chance alone makes of them.

    Were A no better than B, each difference could as well have the other sign: the randomisation test
    of paired scores (Noreen 1989; Dror et al., ACL 2018). It holds for any number of them, where a
    bootstrap takes three equal differences for certainty. Differences of one cluster keep or change
    their signs together. How many of equal size keep theirs is drawn at once, from a binomial
    distribution.
    """
    distinct, counts = np.unique(np.abs(scores.contributions()), return_counts=True)
    return np.concatenate(
        [
            (2 * rng.binomial(counts, 0.5, size=(size, len(counts))) - counts) @ distinct
            for size in _parts(draws, len(distinct))
        ]
    )


def _parts(draws: int, width: int) -> Iterator[int]:
    """How many to draw at once, so that their weights take little memory."""
    at_once = max(1, _DRAWN_AT_ONCE // width)
    return (min(at_once, draws - start) for start in range(0, draws, at_once))


def difference(scores: Scores, most: float, draws: int, rng: np.random.Generator) -> Difference:
    """The mean of per-question differences within [-most, most], with its interval, and with p, which
    counts what was found as one of the flipped ones and so is never 0.
    """
    value = scores.mean
    low, high = interval(scores, (-most, most), draws, rng)
    flipped = flipped_means(scores, draws, rng)
    as_far = int((np.abs(flipped) >= abs(value) - _ROUNDING).sum())
    return Difference(value, low, high, (as_far + 1) / (draws + 1), scores.values.size)
