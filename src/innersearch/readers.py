"""Questions from files: rows of the layouts in circulation, validated once for every command.

Rows come from `innersearch.rows`, gold answers from `innersearch.gold`. The question stands under
`question`, as in FlashRAG, Search-R1, TriviaQA, Natural Questions, MuSiQue, HotpotQA, PopQA and GAIA; or
under `problem` (SimpleQA, BrowseComp), `prompt` (FRAMES) or `query`. BrowseComp's texts are sealed with
the `canary` of their row (see `innersearch.sealed`).

Every row becomes a question or the whole file is refused with the row that is wrong: nothing is
dropped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from innersearch import random_draws
from innersearch.errors import DataError
from innersearch.gold import as_text, column_name, of_row, refuse_unread
from innersearch.rows import TABLES, kind_of, name_of, read_rows, type_of
from innersearch.sealed import CANARY, unseal
from innersearch.types import GROUP_LABELS, Question

Row = Mapping[str, Any]

_QUESTIONS = ("question", "problem", "prompt", "query")
_IDS = ("id", "_id", "question_id", "qid", "query_id", "task_id")
_LABELS = ("data_source", "split", "group", "tier")
"""Row keys that group results; they are kept in the metadata."""


def read_questions(path: Path, *, labelled: bool = True, name: str = "") -> list[Question]:
    """Read a file, or a directory of the parts of one, of questions.

    Those that name no group belong to that of the file: its `name`, or that of the file without ending.

    Raises:
        DataError: The file is missing or of another kind, or a row has no question, or no gold answer
            although it is to be `labelled`.
    """
    questions = []
    for row in read_each(path, labelled=labelled, name=name):
        if isinstance(row, DataError):
            raise row
        questions.append(row)
    if not questions:
        raise DataError(f"{path} holds no questions")
    return with_unique_ids(questions)


def read_each(path: Path, *, labelled: bool = True, name: str = "") -> Iterator[Question | DataError]:
    """Each row as a question, or as what is wrong with it; otherwise as `read_questions`.

    Raises:
        DataError: The file is missing, of another kind, or cannot be read further.
    """
    stem = name_of(path.resolve() if path.name in ("", "..") else path)
    # Rows of tables have no ids as a rule, and those of two tables are not to be the same.
    prefix = f"{stem}:" if kind_of(path) in TABLES else ""
    for place, number, row in read_rows(path):
        try:
            if isinstance(row, DataError):
                raise row
            yield as_question(row, place, f"{prefix}{number}", labelled=labelled, group=name or stem)
        except DataError as error:
            yield error


def as_question(
    given: Row, place: str, number: int | str, *, labelled: bool = True, group: str = ""
) -> Question:
    """The question of a row in any layout; `place`, `number` and `group` name it where it says nothing
    else.

    Raises:
        DataError: It has no question, or `labelled` and it has no gold answer.
    """
    try:
        row = _columns(given)
        row = _opened(row | {"question": _question(row)})
        answers = _answers(row, labelled=labelled)
        metadata = _metadata(row)
        identity = _identity(row, number)
        _refuse_nul(identity, row["question"], *answers)
    except DataError as error:
        raise DataError(f"{place} {error}") from error
    labels = (metadata.get(key) for key in GROUP_LABELS)
    if group and not any(isinstance(label, str) and label.strip() for label in labels):
        metadata["data_source"] = group
    return Question(identity, row["question"].strip(), answers, metadata)


def _columns(given: Row) -> dict[str, Any]:
    """The row under the names that are looked for, whatever their case."""
    row: dict[str, Any] = {}
    for key, value in given.items():
        name = column_name(str(key))
        if row.get(name) in (None, ""):
            row[name] = value
        elif value not in (None, "") and row[name] != value:
            raise DataError(f"has two columns {name!r}: rename or remove one")
    return row


def _question(row: Row) -> str:
    """The text of the question, under the first name that holds one."""
    extra = row.get("extra_info")
    named = {name: row.get(name) for name in _QUESTIONS}
    if isinstance(extra, Mapping):
        named["extra_info.question"] = extra.get("question")
    for value in named.values():
        if isinstance(value, Mapping) and isinstance(value.get("text"), str):
            value = value["text"]
        if isinstance(value, str) and value.strip():
            return value
    present = [f"{name!r} is {type_of(named[name])}" for name in named if row.get(name) is not None]
    reason = f"; {', '.join(present)}" if present else ""
    raise DataError(f"has no 'question'{reason}; its columns are {_shown(row)}")


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its texts in plain words; only in memory, and the canary says so."""
    canary = row.get(CANARY)
    if not isinstance(canary, str) or not canary:
        return row
    texts = {key: unseal(str(row.get(key) or ""), canary) for key in ("question", "answer")}
    return {**row, **texts, "metadata": {CANARY: canary}}


