"""Which questions are worth training on, by how often a model answers them.

A question is kept where its numbers fulfil a condition:

    correct    of its sampled answers, how many are right (exact match)
    wrong      how many are not
    share      the part that is right, from 0 to 1
    first      the number of the first right one, counted from 1; one more than there are where none is
    searches   searches per sample, on average

    1 <= correct <= 9      neither never nor always right in 10: something to learn by reinforcement
    correct == 0           not known by heart (DeepResearcher's filter, with closed-book answers)
    10 < first <= 20       R1-Searcher's medium questions, of 20 answers
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from innersearch.errors import DataError
from innersearch.evaluate.stored import Repeated
from innersearch.stored import read_unique
from innersearch.train.conditions import condition
from innersearch.types import Question

NUMBERS = ("correct", "wrong", "share", "first", "searches")
"""What a condition may name."""


def demand_condition(keep: str) -> None:
    """Refuse what is no condition on the numbers of a question, before anything is sampled.

    Raises:
        ConfigError: It is none.
        DataError: It names another number.
    """
    condition(keep)(dict.fromkeys(NUMBERS, 0.0))


def numbers(samples: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a question, from the record of its samples.

    >>> numbers({"em": [0, 1, 1, 0], "searches": 1.5})
    {'correct': 2.0, 'wrong': 2.0, 'share': 0.5, 'first': 2.0, 'searches': 1.5}
    """
    right = [bool(em) for em in samples["em"]]
    correct, n = float(sum(right)), len(right)
    first = float(right.index(True) + 1 if correct else n + 1)
    found = correct, n - correct, correct / n, first, float(samples["searches"])
    return dict(zip(NUMBERS, found, strict=True))


def kept(
    questions: Sequence[Question], records: Path, keep: str
) -> Iterator[tuple[Question, dict[str, float]]]:
    """The questions that fulfil a condition, in their order, with their numbers.

    Args:
        questions: Those that were asked.
        records: The directory of an evaluation with samples of all of them.
        keep: The condition.

    Raises:
        ConfigError: It is no condition.
        DataError: It names a number that there is not, or a question was not asked.
    """
    holds = condition(keep)
    found = {record["id"]: record for record in read_unique(records / "samples.jsonl", Repeated)}
    for question in questions:
        if question.id not in found:
            raise DataError(f"{records} has no samples of question {question.id!r}: go on with --resume")
        known = numbers(found[question.id])
        if holds(known):
            yield question, known


def row(question: Question, known: Mapping[str, float]) -> str:
    """A question as a line of a file, with its numbers in the metadata."""
    values = asdict(question)
    values["metadata"] = {**question.metadata, **known}
    return json.dumps(values, ensure_ascii=False)
