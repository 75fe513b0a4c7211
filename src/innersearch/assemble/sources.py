"""What the names of data sets stand for: files, fetched benchmarks, and sources that make questions."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from innersearch.data.catalogue import fetched, is_name
from innersearch.data.sources import QuestionSource
from innersearch.errors import ConfigError, DataError, did_you_mean
from innersearch.extensions import Offers
from innersearch.readers import read_questions, with_unique_ids
from innersearch.rows import name_of
from innersearch.rows.files import directory
from innersearch.sealed import any_sealed
from innersearch.types import Question
from innersearch.world.bundled import NAME

SOURCES: Offers[QuestionSource] = Offers(
    "innersearch.questions",
    QuestionSource,
    "source of questions",
    {
        NAME: "innersearch.world.questions:SOURCE",
        "world-1": "innersearch.world_1.questions:SOURCE",
        "atlas": "innersearch.real.atlas:SOURCE",
        "quiz": "innersearch.real.quiz:SOURCE",
    },
)
"""What makes questions, by what stands before the colon."""


def load_questions(
    source: str, groups: Collection[str] = (), *, allow_sealed: bool = False, labelled: bool = True
) -> list[Question]:
    """Questions of a file, of a fetched benchmark, or of `world:train`, `world:validation`,
    `world:test`, likewise of the `atlas`, of `quiz:all`; of several, separated by commas.

    Args:
        source: Names them.
        groups: Only questions of these groups.
        allow_sealed: Whether the caller writes no texts of sealed questions in plain words.
        labelled: Whether those of files must have gold answers.

    Raises:
        DataError: There are none.
    """
    if not source:
        raise ConfigError(
            "no data given: add --data FILE, a file of questions (.jsonl, .csv, .parquet and more)"
        )
    found = _load(source, labelled=labelled)
    if any_sealed(found) and not allow_sealed:
        raise DataError(
            f"{source} is sealed, its texts must not be written in plain words: it is for eval, "
            "sim2real, data check and data coverage only"
        )
    if not groups:
        return found
    _demand_groups(source, groups, found)
    return [question for question in found if question.group in groups]


def _demand_groups(source: str, groups: Collection[str], found: Collection[Question]) -> None:
    there = sorted({question.group for question in found})
    missing = [group for group in groups if group not in there]
    if missing:
        raise DataError(
            f"{source} has no question of the groups {', '.join(missing)} (--empty-groups takes all); "
            f"{did_you_mean(missing[0], there)}"
        )


def _load(source: str, *, labelled: bool = True, name: str = "") -> list[Question]:
    if "," in source and not Path(source).exists():
        parts = [part.strip() for part in source.split(",") if part.strip()]
        if not parts:
            raise DataError(f"{source!r} names no file of questions")
        named = zip(parts, _told_apart(parts), strict=True)
        return with_unique_ids(
            [q for part, own in named for q in _load(part, labelled=labelled, name=own)]
        )
    prefix, _, part = source.partition(":")
    if (makes := SOURCES.find(prefix)) is not None:
        return list(makes.read(part))
    return read_questions(question_file(source), labelled=labelled, name=name)


def _told_apart(sources: list[str]) -> list[str]:
    """Names of files without their endings, with as many directories as it takes to tell them apart.

    >>> _told_apart(["nq/test.jsonl", "popqa/test.jsonl"]), _told_apart(["a/x.csv", "a/y.csv"])
    (['nq/test', 'popqa/test'], ['x', 'y'])
    """
    paths = [path.with_name(name_of(path)) if path.name else path for path in map(Path, sources)]
    for depth in range(1, 1 + max((len(path.parts) for path in paths), default=0)):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return sources


def question_file(source: str) -> Path:
    """A file of questions, or that of a fetched benchmark by name.

    Raises:
        DataError: There is no such benchmark, or it was not fetched.
    """
    path = directory(source)
    return fetched(source) if is_name(source) and not path.exists() else path
