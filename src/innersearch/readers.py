"""Questions from files: FlashRAG JSONL, Search-R1 Parquet, and the tables of three benchmarks.

* FlashRAG: one object per line, `{"id", "question", "golden_answers": [...], "metadata": {...}}`.
* Search-R1: columns `question`, `golden_answers`, `data_source`, and gold answers again under
  `reward_model.ground_truth.target`; gold answers occur as string, list, array or dict.
* Tables, .csv or .tsv: SimpleQA (`problem`, `answer`), FRAMES (`Prompt`, `Answer`), and BrowseComp,
  whose texts are sealed with the `canary` of their row (see `innersearch.sealed`). Rows are named by
  file and number.

Every row becomes a question or the whole file is refused with the row that is wrong: nothing is
dropped.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from innersearch.errors import DataError
from innersearch.sealed import CANARY, unseal
from innersearch.types import GROUP_LABELS, Question

Row = Mapping[str, Any]

_LABELS = ("data_source", "split", "group", "tier")
"""Row keys that group results; they are kept in the metadata."""
_BLANK = b" \t\r\n\xef\xbb\xbf"
"""White space and the mark that some files begin with."""
_EXACT = 2.0**53
"""Below it a float holds every whole number."""


def read_questions(path: Path, *, labelled: bool = True, name: str = "") -> list[Question]:
    """Read a `.jsonl`, `.parquet`, `.csv` or `.tsv` file of questions.

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
    if not path.is_file():
        raise DataError(f"no data file at {path}: give a FlashRAG .jsonl or a Search-R1 .parquet file")
    if path.suffix not in _READERS:
        raise DataError(f"{path} ends in {path.suffix!r}; questions are read from {', '.join(_READERS)}")
    for n, row in _READERS[path.suffix](path):
        place = f"{path}, row {n}"
        try:
            opened = _json_row(row, n, place) if isinstance(row, bytes) else row
            yield as_question(opened, place, n, labelled=labelled, group=name or path.stem)
        except DataError as error:
            yield error


def _json_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as lines:
        yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip(_BLANK))


def _json_row(line: bytes, number: int, place: str) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is no UTF-8: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits and thousands of brackets are JSON, but not to Python.
        raise DataError(f"{place} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{place} is no JSON object: {line[:60]!r}")
    if b"\\u" in line:
        _refuse_half_characters(row, place)
    return row


def _refuse_half_characters(row: Row, place: str) -> None:
    """JSON can name one half of a surrogate pair, but no file and no tokenizer can hold it."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(str(error.object)[error.start])
        raise DataError(f"{place} holds {half}, half of a character: mend or remove it") from error


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            batches = [batch.to_pylist() for batch in file.iter_batches()]
    except pa.ArrowException as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    yield from enumerate((row for batch in batches for row in batch), 1)


def _table_rows(path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(1 << 27)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
        try:
            for number, given in enumerate(table, 1):
                row = {str(key).lower(): value for key, value in given.items() if key}
                text = row.get("question") or row.get("problem") or row.get("prompt")
                yield number, {"id": f"{path.stem}:{number}"} | row | {"question": text}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path} is no readable table: {error}") from error


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Row | bytes]]]] = {
    **{".jsonl": _json_rows, ".parquet": _parquet_rows},
    **{".csv": _table_rows, ".tsv": _table_rows},
}
"""By the end of a file's name: its numbered rows, those of JSON lines not yet read."""


def as_question(
    row: Row, place: str, number: int, *, labelled: bool = True, group: str = ""
) -> Question:
    """The question of a row in either format; `place`, `number` and `group` name it where it says
    nothing else.

    Raises:
        DataError: It has no question, or `labelled` and it has no gold answer.
    """
    text = row.get("question")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{place} has no 'question'; its columns are {sorted(row)}")
    try:
        row = _opened(row)
        answers = _golden_answers(row)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    if labelled and answers is None:
        raise DataError(
            f"{place} has neither 'golden_answers' nor 'reward_model.ground_truth.target'; "
            f"its columns are {sorted(row)}"
        )
    if labelled and not answers:
        raise DataError(f"{place} has no gold answer: {text[:60]!r}; remove it or add one")
    given = row.get("metadata")
    metadata = dict(given) if isinstance(given, Mapping) else {}
    if CANARY in metadata and not (isinstance(metadata[CANARY], str) and metadata[CANARY]):
        raise DataError(f"{place}: a canary is text, given {metadata[CANARY]!r}")
    metadata |= {key: row[key] for key in _LABELS if isinstance(row.get(key), str)}
    if group and not any(metadata.get(key) and isinstance(metadata[key], str) for key in GROUP_LABELS):
        metadata["data_source"] = group
    given = row.get("id")
    missing = given is None or given == "" or given != given
    identity = str(number) if missing else _text(given)
    return Question(identity, str(row["question"]).strip(), answers or (), metadata)


def _opened(row: Row) -> Row:
    """The row with its texts in plain words; only in memory, and the canary says so."""
    canary = row.get(CANARY)
    if not isinstance(canary, str) or not canary:
        return row
    texts = {key: unseal(str(row.get(key) or ""), canary) for key in ("question", "answer")}
    return {**row, **texts, "metadata": {CANARY: canary}}


def _golden_answers(row: Row) -> tuple[str, ...] | None:
    for value in (row.get("golden_answers"), _nested_target(row), row.get("answer")):
        if value is not None:
            return as_answers(value)
    return None


def _nested_target(row: Row) -> object:
    value: Any = row
    for key in ("reward_model", "ground_truth", "target"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def as_answers(value: Any) -> tuple[str, ...]:
    """Gold answers from any of the shapes in circulation: string, number, list, array, `{"target": …}`.

    >>> as_answers({"target": ["Paris"]}), as_answers("Paris"), as_answers([" ", 7, 1998.0])
    (('Paris',), ('Paris',), ('7', '1998'))

    Raises:
        DataError: An answer is neither text nor a number.
    """
    if isinstance(value, Mapping):
        value = value.get("target", [])
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple | set):
        value = [value]
    for answer in value:
        if isinstance(answer, bool) or not isinstance(answer, str | int | float) or answer != answer:
            raise DataError(f"a gold answer is text or a number, given {answer!r}")
    texts = map(_text, value)
    return tuple(text for text in texts if text.strip())


def _text(value: object) -> str:
    """As written; a whole number that a table made a float of, 1998.0, is 1998 again."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return str(value)


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


def balanced(questions: Sequence[Question]) -> list[Question]:
    """The questions with those of smaller groups repeated, to about the size of the largest group."""
    sizes = Counter(question.group for question in questions)
    largest = max(sizes.values())
    return [q for q in questions for _ in range(round(largest / sizes[q.group]))]
