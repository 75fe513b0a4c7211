"""Questions that err together: those in which a field is the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from innersearch.errors import ConfigError, DataError
from innersearch.intervals import FEW_CLUSTERS
from innersearch.stored import Record
from innersearch.trajectories import read_trajectories
from innersearch.types import Question

NOTHING = "–"
"""What stands for a field that a question does not have."""
_OWN = ("id", "group", "question", "golden_answers")
"""What a record holds of its question itself."""


@dataclass(frozen=True)
class Clusters:
    """The cluster of each question, by its id."""

    field: str
    of: Mapping[str, int]
    alone: int
    """Questions without the field; each is a cluster of its own."""

    def numbers(self, ids: Sequence[str]) -> np.ndarray:
        """The clusters of these questions."""
        return np.array([self.of[identity] for identity in ids])

    @property
    def summary(self) -> dict[str, Any]:
        """How many there are, and of what size."""
        sizes = Counter(self.of.values()).values()
        # As many clusters of equal size would say as much.
        effective = sum(sizes) ** 2 / sum(size**2 for size in sizes)
        return {
            "field": self.field,
            "n": len(sizes),
            "smallest": min(sizes),
            "largest": max(sizes),
            "without": self.alone,
            "few": effective < FEW_CLUSTERS,
        }


def field_of(question: Question, field: str) -> str:
    """What stands in a field of a question or of its metadata, as text; a dash if nothing does.

    >>> field_of(Question("q", "Who?", ("A",), {"chain": ["Belira", "A"], "changed": True}), "chain.0")
    'Belira'
    """
    own: dict[str, Any] = {"id": question.id, "question": question.question, "group": question.group}
    own["golden_answers"] = list(question.golden_answers)
    wanted = [_key(part) for part in field.split(".")]
    found = _value(own, wanted)
    if found is None:
        found = _value(question.metadata, wanted)
    return NOTHING if found is None else found.strip('"')


def demand_fields(questions: Sequence[Question], fields: Sequence[str]) -> None:
    """Check that some question has each of the fields.

    Raises:
        ConfigError: None has one of them.
    """
    for field in fields:
        if all(field_of(question, field) == NOTHING for question in questions):
            known = sorted({*_OWN, *(name for question in questions for name in question.metadata)})
            raise ConfigError(f"no question has a field {field!r}; they have: {', '.join(known)}")


def find_clusters(path: Path, records: Sequence[Record], field: str) -> Clusters | None:
    """The clusters of the questions of an evaluation in `path`; None where no field is named.

    A field is one of the records (`group`, `golden_answers`, `question`) or of the metadata of the
    questions, which stand in trajectories.jsonl; a dot leads into one that holds others, by name or by
    number, and spaces, hyphens and case do not matter.

    Raises:
        DataError: No question has the field, or it is another one in every question.
    """
    if not field:
        return None
    values = field_values(path, records, field)
    of: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for identity, value in values.items():
        name = f"id {identity}" if value is None else f"value {value}"
        of[identity] = numbers.setdefault(name, len(numbers))
    return Clusters(field, of, sum(value is None for value in values.values()))


def regrouped(path: Path, records: Sequence[Record], field: str) -> list[Record]:
    """Records with what stands in a field in place of their groups, `changed = true`; errors as
    `find_clusters`.
    """
    if not records:
        return []
    values = field_values(path, records, field)
    named = {i: NOTHING if value is None else value.strip('"') for i, value in values.items()}
    return [record | {"group": f"{field} = {named[record['id']]}"} for record in records]


def field_values(path: Path, records: Sequence[Record], field: str) -> dict[str, str | None]:
    """What stands in a field of each question of an evaluation, as JSON; see `find_clusters`.

    Raises:
        DataError: No question has the field.
    """
    wanted = [_key(part) for part in field.split(".")]
    values = {record["id"]: _value({key: record.get(key) for key in _OWN}, wanted) for record in records}
    known = set(_OWN)
    if all(value is None for value in values.values()):
        for identity, metadata in _metadata(path):
            known |= set(metadata)
            if identity in values:
                values[identity] = _value(metadata, wanted)
    if all(value is None for value in values.values()):
        raise DataError(
            f"no question of {path} has a field {field!r}; they have: {', '.join(sorted(known))}"
        )
    return values


def _metadata(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for record, _ in read_trajectories(path / "trajectories.jsonl"):
        question = record.get("question")
        if isinstance(question, dict) and isinstance(question.get("metadata"), dict):
            yield str(question.get("id")), question["metadata"]


def _value(fields: Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    """What stands under a path of keys, as text; None if nothing does."""
    found: Any = fields
    for key in wanted:
        if isinstance(found, list):
            found = dict(enumerate(found))
        if not isinstance(found, Mapping):
            return None
        found = next((value for name, value in found.items() if _key(name) == key), None)
    return None if found in (None, "", [], {}) else json.dumps(found, sort_keys=True)


def _key(name: object) -> str:
    """As fields are looked up: "Golden answer" is golden_answers."""
    return re.sub(r"[\s_-]+", "_", str(name).strip().lower()).removesuffix("s")
