"""Kinds of queries, and whether an engine contradicts what a policy wrote for one: words, no model.

The kind of a query is its words without names, numbers and words that stand in every query, in
alphabetical order. A name is a word with a capital letter that is not the first one. What a text
tells are its names and numbers that the query does not have, or all its words where it has none.

    >>> kind_of("Who is the mayor of Chicago?"), kind_of("company Belira works for")
    ('mayor', 'company works')
    >>> found = [Document("1", "Belira", "Belira has worked for Nortek since 2021.")]
    >>> contradicts("Belira works for Coltek.", "employer of Belira", found)
    True
    >>> contradicts("The employer of Belira is Nortek.", "employer of Belira", found)
    False
    >>> contradicts("Belira works for Coltek.", "employer of Gomek", found) is None
    True
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from innersearch.types import Document

_WORD = re.compile(r"[^\W_]+")
_EVERYWHERE = frozenset(
    "a an and are as at be been by can current currently did do does for from had has have he her his "
    "how in is it its latest me name now of on or s she t tell that the their they this to today was "
    "were what when where which who whom whose why will with would".split()
)
"""Words that say nothing about what is asked; English only, and in other languages they all count."""
_SUPPORTED = 0.5
"""Share of what a text tells that must be found for it to be supported."""


def kind_of(query: str) -> str:
    """The words that tell what is asked, whoever it is about; empty if there are none."""
    names = _names(query)
    words = {w for w in map(str.casefold, _WORD.findall(query)) if w not in _EVERYWHERE}
    return " ".join(sorted(w for w in words if w not in names))


def alike(one: str, other: str) -> float:
    """How much two kinds have in common: shared words over all words (Jaccard), 0 to 1.

    >>> alike("mayor", "mayor"), alike("mayor", "elected mayor"), alike("mayor", "spouse")
    (1.0, 0.5, 0.0)
    """
    if one == other:
        return 1.0
    mine, theirs = set(one.split()), set(other.split())
    return len(mine & theirs) / max(1, len(mine | theirs))


def contradicts(own: str, query: str, documents: Sequence[Document]) -> bool | None:
    """Whether documents on the subject of a query lack what a policy wrote for it.

    None where nothing can be told: the policy wrote nothing new, or no document has all the names of
    the query. Documents that say both the old and the new contradict neither.
    """
    # A year in a query need not stand in what answers it.
    about = {name for name in _names(query) if name.isalpha()}
    on_topic = [words for words in map(_words, documents) if about <= words]
    asked = {word.casefold() for word in _WORD.findall(query)}
    told = _names(own) - asked
    if not told:
        told = {w for w in map(str.casefold, _WORD.findall(own)) if w not in _EVERYWHERE} - asked
    if not told or not on_topic:
        return None
    found = set.union(*on_topic)
    return len(told & found) / len(told) < _SUPPORTED


def _words(document: Document) -> set[str]:
    return {word.casefold() for word in _WORD.findall(f"{document.title} {document.text}")}


def _names(text: str) -> set[str]:
    return {word.casefold() for word in _named(text)}


def _named(text: str) -> Iterator[str]:
    """Words with a digit, and those with a capital letter that does not come from their place."""
    words = list(_WORD.finditer(text))
    for word in words:
        if any(map(str.isdigit, word[0])):
            yield word[0]
    for before, word in pairwise(words):
        begins = re.search(r"[.!?:]\s", text[before.end() : word.start() + 1])
        if word[0][0].isupper() and not begins:
            yield word[0]
