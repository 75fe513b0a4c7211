"""What a file of pairs comes from: kept beside it, so that nothing else is appended to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from innersearch.errors import RunError
from innersearch.identity import Parts, changes, differing
from innersearch.records import keep_lines, write_json
from innersearch.simulator.pairs import Pair, written_pairs
from innersearch.stored import read_object
from innersearch.types import Question


class _Id(TypedDict):
    id: str


class _Line(TypedDict):
    """A line of a file of pairs, as far as is asked whose it is."""

    question: _Id


def note_of(output: Path) -> Path:
    """The file that says what a file of pairs comes from."""
    return output.with_name(f"{output.name}.identity.json")


def demand_same_origin(output: Path, made_of: Parts, model: str) -> None:
    """Write down what a file of pairs comes from, or check it where the file is there already.

    Of a file that was begun before this was kept, what it goes on with is noted.

    Raises:
        RunError: It comes from something else, which is named.
    """
    made_of = json.loads(json.dumps(made_of))
    note = note_of(output)
    known = read_object(note, dict[str, Any]) if output.exists() and note.exists() else {}
    if changed := differing(known, made_of):
        raise RunError(
            f"cannot go on with {output}: {changes(changed, model, 'file')}; give what it was begun "
            "with, or another --output"
        )
    write_json(note, made_of)


def without_last_question(output: Path, questions: Iterable[Question]) -> set[str]:
    """Take the last question out of a file of collected pairs, some of which a kill may have left out;
    the ids of those that are complete.

    Raises:
        RunError: It holds pairs of other questions than these.
    """
    known = {question.id: _asked(question) for question in questions}
    ids = []
    for pair in written_pairs(output):
        if known.get(pair.question.id) != _asked(pair.question):
            raise RunError(
                f"cannot go on with {output}: the question {pair.question.id!r} in it is not among "
                "those that are asked, or was changed; give the questions it was begun with, or another "
                "--output"
            )
        ids.append(pair.question.id)
    if ids:
        keep_lines(output, _Line, lambda record: record["question"]["id"] != ids[-1])
    return set(ids) - set(ids[-1:])


def _asked(question: Question) -> tuple[str, tuple[str, ...]]:
    return question.question, question.golden_answers


def demand_same_pairs(output: Path, labelled: Sequence[Pair], found: Sequence[Pair]) -> None:
    """Check that what is labelled already are the first of the pairs that are to be labelled.

    Raises:
        RunError: They are others.
    """
    if list(map(_unlabelled, labelled)) != list(map(_unlabelled, found[: len(labelled)])):
        raise RunError(
            f"cannot go on with {output}: it holds labels of other pairs than these; give the file that "
            "it was begun with, or another --output"
        )


def _unlabelled(pair: Pair) -> tuple[object, ...]:
    texts = [(document.title, document.text) for document in pair.documents]
    return pair.question.id, _asked(pair.question), pair.query, pair.page, texts
