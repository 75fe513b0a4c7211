"""Trajectories that a model writes for itself, and what it knows behind examples.

    all-demonstrations.jsonl  {"id", "question", "golden_answers", "response", "searches", "metadata"}
    demonstrations.jsonl      those of them that were written to their end; others have no response
    few-shot.jsonl            {"id", "group", "searches", "answer", "em"}

The files grow by a line as it is written, in the order in which they are asked, so that a killed process
goes on with the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from innersearch.cold_start.examples import read_examples, response
from innersearch.cold_start.few_shot import Asked, FewShot, Written
from innersearch.cold_start.settings import DEMONSTRATIONS, StartSettings
from innersearch.errors import DataError
from innersearch.grammar import grammar_of
from innersearch.metrics import exact_match
from innersearch.policy.transformers import TransformersPolicy
from innersearch.progress import Progress
from innersearch.random_draws import draw, number
from innersearch.records import LineWriter, replace_text
from innersearch.stored import Record, read_records
from innersearch.types import Question

FEW_SHOT = "few-shot.jsonl"
_ALL = "all-demonstrations.jsonl"
"""With those that were not written to their end."""


class Shot(TypedDict):
    """A line of few-shot.jsonl."""

    id: str
    group: str
    searches: Annotated[int, Field(ge=0)]
    answer: str | None
    em: bool


class _Demonstration(TypedDict):
    id: str
    response: str
    searches: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Writing:
    """What is written into a folder, under settings."""

    folder: Path
    settings: StartSettings
    policy: TransformersPolicy
    tokenizer: Any
    progress: Progress

    def demonstrations(self, questions: Sequence[Question]) -> list[Record]:
        """The trajectories that are learnt; errors as `FewShot.stream`.

        Raises:
            DataError: None was written to its end.
        """
        asked = demonstrated(questions, self.settings)
        path = self.folder / _ALL
        self._write("writing trajectories", asked, path, self._demonstration, _Demonstration)
        found = [record for record in read_records(path, _Demonstration) if record["response"]]
        if not found:
            raise DataError(
                f"none of {len(asked):,} trajectories was written to its end: give --examples of your "
                "own, in the form of your questions, or take a larger model"
            )
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in found)
        replace_text(self.folder / DEMONSTRATIONS, "".join(lines))
        return found

    def few_shot(self, questions: Sequence[Question]) -> list[Record]:
        """What the model answers behind examples with each number of searches."""
        numbers = range(self.settings.searches + 1)
        asked = [Asked(question, searches) for searches in numbers for question in questions]
        path = self.folder / FEW_SHOT
        self._write("few-shot answers", asked, path, _shot, Shot)
        return list(read_records(path, Shot))

    def _write(
        self,
        what: str,
        asked: Sequence[Asked],
        path: Path,
        record: Callable[[Written], Record],
        kind: type,
    ) -> None:
        done = len(list(read_records(path, kind)))
        self.progress(what, done, len(asked))
        writer = LineWriter(path)
        for place, written in enumerate(self._written(asked[done:]), done + 1):
            writer.write(record(written))
            self.progress(what, place, len(asked))
        writer.close()

    def _written(self, asked: Sequence[Asked]) -> Iterator[Written]:
        if not asked:
            return iter(())
        settings = self.settings
        grammar, examples = grammar_of(settings.grammar), read_examples(settings.examples)
        shots = FewShot(self.policy, self.tokenizer, examples, grammar, settings.max_batch)
        return shots.stream(asked)

    def _demonstration(self, written: Written) -> Record:
        question, grammar = written.question, grammar_of(self.settings.grammar)
        return {
            "id": question.id,
            "question": question.question,
            "golden_answers": list(question.golden_answers),
            "response": response(grammar, written.texts) if written.whole else "",
            "searches": written.searches,
            "metadata": dict(question.metadata),
        }


def _shot(written: Written) -> Record:
    question, answer = written.question, written.answer
    return {
        "id": question.id,
        "group": question.group,
        "searches": written.searches,
        "answer": answer,
        "em": exact_match(answer, question.golden_answers),
    }


def demonstrated(questions: Iterable[Question], settings: StartSettings) -> list[Asked]:
    """Which questions trajectories are written for, and with how many searches: both drawn by the seed,
    the number whatever the question. Where there are too few questions they come again.
    """
    seed = settings.seed
    order = sorted(questions, key=lambda question: draw("start", seed, question.id))
    chosen = islice(cycle(order), settings.questions)
    return [
        Asked(question, number("searches", seed, place, question.id) % (settings.searches + 1))
        for place, question in enumerate(chosen)
    ]


def measured(questions: Iterable[Question], settings: StartSettings) -> list[Question]:
    """The validation questions that are answered: so many of each group, drawn by the seed."""
    groups: dict[str, list[Question]] = {}
    for question in sorted(questions, key=lambda q: draw("measured", settings.seed, q.id)):
        groups.setdefault(question.group, []).append(question)
    return [question for some in groups.values() for question in some[: settings.measured]]
