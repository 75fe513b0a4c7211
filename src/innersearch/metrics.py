"""Answer metrics: the only copy. Their intervals are in `innersearch.intervals`.

Normalisation follows the SQuAD evaluation script: lower-case, delete ASCII punctuation, drop the
articles a, an, the, collapse white space. `exact_match` is strict equality after it; `cover_match`
is containment, which ZeroSearch prints as "EM"; the two are never mixed under one name.

One departure from that script, which takes "" and "the" for equal: an answer of which nothing is left,
no letter, digit or sign of mathematics or currency, is no answer. It is never right and never votes.
Gold answers of that kind ("A", "!", "——") are left out where others remain; where none does, an answer
must be as one of them is written, but for case and white space.

    >>> exact_match("The Eiffel Tower!", ["eiffel tower"]), token_f1("Eiffel", "Eiffel Tower")
    (True, 0.6666666666666666)
    >>> exact_match("", ["A"]), exact_match("the", ["A"]), exact_match("a", ["A"])
    (False, False, True)
    >>> round(pass_at_k(n=4, correct=1, k=2), 3)
    0.5
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters of Hangul, by Unicode, that nobody can see."""
_CLOSED = ("yes", "no", "noanswer")
"""What HotpotQA counts as a whole, never by its tokens."""


def normalise(text: str) -> str:
    """SQuAD normalisation of an answer."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def vote(answer: str | None) -> str | None:
    """The normal form under which an answer votes; None if there is none, or nothing is left of it.

    >>> vote("The PARIS!"), vote("the"), vote("——"), vote("3 °"), vote("🎉"), vote("∞"), vote(None)
    ('paris', None, None, '3 °', None, '∞', None)
    """
    normal = "" if answer is None else normalise(answer)
    return normal if any(map(_tells, normal)) else None


def _tells(character: str) -> bool:
    category = unicodedata.category(character)
    return (category[0] in "LN" or category in ("Sm", "Sc")) and character not in _BLANK_LETTERS


class _Golds(NamedTuple):
    normal: list[str]
    """The normal forms of those that say something."""
    plain: list[str]
    """All of them as written, but for case and white space, where none does."""


def _golds(golden_answers: str | Iterable[object]) -> _Golds:
    answers = [golden_answers] if isinstance(golden_answers, str) else golden_answers
    written = [str(answer) for answer in answers]
    normal = [form for form in map(vote, written) if form is not None]
    return _Golds(normal, [] if normal else [form for form in map(_plain, written) if form])


def _plain(text: str) -> str:
    """Empty if there is nothing to see."""
    seen = any(unicodedata.category(c)[0] not in "CZ" and c not in _BLANK_LETTERS for c in text)
    return " ".join(text.casefold().split()) if seen else ""


def exact_match(prediction: str | None, golden_answers: str | Iterable[object]) -> bool:
    """Whether the normalised prediction equals any normalised gold answer. No prediction is wrong."""
    return _is_exact(prediction, _golds(golden_answers))


def _is_exact(prediction: str | None, golds: _Golds) -> bool:
    if prediction is None:
        return False
    return normalise(prediction) in golds.normal or _plain(prediction) in golds.plain


def cover_match(prediction: str | None, golden_answers: str | Iterable[object]) -> bool:
    """Whether the normalised prediction contains any normalised gold answer."""
    if prediction is None:
        return False
    golds, normal = _golds(golden_answers), normalise(prediction)
    return any(gold in normal for gold in golds.normal) or _is_exact(prediction, golds)


def cover_words(prediction: str | None, golden_answers: str | Iterable[object]) -> bool:
    """Whether all words of any gold answer stand in the prediction, in any order (R1-Searcher).

    >>> cover_words("Komar, Belira", ["Belira Komar"]), cover_match("Komar, Belira", ["Belira Komar"])
    (True, False)
    """
    if prediction is None:
        return False
    golds, words = _golds(golden_answers), set(normalise(prediction).split())
    return any(words.issuperset(gold.split()) for gold in golds.normal) or _is_exact(prediction, golds)


def token_f1(prediction: str | None, golden_answers: str | Iterable[object]) -> float:
    """SQuAD's F1: the best token-level F1 over the gold answers, in [0, 1]."""
    return _best(_f1, prediction, golden_answers)


def hotpot_f1(prediction: str | None, golden_answers: str | Iterable[object]) -> float:
    """The F1 of HotpotQA and 2WikiMultihopQA: as SQuAD's, but where the prediction or the gold answer is
    yes, no or noanswer, only equality counts.

    >>> hotpot_f1("no it is", ["no"]), token_f1("no it is", ["no"])
    (0.0, 0.5)
    """
    return _best(_closed_f1, prediction, golden_answers)


_SPACED = str.maketrans(dict.fromkeys(string.punctuation, " "))
_SIGNS = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")
"""What is written without spaces between words, sign by sign."""


