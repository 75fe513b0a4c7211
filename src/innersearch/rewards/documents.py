"""Measures of a set of documents against the ones that a question is to be answered from (Harness-1).

The gold documents are those that the metadata of a question name, as `supporting_documents` or
`documents`; of these, `answer_documents` hold the answer itself. The set is what the policy chose, the
pool what its calls returned. All measures read ids, calls and how the trajectory ended, never a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from innersearch.metrics import f_beta, recall
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import measure
from innersearch.types import StopReason

SUPPORTING, ANSWERING = "supporting_documents", "answer_documents"
"""Where the metadata of a question name the ids of documents: those that answer it, and of these the
ones that hold the answer.
"""
_PLAIN = "documents"
READ_DOCUMENTS = (
    *("set_recall", "set_precision", "f_beta", "pool_recall"),
    *("answer_curated", "answer_recall", "answer_pool_recall"),
)
"""Measures that say nothing where no question names documents."""
_FIRST_LATE_TURN = 20
_TOOLS = 6
"""Kinds of tools from which on a policy uses enough of them."""


def gold_documents(metadata: Mapping[str, Any]) -> set[object]:
    """The ids of the documents that a question is to be answered from."""
    return _ids(metadata.get(SUPPORTING) or metadata.get(_PLAIN))


def _ids(named: object) -> set[object]:
    listed = named if isinstance(named, list | tuple) else [named] if named else []
    return set(map(str, listed))


def _gold(scored: Scored) -> set[object]:
    return gold_documents(scored.trajectory.question.metadata)


def _answers(scored: Scored) -> set[object]:
    return _ids(scored.trajectory.question.metadata.get(ANSWERING))


def _chosen(scored: Scored) -> set[object]:
    return set(scored.trajectory.chosen or ())


def _pool(scored: Scored) -> set[object]:
    return {document.id for call in scored.calls if call.error is None for document in call.documents}


@measure("pool_recall")
def pool_recall(scored: Scored) -> float:
    """Share of the gold documents that any call returned; 0 where the question names none."""
    return recall(_pool(scored), _gold(scored))


@measure("set_recall")
def set_recall(scored: Scored) -> float:
    """Share of the gold documents that were chosen."""
    return recall(_chosen(scored), _gold(scored))


@measure("set_precision")
def set_precision(scored: Scored) -> float:
    """Share of what was chosen that is gold; 0 where nothing was."""
    return recall(_gold(scored), _chosen(scored))


@measure("f_beta")
def f_two(scored: Scored) -> float:
    """F of precision and recall of what was chosen, recall weighing four times as much (β = 2)."""
    return f_beta(_chosen(scored), _gold(scored), 2.0)


@measure("answer_curated")
def answer_curated(scored: Scored) -> float:
    """Whether a document was chosen that holds the answer."""
    return float(bool(_chosen(scored) & _answers(scored)))


@measure("answer_recall")
def answer_recall(scored: Scored) -> float:
    """Share of the documents with the answer that were chosen."""
    return recall(_chosen(scored), _answers(scored))


@measure("answer_pool_recall")
def answer_pool_recall(scored: Scored) -> float:
    """Share of the documents with the answer that any call returned."""
    return recall(_pool(scored), _answers(scored))


@measure("answer_missed")
def answer_missed(scored: Scored) -> float:
    """Share of the documents with the answer that were found and not chosen."""
    return max(0.0, answer_pool_recall(scored) - answer_recall(scored))


@measure("curated")
def curated(scored: Scored) -> float:
    """Whether anything was chosen, by the policy or as the first that was found."""
    return float(bool(scored.trajectory.chosen))


@measure("untouched_seed")
def untouched_seed(scored: Scored) -> float:
    """Whether the set is what the first search put into it, and the policy chose nothing."""
    acted = any(call.tool == "curate" and call.error is None for call in scored.calls)
    return float(bool(scored.trajectory.chosen) and not acted)


@measure("parsed")
def parsed(scored: Scored) -> float:
    """0 where the trajectory ended since its replies could not be read."""
    return float(scored.trajectory.stop_reason is not StopReason.MALFORMED)


@measure("turn_ramp")
def turn_ramp(scored: Scored) -> float:
    """Turns after the twentieth."""
    turns = max((call.turn + 1 for call in scored.calls), default=0)
    return float(max(0, turns - _FIRST_LATE_TURN))


@measure("diversity")
def diversity(scored: Scored) -> float:
    """Kinds of tools that were used, as a share of six; 1 for six and more."""
    used = {call.tool for call in scored.calls if call.error is None}
    return min(1.0, len(used) / _TOOLS)


@measure("diversity_shortfall")
def diversity_shortfall(scored: Scored) -> float:
    """Kinds of tools that are missing to six."""
    used = {call.tool for call in scored.calls if call.error is None}
    return float(max(0, _TOOLS - len(used)))
