"""What several runs show together: over training seeds and worlds, with questions that err together.

Two things vary in a result: which seed a model was trained with, and which questions it was asked.
The variance of a mean is the sum of both, and its degrees of freedom follow from theirs (Satterthwaite
1946). Questions that share an entity or a pair of relations err together, so their variance is clustered
in both ways (Cameron, Gelbach and Miller 2011). What is inferred holds for other seeds and other
questions of the same worlds.

    >>> spread = satterthwaite([Spread(0.0003, 8.0), Spread(0.0001, 40.0)])
    >>> low, high = t_interval(0.21, spread)
    >>> round(low, 3), round(high, 3)
    (0.167, 0.253)
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from innersearch.intervals import LEVEL, Estimate, proportion

DRAWS = 2_000
"""Of clusters, for the interval of a rank correlation."""
_TAIL = (1 - LEVEL) / 2


class Spread(NamedTuple):
    """The variance of an estimate, and the degrees of freedom it was estimated with."""

    variance: float
    df: float
    """0 where nothing is known of it, as of a single run; infinite where it is known."""


KNOWN = Spread(0.0, math.inf)
"""That of what does not vary."""
UNKNOWN = Spread(math.nan, 0.0)


@dataclass(frozen=True)
class Runs:
    """Values of one row of a table, of the training seeds of each world."""

    values: Sequence[Sequence[float]]
    """Per world, one for each seed."""
    scale: float = 1.0
    """How much the variance of one run counts: the squared weight that the values hold already."""
    trained: bool = True
    """Whether another seed would give another value."""


def mean_of_runs(values: Sequence[float]) -> Estimate:
    """Their mean with its t-interval; the interval is all numbers where there is one run only.

    >>> [round(part, 2) for part in mean_of_runs([93.2, 93.5, 97.4])]
    [94.7, 88.88, 100.52, 3]
    """
    n = len(values)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(values))
    spread = Spread(float(np.var(values, ddof=1)) / n, n - 1) if n > 1 else UNKNOWN
    return Estimate(mean, *t_interval(mean, spread), n)


def over_runs(rows: Sequence[Runs]) -> Spread:
    """How much the sum of the rows' means, averaged over worlds, varies with the training seeds.

    Every row has values in the same worlds. Runs of one world differ by their seeds; what the sums of
    the worlds differ by counts as well, since it holds the seeds' part too: so a row with one seed in
    each world has a variance. For one row, the same number of seeds everywhere, this is t over all runs.
    """
    each = in_each_world(rows)
    known = [spread for spread in each if not math.isnan(spread.variance)]
    if len(known) < len(each):
        return UNKNOWN
    return Spread(sum(spread.variance for spread in each) / len(each) ** 2, each[0].df)


def in_each_world(rows: Sequence[Runs]) -> list[Spread]:
    """How much the sum of the rows' means in each world varies with the training seeds, which are taken
    to vary as much in every world.
    """
    worlds = len(rows[0].values)
    trained = [row for row in rows if row.trained]
    if not trained:
        return [KNOWN] * worlds
    squares = freedom = 0.0
    for row in trained:
        for values in row.values:
            squares += float(np.sum((np.asarray(values) - np.mean(values)) ** 2)) / row.scale
            freedom += len(values) - 1
    # Variances of the worlds' sums, in units of the variance of one run.
    units = np.array([sum(row.scale / len(row.values[w]) for row in trained) for w in range(worlds)])
    sums = np.array([sum(float(np.mean(row.values[w])) for row in rows) for w in range(worlds)])
    weights = 1 / units
    squares += float(np.sum(weights * (sums - np.average(sums, weights=weights)) ** 2))
    freedom += worlds - 1
    if not freedom:
        return [UNKNOWN] * worlds
    return [Spread(squares / freedom * float(unit), freedom) for unit in units]


def two_way(influence: np.ndarray, one: np.ndarray, other: np.ndarray) -> Spread:
    """The variance of a mean over questions that share clusters of two kinds.

    Args:
        influence: What each question adds to the estimate, of shape (questions,): its value less the
            mean, by its weight.
        one: The number of each question's cluster, such as its entity.
        other: That of its cluster of the other kind, such as its pair of relations.
    """
    if not len(influence):
        return UNKNOWN
    both = np.unique(np.stack([one, other]), axis=1, return_inverse=True)[1]
    parts = [_clustered(influence, numbers) for numbers in (one, other, both.ravel())]
    least = min(parts[0].df, parts[1].df)
    if least < 1:
        return UNKNOWN
    # The difference can be smaller than a part of it, and even negative: then the larger part stands.
    combined = parts[0].variance + parts[1].variance - parts[2].variance
    return Spread(max(combined, parts[0].variance, parts[1].variance), least)


def _clustered(influence: np.ndarray, numbers: np.ndarray) -> Spread:
    found = np.unique(numbers, return_inverse=True)[1]
    sums = np.bincount(found, weights=influence)
    n = len(sums)
    return Spread(float(np.sum(sums**2)) * n / (n - 1), n - 1) if n > 1 else Spread(math.nan, 0)


def unasked(clusters: int) -> Spread:
    """What one more cluster that nobody asked about adds to the variance of a difference, were it got
    right by one and wrong by the other: so nothing is certain where all that were asked agree.
    """
    return Spread((clusters + 1) ** -2.0, math.inf)


def satterthwaite(parts: Sequence[Spread]) -> Spread:
    """The spread of a sum of independent parts."""
    if any(math.isnan(part.variance) for part in parts):
        return UNKNOWN
    variance = sum(part.variance for part in parts)
    squares = sum(part.variance**2 / part.df for part in parts if part.variance)
    return Spread(variance, variance**2 / squares if squares else math.inf)


def t_interval(value: float, spread: Spread) -> tuple[float, float]:
    """The 95 % interval of an estimate; all numbers where its variance is unknown."""
    if math.isnan(spread.variance):
        return -math.inf, math.inf
    half = _quantile(spread.df) * math.sqrt(spread.variance)
    return value - half, value + half


def t_p(value: float, spread: Spread, bound: float) -> float:
    """How likely an estimate as large or larger is, were the truth `bound`; 1 where nothing is known."""
    from scipy.stats import t

    if math.isnan(spread.variance):
        return 1.0
    if spread.variance == 0:
        return 0.0 if value > bound else 1.0
    score = (value - bound) / math.sqrt(spread.variance)
    return float(t.sf(score, spread.df))


def _quantile(df: float) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - _TAIL, df))


def share(value: float, spread: Spread, clusters: int, n: int) -> Estimate:
    """A share with an interval within [0, 1]: the exact one of as many questions as its variance is
    worth (Korn and Graubard 1998).

    Where all are right or all are wrong no variance is seen: then each cluster counts once.

    Args:
        value: The share.
        spread: Of the share.
        clusters: How many clusters the questions lie in.
        n: How many questions there are.
    """
    from scipy.special import betaincinv
    from scipy.stats import t

    if math.isnan(value) or math.isnan(spread.variance) or not clusters:
        return Estimate(value, 0.0, 1.0, n)
    if value in (0.0, 1.0) or not spread.variance:
        exact = proportion(round(value * clusters), clusters)
        return Estimate(value, min(exact.low, value), max(exact.high, value), n)
    narrower = float(t.ppf(_TAIL, max(n - 1, 1)) / t.ppf(_TAIL, spread.df)) ** 2
    worth = min(value * (1 - value) / spread.variance * narrower, n)
    right, wrong = value * worth, (1 - value) * worth
    low = float(betaincinv(right, wrong + 1, _TAIL))
    return Estimate(value, low, float(betaincinv(right + 1, wrong, 1 - _TAIL)), n)


def holm(values: Sequence[float]) -> list[float]:
    """The p-values of a list of tests, adjusted so that any false one is unlikely (Holm 1979)."""
    adjusted, most = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        most = max(most, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = round(most, 12)
    return adjusted


def spearman(
    x: Sequence[float], y: Sequence[float], clusters: Sequence[int], draws: int = DRAWS, seed: int = 0
) -> tuple[Estimate, Spread]:
    """The rank correlation of two values of each question, with an interval over drawn clusters.

    Ties share their mean rank. NaN where one of the two never changes.

    Args:
        x: One value of each question.
        y: The other.
        clusters: The number of each question's cluster; clusters are drawn whole.
        draws: How often.
        seed: Of the draws.
    """
    (levels_x, at_x), (levels_y, at_y) = (np.unique(v, return_inverse=True) for v in (x, y))
    of = np.unique(clusters, return_inverse=True)[1]
    shape = (int(of.max()) + 1, len(levels_x), len(levels_y))
    counts = np.zeros(shape)
    np.add.at(counts, (of, at_x, at_y), 1.0)
    value = float(_rank_correlation(counts.sum(axis=0)[None])[0])
    flat = counts.reshape(shape[0], -1)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), size=draws) @ flat
    found = _rank_correlation(drawn.reshape(-1, *shape[1:]))
    found = found[~np.isnan(found)]
    if math.isnan(value) or not len(found) or shape[0] < 2:
        return Estimate(value, -1.0, 1.0, len(at_x)), UNKNOWN
    low, high = np.quantile(found, [_TAIL, 1 - _TAIL])
    return (
        Estimate(value, float(low), float(high), len(at_x)),
        Spread(float(found.var(ddof=1)), shape[0] - 1),
    )


def _rank_correlation(tables: np.ndarray) -> np.ndarray:
    """Of tables of counts, of shape (draws, levels of x, levels of y)."""
    total = tables.sum(axis=(1, 2))
    centred = []
    for axis in (2, 1):
        margin = tables.sum(axis=axis)
        ranks = np.cumsum(margin, axis=1) - margin / 2
        centred.append((ranks - total[:, None] / 2, margin))
    (rank_x, of_x), (rank_y, of_y) = centred
    shared = np.einsum("dxy,dx,dy->d", tables, rank_x, rank_y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return shared / np.sqrt((of_x * rank_x**2).sum(axis=1) * (of_y * rank_y**2).sum(axis=1))