def _answers(row: Row, *, labelled: bool) -> tuple[str, ...]:
    try:
        answers = of_row(row)
        if labelled and answers:
            refuse_unread(row, answers)
    except DataError as error:
        if _is_sealed(row):
            raise DataError("is sealed, and its gold answers cannot be read") from None
        raise DataError(f"is no question: {error}") from error
    if labelled and answers is None:
        raise DataError(
            "has neither 'golden_answers' nor another column of gold answers that is read; its columns "
            f"are {_shown(row)}"
        )
    if labelled and not answers:
        text = "" if _is_sealed(row) else f": {row['question'][:60]!r}"
        raise DataError(f"has no gold answer{text}; remove it or add one")
    return answers or ()


def _is_sealed(row: Row) -> bool:
    metadata = row.get("metadata")
    return isinstance(metadata, Mapping) and CANARY in metadata


def _metadata(row: Row) -> dict[str, Any]:
    given = row.get("metadata")
    metadata = _plain(given) if isinstance(given, Mapping) else {}
    if CANARY in metadata and not (isinstance(metadata[CANARY], str) and metadata[CANARY]):
        raise DataError(f"is no question: a canary is text, given {metadata[CANARY]!r}")
    return metadata | {key: row[key] for key in _LABELS if isinstance(row.get(key), str)}


def _plain(value: Any) -> Any:
    """Metadata go into every record, so that they hold only what JSON can."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _identity(row: Row, number: int | str) -> str:
    for name in _IDS:
        value = row.get(name)
        value = value.item() if isinstance(value, np.generic) else value
        if value is None or value == "" or value != value:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise DataError(f"is no question: {name!r} is {type_of(value)}, not text or a number")
        return as_text(value)
    return str(number)


def _refuse_nul(*texts: str) -> None:
    if any("\0" in text for text in texts):
        raise DataError("is no question: it holds a NUL character: mend or remove it")


def _shown(row: Row) -> list[str]:
    """The names of the columns; texts that stand there because a header is missing are cut."""
    names = sorted(map(str, row))
    return [name[:40] for name in names[:20]] + ["…"] * (len(names) > 20)


def with_unique_ids(questions: list[Question]) -> list[Question]:
    """Prefix ids with their data source where several sources were merged, as in Search-R1's file, and
    number those that are the same even then.
    """
    counts = Counter(question.id for question in questions)
    # An id that occurs once stays as it is, whatever the others become.
    used = {identity for identity, count in counts.items() if count == 1}
    numbers: Counter[str] = Counter()
    result = []
    for question in questions:
        identity = question.id
        if counts[identity] > 1:
            source = question.metadata.get("data_source", "")
            identity = _unused(f"{source}:{identity}", used, numbers)
        result.append(replace(question, id=identity))
    return result


def _unused(name: str, used: set[str], numbers: Counter[str]) -> str:
    """The name, or the first of `name#2`, `name#3`, … that no question has yet."""
    while True:
        numbers[name] += 1
        identity = name if numbers[name] == 1 else f"{name}#{numbers[name]}"
        if identity not in used:
            used.add(identity)
            return identity


def fingerprint(questions: Sequence[Question]) -> str:
    """SHA-256 of what questions ask and expect."""
    asked = json.dumps([[q.id, q.question, q.golden_answers] for q in questions])
    return hashlib.sha256(asked.encode()).hexdigest()


def with_shuffled_gold(questions: Sequence[Question], seed: int) -> list[Question]:
    """The questions in their order, each with the gold answers of another one, drawn by the seed.

    Raises:
        DataError: There is only one.
    """
    if len(questions) < 2:
        raise DataError("shuffle_gold takes gold answers from other questions: give more than one")
    rows = sorted(range(len(questions)), key=lambda row: random_draws.number("gold", seed, row))
    # Each in a circle of all gets those of the next, so that none keeps its own.
    golds = {row: questions[other].golden_answers for row, other in pairwise([*rows, rows[0]])}
    return [replace(question, golden_answers=golds[row]) for row, question in enumerate(questions)]


def balanced(questions: Sequence[Question]) -> list[Question]:
    """The questions with those of smaller groups repeated, to about the size of the largest group."""
    sizes = Counter(question.group for question in questions)
    largest = max(sizes.values())
    return [q for q in questions for _ in range(round(largest / sizes[q.group]))]
