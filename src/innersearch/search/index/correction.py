"""Spelling correction of query words, as web search engines do it: policies now and then misspell names.

Only words that no document has are corrected, to the word of the corpus that is nearest in spelling
among those with the same first letters, where people and models rarely err.

    >>> Corrections(["dunado", "duntek", "minali"]).nearest("dununa")
    'dunado'
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from difflib import get_close_matches

_SAME = 3
"""Letters at the beginning that are taken to be right."""
_SIMILARITY = 0.6
"""Least similarity of a correction (difflib's ratio, of 1)."""


class Corrections:
    """The words of a corpus, in the order in which corrections are looked up."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted(words)

    def nearest(self, word: str) -> str | None:
        """The known word nearest to one that is not known; None if none is near."""
        begin = word[:_SAME]
        if len(begin) < _SAME:
            return None
        first, last = (bisect_left(self._words, key) for key in (begin, begin + "\U0010ffff"))
        found = get_close_matches(word, self._words[first:last], n=1, cutoff=_SIMILARITY)
        return found[0] if found else None
