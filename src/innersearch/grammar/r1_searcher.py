"""The markers of R1-Searcher: queries and documents stand inside one thought, which goes on after them.

    <think>… <|begin_of_query|>keywords<|end_of_query|>
    <|begin_of_documents|>…<|end_of_documents|> …</think><answer>…</answer>

The framework begins the thought, since the published prompt ends in `<think>`. Of a query quotes are
taken off, and an empty one ends the trajectory, as in the released code (experience_maker.py). An
apostrophe stays, which the released code takes off as well. Markers in an answer are a part of it, since
rewards count them there.
"""

from __future__ import annotations

from innersearch.grammar.base import ANSWER, Action, Grammar, Malformed, Reason, Tag
from innersearch.grammar.readings import one
from innersearch.grammar.tags import tag
from innersearch.types import Kind

_QUOTES = str.maketrans(dict.fromkeys('"“”„«»', " "))


def keywords(content: str) -> tuple[Action, ...] | Malformed:
    """A query without quotes, with single spaces.

    >>> keywords(' "Goltek"  founder ')[0].inputs
    ('Goltek founder',)
    """
    query = " ".join(content.translate(_QUOTES).split())
    return (Action("search", (query,)),) if query else Malformed(Reason.EMPTY)


R1_SEARCHER = Grammar(
    "r1-searcher",
    {
        Kind.THINK: tag("think"),
        Kind.SEARCH: Tag("<|begin_of_query|>", "<|end_of_query|>"),
        Kind.INFORMATION: Tag("<|begin_of_documents|>", "<|end_of_documents|>"),
        Kind.ANSWER: tag("answer"),
    },
    {Kind.SEARCH: keywords, Kind.ANSWER: one(ANSWER, empty=True)},
    begins="<think>",
    nested=frozenset({Kind.SEARCH, Kind.INFORMATION}),
    opaque=frozenset({Kind.ANSWER}),
    malformed="end",
)
"""One query at a time, inside the thought."""
