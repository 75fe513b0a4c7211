"""Answers without search, the baseline: thoughts if there are any, and then nothing but the answer.

    <think>…</think> Lima

Nothing can be asked for. The answer is all that is said after the last thought, as `innersearch eval
--direct` reads it; tags around it are taken off.
"""

from __future__ import annotations

from innersearch.grammar.base import ANSWER, Grammar
from innersearch.grammar.readings import one
from innersearch.grammar.tags import tag
from innersearch.types import Kind

DIRECT = Grammar(
    "direct",
    {kind: tag(kind) for kind in (Kind.THINK, Kind.INFORMATION, Kind.ANSWER)},
    {Kind.ANSWER: one(ANSWER, empty=True)},
    untagged=True,
)
"""Whoever writes `<search>` all the same has written text."""
