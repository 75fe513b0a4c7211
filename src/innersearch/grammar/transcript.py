"""What the policy wrote: trajectories without what was put into them."""

from __future__ import annotations

from innersearch.grammar.tags import render
from innersearch.types import Kind, Source, Trajectory

PLACEHOLDER = "…"
"""Stands for the content of injected information in a transcript."""

_POLICY_WRITTEN = (Source.POLICY, Source.SELF_SEARCH)


def transcript(trajectory: Trajectory) -> str:
    """What the policy wrote, in order, with each injected run of spans as an information placeholder."""
    parts: list[str] = []
    for segment in trajectory.segments:
        injected = False
        for span in segment.spans:
            if span.source is Source.TEMPLATE:
                continue
            if span.source in _POLICY_WRITTEN:
                parts.append(span.text)
            elif not injected:
                parts.append(render(Kind.INFORMATION, PLACEHOLDER))
            injected = span.source not in _POLICY_WRITTEN
    return "".join(parts)
