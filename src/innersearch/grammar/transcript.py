"""What the policy wrote: trajectories without what was put into them."""

from __future__ import annotations

from innersearch.grammar.base import Grammar
from innersearch.grammar.tags import TAGS
from innersearch.types import Kind, Source, Trajectory

PLACEHOLDER = "…"
"""Stands for the content of injected information in a transcript."""

_POLICY_WRITTEN = (Source.POLICY, Source.SELF_SEARCH)


def transcript(trajectory: Trajectory, grammar: Grammar = TAGS) -> str:
    """What the policy wrote, in order, with each injected run of spans as an information placeholder.

    What the framework writes first in a reply, a thought's beginning, is taken for the policy's.
    """
    placeholder = grammar.render(Kind.INFORMATION, PLACEHOLDER)
    parts: list[str] = []
    for segment in trajectory.segments:
        injected = False
        for span in segment.spans:
            if span.source is Source.TEMPLATE:
                continue
            begins = span.source is Source.FORCED and span.kind is not Kind.INFORMATION
            own = begins or span.source in _POLICY_WRITTEN
            if own:
                parts.append(span.text)
            elif not injected:
                parts.append(placeholder)
            injected = not own
    return "".join(parts)
