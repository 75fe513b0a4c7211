"""What a file of questions holds, what is odd about it, and whether another file holds the same.

Nothing here prints the text of a question: rows are named by their ids, so that sealed benchmarks can be
checked as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from innersearch.errors import DataError
from innersearch.gold import beside
from innersearch.grammar import TAGS
from innersearch.metrics import normalise, vote
from innersearch.readers import read_each, with_unique_ids
from innersearch.types import Question

SHINGLE = 8
"""Words in a row that make two questions the same, as far as contamination goes."""
_LONG_ANSWER, _LONG_QUESTION = 20, 200
"""Words; what is longer is no short answer, or no question alone."""


@dataclass
class Findings:
    """What was found in a file; the lists hold ids."""

    n: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    """Rows that are no questions, and why."""
    same_id: list[str] = field(default_factory=list)
    """Ids that occur more than once; they are numbered on reading."""
    same_question: list[str] = field(default_factory=list)
    """Questions that stood before, after normalisation."""
    odd: dict[str, list[str]] = field(default_factory=dict)
    """What is odd, and where."""

    @property
    def duplicates(self) -> int:
        """Rows that repeat an earlier question."""
        return len(self.same_question)


@dataclass(frozen=True)
class Overlap:
    """Questions of one file that another holds too, by id."""

    n: int
    same: list[str]
    """The same question after normalisation."""
    alike: list[str]
    """Not the same, but eight words in a row are."""


def check(path: Path) -> tuple[list[Question], Findings]:
    """The questions of a file and what is wrong or odd about them.

    Raises:
        DataError: The file is missing, or of another kind.
    """
    found, questions = Findings(), []
    for row in _rows(path):
        if isinstance(row, DataError):
            found.unreadable.append(str(row).removeprefix(f"{path}, "))
        else:
            questions.append(row)
    found.n = len(questions)
    found.groups.update(question.group for question in questions)
    ids = Counter(question.id for question in questions)
    found.same_id = [identity for identity, count in ids.items() if count > 1]
    questions = with_unique_ids(questions)
    found.same_question = list(_repeated(questions))
    for what, is_odd in _ODDITIES.items():
        if odd := [question.id for question in questions if is_odd(question)]:
            found.odd[what] = odd
    return questions, found


def _rows(path: Path) -> Iterator[Question | DataError]:
    """The rows, up to where the file itself cannot be read on."""
    rows, begun = read_each(path), False
    while True:
        try:
            row = next(rows, None)
        except DataError as error:
            if not begun:
                raise
            yield error
            return
        if row is None:
            return
        begun = True
        yield row


def _repeated(questions: Iterable[Question]) -> Iterator[str]:
    seen: set[str] = set()
    for question in questions:
        text = normalise(question.question)
        if text in seen:
            yield question.id
        seen.add(text)


def _any_answer(test: Callable[[str], bool]) -> Callable[[Question], bool]:
    return lambda question: any(map(test, question.golden_answers))


def _silent(question: Question) -> int:
    """How many gold answers nothing is left of."""
    return sum(vote(answer) is None for answer in question.golden_answers)


_ODDITIES: dict[str, Callable[[Question], bool]] = {
    "no gold answer says anything after normalisation, and they are matched as written": (
        lambda question: (
            bool(question.golden_answers) and _silent(question) == len(question.golden_answers)
        )
    ),
    "one of several gold answers says nothing after normalisation, and is left out": lambda question: (
        0 < _silent(question) < len(question.golden_answers)
    ),
    f"a gold answer has more than {_LONG_ANSWER} words": _any_answer(
        lambda answer: len(answer.split()) > _LONG_ANSWER
    ),
    "a gold answer is a whole number with .0": _any_answer(
        lambda answer: re.fullmatch(r"[-+]?\d+\.0+", answer.strip()) is not None
    ),
    "a gold answer begins with a bracket": _any_answer(lambda answer: answer.lstrip()[:1] in ("[", "{")),
    "metadata that are not read look like further gold answers": lambda question: bool(
        beside(question.metadata, question.golden_answers)
    ),
    "gold answers are all yes or no": lambda question: (
        {normalise(answer) for answer in question.golden_answers} <= {"yes", "no"}
    ),
    "a gold answer stands in the question": lambda question: any(
        f" {normalise(answer)} " in f" {normalise(question.question)} "
        for answer in question.golden_answers
        if normalise(answer)
    ),
    f"the question has more than {_LONG_QUESTION} words": lambda question: (
        len(question.question.split()) > _LONG_QUESTION
    ),
    "the question has fewer than 3 words": lambda question: len(question.question.split()) < 3,
    "the question holds protocol tags": lambda question: any(
        tag.opens in question.question for tag in TAGS.tags.values()
    ),
}


def overlap(questions: Iterable[Question], others: Iterable[Question]) -> Overlap:
    """Which of `questions` are among `others`, or share eight words in a row with one of them."""
    texts: set[str] = set()
    shingles: set[int] = set()
    for other in others:
        text = normalise(other.question)
        texts.add(text)
        shingles.update(_shingles(text))
    n, same, alike = 0, [], []
    for question in questions:
        n += 1
        text = normalise(question.question)
        if text in texts:
            same.append(question.id)
        elif not shingles.isdisjoint(_shingles(text)):
            alike.append(question.id)
    return Overlap(n, same, alike)


def _shingles(text: str) -> Iterator[int]:
    """Hashes of all runs of eight words: a set of them is a fifth of the size of the texts."""
    words = text.split()
    return (hash(tuple(words[i : i + SHINGLE])) for i in range(len(words) - SHINGLE + 1))
