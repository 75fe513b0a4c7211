"""Statistics over seeds, worlds and clustered questions, against closed forms and simulated truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from innersearch.replication import (
    KNOWN,
    UNKNOWN,
    Runs,
    Spread,
    holm,
    in_each_world,
    mean_of_runs,
    over_runs,
    satterthwaite,
    share,
    spearman,
    t_interval,
    t_p,
    two_way,
    unasked,
)

ENOUGH = 0.93


def test_t_over_runs_is_the_textbook_one() -> None:
    values = [0.93, 0.94, 0.97, 0.91]
    found = mean_of_runs(values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert mean_of_runs([0.5]).low == -math.inf
    assert math.isnan(mean_of_runs([]).value)


def test_one_row_in_several_worlds_is_t_over_all_its_runs() -> None:
    values = np.array([[0.6, 0.7, 0.65], [0.5, 0.55, 0.4], [0.7, 0.8, 0.72]])
    found = over_runs([Runs(values.tolist())])
    assert found.df == 8
    assert found.variance == pytest.approx(stats.sem(values.ravel()) ** 2)


def test_two_rows_in_one_world_are_students_test() -> None:
    a, b = [0.6, 0.7, 0.65], [0.5, 0.55, 0.4, 0.52]
    found = over_runs([Runs([a]), Runs([[-value for value in b]])])
    expected = stats.ttest_ind(a, b)
    value = np.mean(a) - np.mean(b)
    assert found.df == expected.df == 5
    assert 2 * t_p(value, found, 0.0) == pytest.approx(expected.pvalue)


def test_a_row_with_a_single_run_has_no_spread_and_what_is_not_trained_none_at_all() -> None:
    assert over_runs([Runs([[0.5]])]) == UNKNOWN
    assert over_runs([Runs([[0.5]], trained=False)]) == KNOWN
    assert t_interval(0.5, UNKNOWN) == (-math.inf, math.inf)
    assert t_p(0.5, UNKNOWN, 0.0) == 1.0


def test_worlds_share_the_variance_of_their_runs() -> None:
    found = in_each_world([Runs([[0.6, 0.7], [0.5, 0.9, 0.7]])])
    means, sizes = np.array([0.65, 0.7]), np.array([2, 3])
    squares = 0.005 + 0.08 + np.sum(sizes * (means - np.average(means, weights=sizes)) ** 2)
    assert [spread.df for spread in found] == [4, 4]
    assert [s.variance for s in found] == pytest.approx(squares / 4 / sizes)


def test_nothing_is_certain_where_all_agree() -> None:
    low, high = t_interval(0.0, satterthwaite([Spread(0.0, 39.0), unasked(40)]))
    assert high == -low == pytest.approx(1.96 / 41, rel=1e-3)


def test_weights_count_by_their_square() -> None:
    """Half the values of a row, told so, have a quarter of its variance."""
    values = [[0.6, 0.7, 0.65], [0.5, 0.55, 0.4]]
    whole = over_runs([Runs(values)])
    halves = over_runs([Runs([[value / 2 for value in part] for part in values], scale=0.25)])
    assert halves.df == whole.df
    assert halves.variance == pytest.approx(whole.variance / 4)


def test_rows_with_one_seed_per_world_hold_the_truth() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        many = rng.normal(0.2, 0.05, size=(3, 3))
        single = -rng.normal(0.1, 0.05, size=(3, 1))
        spread = over_runs([Runs(many.tolist()), Runs(single.tolist())])
        low, high = t_interval(float(many.mean(axis=1).mean() + single.mean()), spread)
        held += low <= 0.1 <= high
    assert 0.935 < held / 2000 < 0.965


def test_satterthwaite_is_welchs() -> None:
    a, b = [0.6, 0.7, 0.65, 0.62], [0.5, 0.75, 0.4]
    parts = [Spread(np.var(x, ddof=1) / len(x), len(x) - 1) for x in (a, b)]
    assert satterthwaite(parts).df == pytest.approx(stats.ttest_ind(a, b, equal_var=False).df)
    assert satterthwaite([parts[0], UNKNOWN]) == UNKNOWN
    assert satterthwaite([KNOWN, KNOWN]).variance == 0


def test_clusters_of_one_kind_and_of_single_questions_are_the_usual_variances() -> None:
    values = np.array([1.0, 0, 1, 1, 0, 0, 1, 0])
    influence = (values - values.mean()) / len(values)
    alone = np.arange(len(values))
    assert two_way(influence, alone, alone).variance == pytest.approx(stats.sem(values) ** 2)
    pairs = alone // 2
    means = values.reshape(-1, 2).mean(axis=1)
    assert two_way(influence, pairs, pairs).variance == pytest.approx(stats.sem(means) ** 2)
    assert two_way(influence, np.zeros(8, int), alone) == UNKNOWN
    assert two_way(np.array([]), np.array([]), np.array([])) == UNKNOWN


@pytest.mark.parametrize(("of_entity", "of_pair"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.2)])
def test_intervals_over_questions_that_share_entity_and_pair(of_entity: float, of_pair: float) -> None:
    rng = np.random.default_rng(4)
    entities, pairs = (grid.ravel() for grid in np.meshgrid(np.arange(60), np.arange(16)))
    held = plain = 0
    for _ in range(600):
        value = 0.2 + rng.normal(0, of_entity, 60)[entities] + rng.normal(0, of_pair, 16)[pairs]
        value = value + rng.normal(0, 0.5, len(value))
        influence = (value - value.mean()) / len(value)
        low, high = t_interval(float(value.mean()), two_way(influence, entities, pairs))
        held += low <= 0.2 <= high
        plain += abs(value.mean() - 0.2) <= 1.96 * stats.sem(value)
    assert held / 600 >= ENOUGH - 0.01
    if of_pair:
        assert plain / 600 < 0.6


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9, 0.985])
def test_shares_of_clustered_questions_hold_the_truth(rate: float) -> None:
    rng = np.random.default_rng(5)
    entities, pairs = (grid.ravel() for grid in np.meshgrid(np.arange(50), np.arange(12)))
    concentration = 4.0
    held = 0
    for _ in range(600):
        of = rng.beta(rate * concentration, (1 - rate) * concentration, 50)[entities]
        right = rng.random(len(of)) < of
        value = float(right.mean())
        influence = (right - value) / len(right)
        found = share(value, two_way(influence, entities, pairs), 50, len(right))
        assert 0.0 <= found.low <= value <= found.high <= 1.0
        held += found.low <= rate <= found.high
    assert held / 600 >= ENOUGH


def test_shares_at_the_ends_are_exact_and_never_certain() -> None:
    for value in (0.0, 1.0):
        found = share(value, Spread(0.0, 5.0), 40, 400)
        assert found.high - found.low == pytest.approx(1 - 0.025 ** (1 / 40))
    assert share(0.5, UNKNOWN, 40, 400)[1:3] == (0.0, 1.0)


def test_the_exact_interval_for_questions_that_err_alone() -> None:
    """Newcombe 1998, table I, method 5: 81/263."""
    p = 81 / 263
    found = share(p, Spread(p * (1 - p) / 263, math.inf), 263, 263)
    assert (found.low, found.high) == pytest.approx((0.2527, 0.3676), abs=1e-3)


def test_holm() -> None:
    """By hand: 4 · 0.005, 3 · 0.01, max(2 · 0.03, …), max(0.04, …)."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_keeps_the_rate_of_any_false_alarm() -> None:
    rng = np.random.default_rng(6)
    assert np.mean([min(holm(rng.random(12).tolist())) <= 0.05 for _ in range(3000)]) <= 0.06


def test_rank_correlations_are_scipys_and_their_intervals_hold() -> None:
    rng = np.random.default_rng(7)
    depth = rng.integers(1, 4, 300)
    searches = np.clip(depth + rng.integers(-1, 2, 300), 0, 4)
    found, _ = spearman(depth, searches, np.arange(300), draws=50)
    assert found.value == pytest.approx(stats.spearmanr(depth, searches).statistic)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3], [0, 1, 2])[0].value)

    def sample(clusters: int) -> tuple[np.ndarray, ...]:
        of = np.repeat(np.arange(clusters), 6)
        x = rng.integers(1, 4, len(of))
        return x, np.clip(x + rng.integers(-1, 2, clusters)[of] + rng.integers(0, 2, len(of)), 0, 4), of

    x, y, _ = sample(60_000)
    truth = stats.spearmanr(x, y).statistic
    held = 0
    for _ in range(300):
        found, spread = spearman(*sample(80), draws=400)
        held += found.low <= truth <= found.high
        assert 0 < spread.variance < 0.01
    assert held / 300 >= ENOUGH - 0.015
