"""The tags of RAG-R1, with several queries in one search.

    <search>one query, another, a third</search>

A query that holds a comma is written in a JSON list. A search without queries, and a reply that neither
searches nor answers, is told to the policy, which goes on.
"""

from __future__ import annotations

from innersearch.grammar.base import ANSWER, Grammar
from innersearch.grammar.readings import one, separated
from innersearch.grammar.tags import TAGS
from innersearch.types import Kind


def several_queries(name: str, by: str = ",", most: int = 3) -> Grammar:
    """The default tags with up to `most` queries in a search, `by` between them."""
    return Grammar(
        name,
        TAGS.tags,
        {Kind.SEARCH: separated("search", by, most), Kind.ANSWER: one(ANSWER, empty=True)},
        demands=True,
    )


RAG_R1 = several_queries("rag-r1")
"""Up to three queries with commas between them."""
RAG_R1_SINGLE = several_queries("rag-r1-single", by="\n", most=1)
"""One query; what stands on further lines is dropped and counted."""
