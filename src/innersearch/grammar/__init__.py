"""What a policy writes and how it is read: grammars as values, blocks, masks, markup made harmless."""

from innersearch.grammar.base import ANSWER, Action, Block, Grammar, Malformed, Reading, Reason, Tag
from innersearch.grammar.blocks import Mark, Open, Scanner, last_answer, scan
from innersearch.grammar.markup import is_markup, neutralise
from innersearch.grammar.masks import Label, MaskRule, intervals, label
from innersearch.grammar.readings import json_call, one, separated
from innersearch.grammar.tags import TAGS
from innersearch.types import Kind

TAGGED = (Kind.THINK, Kind.SEARCH, Kind.INFORMATION, Kind.ANSWER)
opening, closing, render = TAGS.opening, TAGS.closing, TAGS.render

__all__ = [
    "ANSWER",
    "TAGGED",
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
    "closing",
    "intervals",
    "is_markup",
    "json_call",
    "label",
    "last_answer",
    "neutralise",
    "one",
    "opening",
    "render",
    "scan",
    "separated",
]
