"""Measures of searching: whether a policy asked, and what came of it."""

from __future__ import annotations

from innersearch.metrics import recall
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import measure
from innersearch.types import Kind

SUPPORTING = "supporting_documents"
"""Where the metadata of a question name the ids of the documents that answer it."""


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


@measure("pool_recall", needs_gold=True)
def pool_recall(scored: Scored) -> float:
    """Share of the supporting documents that any call returned; 0 where the question names none."""
    named = scored.trajectory.question.metadata.get(SUPPORTING) or ()
    wanted = set(map(str, named if isinstance(named, list | tuple) else [named]))
    return recall({document.id for call in scored.calls for document in call.documents}, wanted)
