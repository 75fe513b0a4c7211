"""Whether a document helps to answer a question: the rule that needs no judge.

A gold document is one that the question names (`metadata["documents"]`, ids), or, where it names none,
one that holds a gold answer. Evidence is either: a document that holds the answer by chance is no gold
document, and yet of no use as noise.
"""

from __future__ import annotations

from innersearch.metrics import cover_match
from innersearch.types import Document, Question


def is_gold(document: Document, question: Question) -> bool:
    """Whether a document is one that the question is to be answered from."""
    named: object = question.metadata.get("documents")
    if isinstance(named, list | tuple):
        # Further statements of one fact have its id and a number.
        return not {document.id, document.id.rpartition("/")[0]}.isdisjoint(named)
    return _holds_answer(document, question)


def is_evidence(document: Document, question: Question | None) -> bool:
    """Whether a document could help with a question; none can where no question is known."""
    return question is not None and (is_gold(document, question) or _holds_answer(document, question))


def _holds_answer(document: Document, question: Question) -> bool:
    return cover_match(f"{document.title} {document.text}", question.golden_answers)
