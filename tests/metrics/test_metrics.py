from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innersearch.metrics import (
    cover_match,
    exact_match,
    f1_rule,
    hotpot_f1,
    maj_at_k,
    majority,
    normalise,
    pass_at_k,
    token_f1,
    vote,
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
    ("the", ["a"], False, False, 0.0),
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


NOTHING_LEFT = [
    *(
        "",
        " ",
        "\n",
        "a",
        "The",
        "AN",
        "a an the",
        "!",
        "...",
        "'",
        "the.",
        "\u00a0",
        "\u200b",
        "\ufeff",
    ),
    *(
        "——",
        "…",
        "「」",
        "。",
        "、！",
        "«»",
        "“”",
        "·",
        "🎉",
        "👩‍🚀",
        "🏳️",
        "\u0301",
        "\u0301\u0300",
        "\u3164",
        "\u2800",
    ),
]


@pytest.mark.parametrize("answer", NOTHING_LEFT)
def test_an_answer_of_which_nothing_is_left_never_scores_and_never_votes(answer: str) -> None:
    for golds in (["Paris"], ["Paris", answer], ["A "], ["the A", "x"], [], [""], ["", "Paris"]):
        if answer.casefold().strip() in [
            gold.casefold().strip() for gold in golds if "Paris" not in golds
        ]:
            continue
        assert not exact_match(answer, golds), golds
        assert not cover_match(answer, golds)
        assert token_f1(answer, golds) == hotpot_f1(answer, golds) == 0.0
    assert vote(answer) is None
    assert majority([answer] * 3) is None
    assert majority([answer, answer, "Rome"]) == "Rome"
    assert maj_at_k([answer] * 2 + ["Rome"], ["Rome"], 3) == 1.0


@pytest.mark.parametrize(
    "gold", [g for g in NOTHING_LEFT if g.strip() and g not in "\u00a0\u200b\ufeff\u3164"]
)
def test_a_gold_answer_that_vanishes_counts_as_written_where_no_other_remains(gold: str) -> None:
    for golds in ([gold], [gold, ""], [gold, "an"]):
        assert exact_match(f" {gold.upper()} ", golds)
        assert cover_match(gold, golds)
        assert token_f1(gold, golds) == hotpot_f1(gold, golds) == 1.0
        assert maj_at_k([gold, gold, "Rome"], golds, 3) == 1.0
        for wrong in ("", None, "the A", "Paris", f"x {gold}", "?"):
            assert not exact_match(wrong, golds)
            assert not cover_match(wrong, golds)
            assert token_f1(wrong, golds) == 0.0
    # Where another remains, it says nothing, for the answer as for the documents that hold it.
    assert not exact_match(gold, [gold, "Alpha"])
    assert not cover_match(f"see {gold} here", [gold, "Alpha"])
    assert exact_match("alpha", [gold, "Alpha"])


@pytest.mark.parametrize("answer", ["7", "½", "٣", "Ω", "漢", "∞", "€", "C++", "ª", "ａ", "é", "ก"])
def test_an_answer_of_one_sign_that_says_something_is_an_answer(answer: str) -> None:
    assert exact_match(answer, [answer, "Paris"])
    assert vote(answer)


def test_a_letter_votes_only_where_letters_are_the_gold_answers() -> None:
    assert maj_at_k(["A", "a", "B"], ["A"], 3) == 1.0
    assert maj_at_k(["the", "the", "A"], ["A"], 3) == 0.0
    assert maj_at_k(["", "", "A"], ["A"], 3) == 1.0
    assert maj_at_k(["A", "A", "B"], ["B"], 3) == 1.0


@pytest.mark.parametrize(
    ("metadata", "rule"),
    [
        ({"data_source": "hotpotqa"}, "HotpotQA"),
        ({"data_source": "searchR1_hotpotqa"}, "HotpotQA"),
        ({"data_source": "2wikimultihopqa"}, "HotpotQA"),
        ({"data_source": "searchR1_2wikimultihopqa"}, "HotpotQA"),
        ({"data_source": "RUC-NLPIR/FlashRAG_datasets/2WikiMultihopQA"}, "HotpotQA"),
        ({"data_source": "hotpot_qa"}, "HotpotQA"),
        ({"data_source": "hotpot_dev_distractor_v1"}, "HotpotQA"),
        ({"data_source": "2wiki_multihop"}, "HotpotQA"),
        ({"group": "hotpotqa/test"}, "HotpotQA"),
        ({"split": "hotpotqa-dev"}, "HotpotQA"),
        ({"data_source": "nq", "split": "hotpotqa"}, "SQuAD"),
        ({"data_source": "nq_hotpotqa_train"}, "SQuAD"),
        *(
            ({"data_source": f"{prefix}{name}"}, "SQuAD")
            for name in ("nq", "triviaqa", "popqa", "musique", "bamboogle", "frames", "simpleqa")
            for prefix in ("", "searchR1_")
        ),
        ({"data_source": 7}, "SQuAD"),
        ({}, "SQuAD"),
    ],
)
def test_f1_is_that_of_the_benchmark(metadata: dict, rule: str) -> None:
    assert f1_rule(metadata) == rule


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20), st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_scores_are_ordered(prediction: str, golds: list[str]) -> None:
    em, f1 = exact_match(prediction, golds), token_f1(prediction, golds)
    assert 0.0 <= f1 <= 1.0
    if em:
        assert f1 == 1.0
    if em:
        assert cover_match(prediction, golds)
