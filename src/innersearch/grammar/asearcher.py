"""The tags of ASearcher's agent for base models: a query or the address of a page, one at a time.

    <think>…</think><search>a query</search>  or  <access>an address</access>

The framework begins each thought.
"""

from __future__ import annotations

from innersearch.grammar.base import ANSWER, Grammar
from innersearch.grammar.readings import one
from innersearch.grammar.tags import TAGS, tag
from innersearch.types import Kind

ASEARCHER = Grammar(
    "asearcher",
    {**TAGS.tags, Kind.OPEN: tag("access")},
    {
        Kind.SEARCH: one("search"),
        Kind.OPEN: one("open"),
        Kind.ANSWER: one(ANSWER, empty=True),
    },
    begins="<think>",
)
"""A reply ends with its first request."""
