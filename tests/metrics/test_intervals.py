"""Every interval that is printed holds the truth about as often as it says: simulated, with seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from innersearch.intervals import (
    Scores,
    difference,
    flipped_means,
    grouped,
    interval,
    mean_of_groups,
    mean_score,
    proportion,
)
from innersearch.view.tables import percent

ENOUGH = 0.93
UNIT, BOTH = (0.0, 1.0), (-1.0, 1.0)
PARTIAL = np.array([2 / 7, 0.4, 0.5, 2 / 3, 0.8])


def test_shares_have_the_published_exact_intervals() -> None:
    """Newcombe 1998, table I, method 5 (Clopper and Pearson): 81/263, 15/148, 0/20, 1/29, 29/29."""
    for successes, n, low, high in (
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0, 0.1684),
        (1, 29, 0.0009, 0.1776),
        (29, 29, 0.8806, 1),
    ):
        estimate = proportion(successes, n)
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-4)
    assert math.isnan(proportion(0, 0).value)


def test_shares_hold_the_truth_for_every_n_and_rate() -> None:
    """Computed, without simulation; the Wilson interval holds 0.84 at n = 17 and 0.01."""
    rates = np.arange(1, 100) / 100
    for n in (5, 8, 12, 17, 24, 64, 200, 1000):
        counts = np.arange(n + 1)
        found = [proportion(int(k), n) for k in counts]
        low, high = (np.array([getattr(e, end) for e in found]) for end in ("low", "high"))
        for p in rates:
            assert binom.pmf(counts, n, p)[(low <= p) & (p <= high)].sum() >= 0.95


@pytest.mark.parametrize("n", [1, 5, 12, 64, 1000, 20_000])
def test_nothing_is_certain_at_the_ends(n: int) -> None:
    for right in (0, n):
        values = [float(right > 0)] * n
        for found in (
            proportion(right, n),
            mean_score(values),
            mean_of_groups({"a": values, "b": values}),
        ):
            assert found.low < found.high
            assert 0.3 / n < found.high - found.low < 8 / n
            assert percent(found._asdict()) not in ("100.0 [100.0, 100.0]", "0.0 [0.0, 0.0]")
    same = difference(Scores.single(np.zeros(n)), 1.0, 500, np.random.default_rng(0))
    assert same.low < 0 < same.high
    assert same.p == 1


def held(sample, truth: float, bounds: tuple[float, float], *, repetitions: int = 400) -> float:
    rng = np.random.default_rng(1)
    count = 0
    for _ in range(repetitions):
        low, high = interval(sample(rng), bounds, 600, rng)
        count += low - 1e-12 <= truth <= high + 1e-12
    return count / repetitions


@pytest.mark.parametrize("n", [5, 12, 64, 1000])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.99])
def test_means_of_scores_with_mass_at_0_and_1(n: int, rate: float) -> None:
    between = min(rate, 1 - rate) / 1.5
    ones = max(0.0, rate - between * PARTIAL.mean())
    mass = np.array([max(0.0, 1 - ones - between), ones, *np.full(5, between / 5)])
    mass /= mass.sum()
    values = np.array([0.0, 1.0, *PARTIAL])
    truth = float(values @ mass)
    assert held(lambda rng: Scores.single(rng.choice(values, p=mass, size=n)), truth, UNIT) >= ENOUGH


@pytest.mark.parametrize("n", [5, 200])
@pytest.mark.parametrize("rates", [[0.01] * 7, [0.01, 0.02, 0.1, 0.5, 0.9, 0.98, 0.99], [0.05, 0.4]])
@pytest.mark.parametrize("weighed", [False, True])
def test_means_of_groups_with_unequal_rates(n: int, rates: list[float], *, weighed: bool) -> None:
    weights = {str(i): i + 1.0 if weighed else 1.0 for i in range(len(rates))}
    truth = float(np.average(rates, weights=list(weights.values())))

    def sample(rng: np.random.Generator) -> Scores:
        return grouped({str(i): rng.binomial(1, r, size=n) for i, r in enumerate(rates)}, weights)

    assert held(sample, truth, UNIT) >= ENOUGH


@pytest.mark.parametrize("n", [5, 12, 64, 1000])
@pytest.mark.parametrize(("delta", "changed"), [(0, 0.01), (0.01, 0.01), (0, 0.3), (0.3, 0.5)])
def test_paired_differences(n: int, delta: float, changed: float) -> None:
    mass = [(changed - delta) / 2, 1 - changed, (changed + delta) / 2]

    def sample(rng: np.random.Generator) -> Scores:
        return Scores.single(rng.choice([-1.0, 0.0, 1.0], p=mass, size=n))

    assert held(sample, delta, BOTH) >= ENOUGH


@pytest.mark.parametrize("clusters", [10, 30, 100])
@pytest.mark.parametrize("delta", [0.0, 0.2])
def test_differences_in_clusters_of_unequal_size(clusters: int, delta: float) -> None:
    mass = [(0.5 - delta) / 2, 0.5, (0.5 + delta) / 2]

    def sample(rng: np.random.Generator) -> Scores:
        numbers = np.repeat(np.arange(clusters), rng.integers(1, 13, size=clusters))
        return Scores.single(rng.choice([-1.0, 0.0, 1.0], p=mass, size=clusters)[numbers], numbers)

    assert held(sample, delta, BOTH, repetitions=300) >= ENOUGH


def test_intervals_are_no_wider_than_they_must_be() -> None:
    """Against the normal interval, for enough questions of middling difficulty."""
    rng = np.random.default_rng(2)
    for n, most in ((64, 1.15), (1000, 1.06)):
        values = rng.choice([0.0, 1.0, *PARTIAL], size=n)
        found = mean_score(values)
        assert (found.high - found.low) / (2 * 1.96 * values.std() / n**0.5) < most


def test_the_order_and_the_repetition_of_questions_do_not_matter() -> None:
    values = [0.2, 0.4, 0.4, 1.0, 0.0]
    assert mean_score(values) == mean_score(values[::-1])
    assert mean_score([0.2, 0.4], seed=1) == mean_score([0.2, 0.4], seed=1)
    for broken in ([1.0, math.nan], []):
        assert math.isnan(mean_score(broken).value)
        assert math.isnan(mean_of_groups({"a": broken, "b": [1.0]}).value)


def test_a_cluster_each_is_no_cluster() -> None:
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], size=50)
    rngs = (np.random.default_rng(4), np.random.default_rng(4))
    alone, plain = (
        interval(Scores.single(values, numbers), BOTH, 4000, rng)
        for numbers, rng in zip((np.arange(50), None), rngs, strict=True)
    )
    assert alone == pytest.approx(plain, abs=0.01)


def test_many_draws_in_parts_are_draws() -> None:
    """Of a thousand distinct values the weights are not all in memory at once."""
    values = np.arange(1000) / 1000
    means = flipped_means(Scores.single(values), 2000, np.random.default_rng(0))
    assert means.mean() == pytest.approx(0, abs=0.001)
    assert means.std() == pytest.approx((values**2).sum() ** 0.5 / 1000, rel=0.1)
    found = mean_score(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 1000**0.5, rel=0.05)


def test_a_few_large_clusters_among_small_ones() -> None:
    def sample(rng: np.random.Generator) -> Scores:
        numbers = np.repeat(np.arange(50), rng.choice([1] * 9 + [40], size=50))
        return Scores.single(rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=50)[numbers], numbers)

    assert held(sample, 0.2, BOTH) >= ENOUGH
