r"""Agents without a model that answer the world's questions by searching: what a policy can learn at
best, what a hurried one does, and what one that never searches is worth.

They know how a question is composed, of which relations and of whom, and nothing of its answer: what
they go on with they read in what a search returned.

    >>> from innersearch.types import Question
    >>> asked = Question("q", "Who taught Ada?", (), {"relations": ["teacher"], "chain": ["Ada", "?"]})
    >>> careful(asked, [])
    '<think> I need the teacher of Ada.</think>\n<search> teacher of Ada</search>'
    >>> careful(asked, ["As a mentor Ada had Bela for many years."])
    '<think> The teacher of Ada is Bela.</think>\n<answer> Bela</answer>'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from innersearch.types import Question
from innersearch.world.relations import RELATIONS

Script = Callable[[Question, Sequence[str]], str]
"""What is written next, given the question and what each search so far returned."""

_NAME = re.compile(r"\b[A-Z][a-z]+\b")


def careful(question: Question, found: Sequence[str]) -> str:
    """Searches every hop by the name that it read in the last one, and says so if it found nothing."""
    entity = _head(question)
    for relation, text in zip(_relations(question), found, strict=False):
        read = _read(relation, entity, text)
        if read is None:
            return (
                f"<think> Nothing says who the {_noun(relation)} of {entity} is.</think>\n{_answer('')}"
            )
        thought, entity = f"The {_noun(relation)} of {entity} is {read}.", read
    left = _relations(question)[len(found) :]
    if not left:
        return f"<think> {thought}</think>\n{_answer(entity)}"
    wanted = f"{_noun(left[0])} of {entity}"
    return f"<think> I need the {wanted}.</think>\n<search> {wanted}</search>"


def hasty(question: Question, found: Sequence[str]) -> str:
    """Searches the question as it is, once, and answers with the last new name that it reads."""
    if not found:
        return f"<search> {question.question}</search>"
    known = set(_NAME.findall(question.question))
    names = [name for name in _NAME.findall(found[-1].splitlines()[0]) if name not in known]
    return _answer(names[-1] if names else "")


def silent(question: Question, found: Sequence[str]) -> str:
    """Never searches, and answers with the name it was asked about."""
    return _answer(_head(question))


SCRIPTS: dict[str, Script] = {"careful": careful, "hasty": hasty, "silent": silent}
"""By name."""


def _head(question: Question) -> str:
    return str(question.metadata["chain"][0])


def _relations(question: Question) -> list[str]:
    return list(question.metadata["relations"])


def _noun(relation: str) -> str:
    return RELATIONS[relation].nouns[0]


def _read(relation: str, entity: str, text: str) -> str | None:
    """The tail of a relation, as a page states it; None where it does not."""
    stated = re.escape(RELATIONS[relation].page.replace("{x}", entity))
    found = re.search(stated.replace(r"\{y\}", "([A-Z][a-z]+)"), text)
    return found[1] if found else None


def _answer(text: str) -> str:
    return f"<answer> {text}</answer>"
