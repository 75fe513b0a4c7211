"""What a policy writes and how it is read: grammars as values, blocks, masks, markup made harmless."""

from innersearch.extensions import Offers
from innersearch.grammar.asearcher import ASEARCHER
from innersearch.grammar.base import ANSWER, Action, Block, Grammar, Malformed, Reading, Reason, Tag
from innersearch.grammar.blocks import Mark, Open, Scanner, last_answer, scan
from innersearch.grammar.direct import DIRECT
from innersearch.grammar.harness import HARNESS
from innersearch.grammar.markup import is_markup, neutralise
from innersearch.grammar.masks import Label, MaskRule, intervals, label
from innersearch.grammar.r1_searcher import R1_SEARCHER
from innersearch.grammar.rag_r1 import RAG_R1, RAG_R1_SINGLE, several_queries
from innersearch.grammar.readings import json_call, one, separated
from innersearch.grammar.tags import TAGS
from innersearch.grammar.tool_calls import (
    DEEP_RESEARCHER,
    DEEP_RESEARCHER_PLAIN,
    TOOL_CALL,
    TOOL_CALLS,
    tool_calls,
)

GRAMMARS: dict[str, Grammar] = {
    grammar.name: grammar
    for grammar in (
        *(TAGS, R1_SEARCHER, RAG_R1, RAG_R1_SINGLE, TOOL_CALL, TOOL_CALLS),
        *(DEEP_RESEARCHER, DEEP_RESEARCHER_PLAIN, ASEARCHER, DIRECT, HARNESS),
    )
}
"""Ours, by name."""
OFFERS = Offers("innersearch.grammars", Grammar, "grammar", GRAMMARS)
"""Those and what other packages offer."""


def grammar_of(grammar: str | Grammar) -> Grammar:
    """The grammar of that name, ours or of an installed package; a grammar is itself.

    Raises:
        ConfigError: There is none of that name, or what a package offers is none.
    """
    return grammar if isinstance(grammar, Grammar) else OFFERS.get(grammar)


__all__ = [
    "ANSWER",
    "GRAMMARS",
    "HARNESS",
    "OFFERS",
    "TAGS",
    "Action",
    "Block",
    "Grammar",
    "Label",
    "Malformed",
    "Mark",
    "MaskRule",
    "Open",
    "Reading",
    "Reason",
    "Scanner",
    "Tag",
    "grammar_of",
    "intervals",
    "is_markup",
    "json_call",
    "label",
    "last_answer",
    "neutralise",
    "one",
    "scan",
    "separated",
    "several_queries",
    "tool_calls",
]