def set_f1(prediction: str | None, golden_answers: str | Iterable[object]) -> float:
    """The best F1 over sets of words: lower case, punctuation as space, articles kept, Chinese and
    Japanese by sign (DeepResearcher, ASearcher). An answer of which nothing is left scores 0.

    >>> set_f1("the sea sea", ["The Sea"]), set_f1("co-op", ["co op"]), set_f1("北京市", ["北京"])
    (1.0, 1.0, 0.8)
    """
    golds = [golden_answers] if isinstance(golden_answers, str) else [*map(str, golden_answers)]
    known = [gold for gold in golds if vote(gold) is not None]
    if prediction is None or vote(prediction) is None or not known:
        return float(exact_match(prediction, golds))
    ours = _words(prediction)
    return max(f_beta(ours, _words(gold), 1.0) for gold in known)


def _words(text: str) -> set[str]:
    return set(_SIGNS.sub(r" \1 ", text.lower().translate(_SPACED)).split())


def recall(found: Set[object], wanted: Set[object]) -> float:
    """Share of what is wanted that was found; 0 if nothing is."""
    return len(found & wanted) / len(wanted) if wanted else 0.0


def f_beta(found: Set[object], wanted: Set[object], beta: float = 2.0) -> float:
    """Weighted harmonic mean of precision and recall, recall weighing beta² times as much.

    >>> f_beta({"a", "b"}, {"a"}, 1.0) == 2 / 3, f_beta(set(), {"a"})
    (True, 0.0)
    """
    right = len(found & wanted)
    return (1 + beta**2) * right / (len(found) + beta**2 * len(wanted)) if right else 0.0


def _best(
    f1: Callable[[str, str], float], prediction: str | None, golden_answers: str | Iterable[object]
) -> float:
    golds, normal = _golds(golden_answers), vote(prediction)
    if not golds.normal or normal is None:
        return float(_is_exact(prediction, golds))
    return max(f1(normal, gold) for gold in golds.normal)


def _f1(predicted: str, gold: str) -> float:
    ours, theirs = predicted.split(), gold.split()
    overlap = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * overlap / (len(ours) + len(theirs))


def _closed_f1(predicted: str, gold: str) -> float:
    closed = predicted in _CLOSED or gold in _CLOSED
    return float(predicted == gold) if closed else _f1(predicted, gold)


F1_RULES: dict[str, Callable[[str | None, str | Iterable[object]], float]] = {
    "SQuAD": token_f1,
    "HotpotQA": hotpot_f1,
}
"""The F1 of the benchmarks, by whose official script it is."""

_SOURCES = ("data_source", "group", "split", "dataset", "source")
"""Where metadata name the benchmark of a question; the first that is there counts."""
_OTHER_BENCHMARKS = re.compile(r"(nq|triviaqa|popqa|musique|bamboogle|squad|webq\w*|naturalquestions)")


def f1_rule(metadata: Mapping[str, Any]) -> str:
    """By whose script a question is scored, by the benchmark that its metadata name.

    Labels as FlashRAG, Search-R1, the hub and file names have them; one that names several benchmarks
    names none.

    >>> [f1_rule({"data_source": s}) for s in ("searchR1_hotpotqa", "2WikiMultiHopQA", "nq")]
    ['HotpotQA', 'HotpotQA', 'SQuAD']
    """
    labels = (metadata.get(key) for key in _SOURCES)
    label = next((label for label in labels if label and isinstance(label, str)), "").lower()
    words = re.split(r"[^a-z0-9]+", label)
    if any(map(_OTHER_BENCHMARKS.fullmatch, words)):
        return "SQuAD"
    return "HotpotQA" if re.search(r"hotpot|2wiki", "".join(words)) else "SQuAD"


def majority(
    answers: Sequence[str | None], golden_answers: str | Iterable[object] | None = None
) -> str | None:
    """The most frequent answer by normalised form, as first written; ties go to the first seen.

    Missing answers do not vote, nor do those of which nothing is left when they are normalised. None if
    nobody voted.

    Args:
        answers: The answers.
        golden_answers: Where they are known and all vanish when they are normalised, as the letter "A"
            does, answers vote as they are written, but for case and white space.
    """
    by_letter = golden_answers is not None and not _golds(golden_answers).normal
    forms = [vote(a) if a is None or not by_letter else _plain(a) or None for a in answers]
    votes = Counter(form for form in forms if form is not None)
    if not votes:
        return None
    return answers[forms.index(votes.most_common(1)[0][0])]


def maj_at_k(answers: Sequence[str | None], golden_answers: str | Iterable[object], k: int) -> float:
    """Whether the majority of the first `k` answers is right (0.0 or 1.0); NaN if there are fewer."""
    if k > len(answers):
        return math.nan
    golds = [golden_answers] if isinstance(golden_answers, str) else list(golden_answers)
    return float(exact_match(majority(answers[:k], golds), golds))


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
