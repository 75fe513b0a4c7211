"""The sentences of a document that fit a query best, in their order."""

from __future__ import annotations

import math
import re
from collections import Counter

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+")
_K1, _B = 1.2, 0.75
"""Of BM25, as in Lucene."""


def fitting(text: str, query: str, most: int) -> str:
    """At most so many sentences of a text, by BM25; the first ones where none fits better.

    >>> fitting("Zo was born. Zo rules Lim. Zo is old. Lim is big.", "who rules Lim", 2)
    'Zo rules Lim. Lim is big.'
    """
    sentences = [sentence for sentence in _SENTENCE.split(text) if sentence.strip()]
    if len(sentences) <= most:
        return text
    words = [Counter(_WORD.findall(sentence.lower())) for sentence in sentences]
    asked = set(_WORD.findall(query.lower()))
    mean = sum(map(Counter.total, words)) / len(words) or 1.0
    weights = {word: _weight(sum(word in own for own in words), len(words)) for word in asked}
    scores = [sum(weights[word] * _count(own, word, mean) for word in asked) for own in words]
    best = sorted(range(len(sentences)), key=lambda n: (-scores[n], n))[:most]
    return " ".join(sentences[n] for n in sorted(best))


def _weight(containing: int, count: int) -> float:
    return math.log(1 + (count - containing + 0.5) / (containing + 0.5))


def _count(words: Counter[str], word: str, mean: float) -> float:
    count = words[word]
    return count / (count + _K1 * (1 - _B + _B * words.total() / mean)) if count else 0.0
