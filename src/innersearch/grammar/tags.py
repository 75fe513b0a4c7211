"""The tags of Search-R1, ZeroSearch and SSRL, which are the default everywhere.

    <think>…</think> <search>a query</search> <information>documents</information> <answer>…</answer>

A query is read as it is, even an empty one, and so is the answer.
"""

from __future__ import annotations

from innersearch.grammar.base import ANSWER, Grammar, Tag
from innersearch.grammar.readings import one
from innersearch.types import Kind


def tag(name: str) -> Tag:
    """The tags `<name>` and `</name>`."""
    return Tag(f"<{name}>", f"</{name}>")


TAGS = Grammar(
    "tags",
    {kind: tag(kind) for kind in (Kind.THINK, Kind.SEARCH, Kind.INFORMATION, Kind.ANSWER)},
    {Kind.SEARCH: one("search", empty=True), Kind.ANSWER: one(ANSWER, empty=True)},
)
"""One query at a time, thoughts before it, and whatever comes back in between."""
