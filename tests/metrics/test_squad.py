"""EM and F1 against the official scoring of SQuAD 2.0 and of HotpotQA, written here once more from their
descriptions.

Answers of which nothing is left are the one exception: officially they equal gold answers of that kind.
"""

from __future__ import annotations

import random
import re
import string
from collections import Counter

from innersearch.metrics import exact_match, hotpot_f1, normalise, token_f1, vote

PAIRS = 12_000
PUNCTUATION = set(string.punctuation)
WORDS = [
    *("the", "a", "an", "The", "AN", "anthem", "theatre", "Paris", "paris", "PARIS", "new", "York"),
    *("1,000", "1000", "3.14", "314", "3-14", "1999–2000", "½", "²", "٣", "yes", "no", "Yes.", "not"),
    *(
        "Zürich",
        "zurich",
        "Zu\u0308rich",
        "ﬁne",
        "STRASSE",
        "Straße",
        "İstanbul",
        "Ω",
        "漢字",
        "🎉",
        "O'Neill",
    ),
    *(
        "“quoted”",
        '"quoted"',
        "it’s",
        "it's",
        "U.S.A.",
        "usa",
        "A.",
        "a-b",
        "a_b",
        "<answer>",
        "&",
        "—",
        "…",
    ),
]
SPACES = [" ", "  ", "\t", "\n", "\u00a0", "\u2009", "\u200b", "-", ", ", ""]
WHOLE = [
    "",
    " ",
    ".",
    "the",
    "A",
    "an the",
    "yes",
    "No!",
    "\u00a0",
    "0",
    "-1",
    "'",
    "ａ",
    "THE\u00a0a",
    "\x1f",
]


def official_normalise(text: str) -> str:
    text = text.lower()
    text = "".join(character for character in text if character not in PUNCTUATION)
    text = re.compile(r"\b(a|an|the)\b", re.UNICODE).sub(" ", text)
    return " ".join(text.split())


def official_exact(gold: str, predicted: str) -> int:
    return int(official_normalise(gold) == official_normalise(predicted))


def official_f1(gold: str, predicted: str) -> float:
    gold_tokens = official_normalise(gold).split()
    predicted_tokens = official_normalise(predicted).split()
    common = sum((Counter(gold_tokens) & Counter(predicted_tokens)).values())
    if not gold_tokens or not predicted_tokens:
        return float(gold_tokens == predicted_tokens)
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted_tokens), common / len(gold_tokens)
    return 2 * precision * recall / (precision + recall)


def hotpot_official_f1(gold: str, predicted: str) -> float:
    """As by hotpot_evaluate_v1.py, and by 2wikimultihop_evaluate.py, which is the same here."""
    ours, theirs = official_normalise(predicted), official_normalise(gold)
    for one, other in ((ours, theirs), (theirs, ours)):
        if one in {"yes", "no", "noanswer"} and one != other:
            return 0.0
    shared = Counter(ours.split()) & Counter(theirs.split())
    found = sum(shared.values())
    if not found:
        return 0.0
    precision, recall = found / len(ours.split()), found / len(theirs.split())
    return 2 * precision * recall / (precision + recall)


def phrase(rng: random.Random) -> str:
    if rng.random() < 0.1:
        return rng.choice(WHOLE)
    if rng.random() < 0.05:
        codes = [*range(32, 0x250), *range(0x2000, 0x2100)]
        return "".join(map(chr, rng.choices(codes, k=5)))
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randint(1, 6)))


def variant(text: str, rng: random.Random) -> str:
    """Often nearly the same, so that equal, partly equal and different pairs all occur."""
    changes = [
        *(str.upper, str.title, str.strip, lambda t: f"the {t}."),
        *(lambda t: t.replace(",", ""), lambda _: phrase(rng)),
    ]
    return rng.choice(changes)(text)


def test_no_disagreement_with_the_official_scoring() -> None:
    rng = random.Random(7)
    exact = partial = empty = 0
    for _ in range(PAIRS):
        golds = [phrase(rng) for _ in range(rng.randint(1, 3))]
        predicted = variant(rng.choice(golds), rng)
        assert normalise(predicted) == official_normalise(predicted), repr(predicted)
        telling = [gold for gold in golds if vote(gold) is not None]
        if vote(predicted) is None or not telling:
            empty += 1
            continue
        em = max(official_exact(gold, predicted) for gold in telling)
        f1 = max(official_f1(gold, predicted) for gold in telling)
        hotpot = max(hotpot_official_f1(gold, predicted) for gold in telling)
        assert exact_match(predicted, golds) == bool(em), (predicted, golds)
        assert abs(token_f1(predicted, golds) - f1) < 1e-12, (predicted, golds)
        assert abs(hotpot_f1(predicted, golds) - hotpot) < 1e-12, (predicted, golds)
        exact, partial = exact + em, partial + (0 < f1 < 1)
    # All kinds of pairs were there.
    assert min(exact, partial, empty, PAIRS - exact) > PAIRS / 50


def test_yes_and_no_are_whole_answers_in_hotpotqa() -> None:
    """As no other benchmark: there every word of an answer counts."""
    rng = random.Random(8)
    words = ["yes", "no", "noanswer", "No.", "the yes", "it is", "not", "Paris"]
    other = 0
    for _ in range(3000):
        predicted, *golds = [" ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(3)]
        hotpot = max(hotpot_official_f1(gold, predicted) for gold in golds)
        assert abs(hotpot_f1(predicted, golds) - hotpot) < 1e-12, (predicted, golds)
        other += hotpot != token_f1(predicted, golds)
    assert other > 300
    assert (hotpot_f1("yes", ["yes it is"]), hotpot_f1("no Paris", ["no"])) == (0.0, 0.0)
    assert hotpot_f1("Yes!", ["yes"]) == hotpot_f1("noanswer", ["noanswer", "yes"]) == 1.0


def test_cases_that_are_easily_got_wrong() -> None:
    for predicted, gold, em, f1 in (
        ("1,000", "1000", True, 1.0),
        ("“Paris”", "Paris", False, 0.0),
        ("", "Paris", False, 0.0),
        ("Yes.", "yes", True, 1.0),
        ("no", "yes", False, 0.0),
        ("New York City", "new york", False, 0.8),
        ("anthem", "the anthem", True, 1.0),
        ("Zürich", "Zurich", False, 0.0),
    ):
        assert exact_match(predicted, [gold]) is em
        assert token_f1(predicted, [gold]) == f1
        assert official_exact(gold, predicted) == em
        assert official_f1(gold, predicted) == f1
