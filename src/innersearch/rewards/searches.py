"""Measures of searching: whether a policy asked, and what came of it."""

from __future__ import annotations

from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import measure
from innersearch.types import Kind


@measure("searched")
def searched(scored: Scored) -> float:
    """Whether the policy asked for anything, whoever answered it."""
    asks = set(scored.grammar.reads) - {Kind.ANSWER}
    return float(
        any(b.kind in asks and b.closed and b.content(scored.text).strip() for b in scored.blocks)
    )


@measure("retrieved")
def retrieved(scored: Scored) -> float:
    """Whether a call returned documents: it takes more than to write down what looks like some."""
    return float(any(call.documents and call.error is None for call in scored.calls))
