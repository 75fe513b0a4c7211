from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innersearch.metrics import (
    bootstrap,
    cover_match,
    exact_match,
    maj_at_k,
    majority,
    normalise,
    pass_at_k,
    token_f1,
    wilson,
)

GOLDEN = [
    # prediction, gold answers, EM, cover EM, F1
    ("The Eiffel Tower!", ["eiffel tower"], True, True, 1.0),
    ("Paris, France", ["Paris"], False, True, 2 / 3),
    ("Paris", "Paris", True, True, 1.0),
    ("Paris", ("London", "Paris"), True, True, 1.0),
    ("7", np.array(["seven", "7"], dtype=object), True, True, 1.0),
    ("1,000", ["1000"], True, True, 1.0),
    ("3.14", ["314"], True, True, 1.0),
    ("naïve Café", ["Naïve café"], True, True, 1.0),
    ("naive cafe", ["naïve café"], False, False, 0.0),
    ("東京", ["東京"], True, True, 1.0),
    ("“Paris”", ["Paris"], False, True, 0.0),
    ("an apple a day", ["apple day"], True, True, 1.0),
    ("theatre", ["atre"], False, True, 0.0),
    ("", ["Paris"], False, False, 0.0),
    (None, ["Paris"], False, False, 0.0),
    ("the", ["a"], True, False, 1.0),
    ("Paris", [], False, False, 0.0),
    ("well-known", ["wellknown"], True, True, 1.0),
    ("  Paris\n", ["paris"], True, True, 1.0),
    ("red red blue", ["red blue blue"], False, False, 2 / 3),
    ("42", [42], True, True, 1.0),
]


@pytest.mark.parametrize(("prediction", "golds", "em", "cover", "f1"), GOLDEN)
def test_golden_cases(prediction, golds, em, cover, f1) -> None:
    assert exact_match(prediction, golds) is em
    assert cover_match(prediction, golds) is cover
    assert token_f1(prediction, golds) == pytest.approx(f1)


def test_normalisation_deletes_punctuation_before_articles() -> None:
    assert normalise("A.B. the-an X") == "ab thean x"


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_pass_at_k_equals_the_share_of_subsets_with_a_right_sample(n: int) -> None:
    for correct in range(n + 1):
        samples = [1] * correct + [0] * (n - correct)
        for k in range(1, n + 1):
            subsets = [any(subset) for subset in combinations(samples, k)]
            assert pass_at_k(n, correct, k) == pytest.approx(sum(subsets) / len(subsets))


def test_pass_at_k_is_nan_with_too_few_samples_and_refuses_nonsense() -> None:
    assert math.isnan(pass_at_k(4, 2, 8))
    for arguments in ((4, 5, 1), (4, -1, 1), (4, 1, 0)):
        with pytest.raises(ValueError, match="pass@k needs"):
            pass_at_k(*arguments)


def test_pass_at_1024_does_not_overflow() -> None:
    assert pass_at_k(1024, 3, 512) == pytest.approx(1 - (0.5**3), abs=2e-3)


def test_majority_votes_by_normal_form_and_breaks_ties_by_first_seen() -> None:
    assert majority(["Rome", None, "the Rome", "Paris"]) == "Rome"
    assert majority(["Paris", "Rome"]) == "Paris"
    assert majority([None, None]) is None
    assert maj_at_k(["Paris", "Rome", "Rome"], ["Rome"], 3) == 1.0
    assert maj_at_k(["Paris", "Rome", "Rome"], ["Rome"], 1) == 0.0
    assert math.isnan(maj_at_k(["Rome"], ["Rome"], 2))


def test_wilson_agrees_with_published_values() -> None:
    """Newcombe 1998, table I: 81/263, 15/148, 0/20."""
    for successes, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ):
        estimate = wilson(successes, n)
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-4)
    assert math.isnan(wilson(0, 0).value)
    assert all(wilson(0, n).low == 0.0 and wilson(n, n).high == 1.0 for n in range(1, 400))


def test_bootstrap_covers_the_mean_and_keeps_nan() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        estimate = bootstrap(rng.binomial(1, 0.3, size=100), seed=trial)
        covered += estimate.low <= 0.3 <= estimate.high
    assert 180 <= covered <= 199
    assert math.isnan(bootstrap([1.0, math.nan]).value)
    assert math.isnan(bootstrap([]).value)
    assert bootstrap([0.2, 0.4], seed=1) == bootstrap([0.2, 0.4], seed=1)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20), st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_scores_are_ordered(prediction: str, golds: list[str]) -> None:
    em, f1 = exact_match(prediction, golds), token_f1(prediction, golds)
    assert 0.0 <= f1 <= 1.0
    if em:
        assert f1 == 1.0
    if em and normalise(prediction):
        assert cover_match(prediction, golds)
