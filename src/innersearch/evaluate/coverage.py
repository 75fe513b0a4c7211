"""Corpus coverage: for how many questions a search with the question itself finds a gold answer.

It bounds what an agent can get from a corpus and an engine, before any agent is trained on them. Whether
a document is a gold document is `innersearch.search.evidence.is_gold`: one that the question names, or
one that holds a gold answer. The latter is generous to answers of one short word and to yes and no, so
the summary counts those questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from innersearch.errors import SearchError
from innersearch.evaluate.scores import by_group
from innersearch.intervals import proportion
from innersearch.locks import held
from innersearch.metrics import normalise
from innersearch.progress import Progress, silent
from innersearch.readers import fingerprint
from innersearch.records import LineWriter, begun, claim, write_json
from innersearch.search.base import Engine, SearchResult
from innersearch.search.evidence import is_gold
from innersearch.stored import read_unique
from innersearch.types import ALL_GROUPS, Question


class _Ranked(TypedDict):
    """A line of coverage.jsonl."""

    id: str
    group: str
    rank: Annotated[int, Field(ge=1)] | None


_BATCH = 64
"""Questions that are asked between two writes to disk."""


def coverage(
    questions: Sequence[Question],
    engine: Engine | Callable[[], Engine],
    ks: Sequence[int],
    path: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Search for every question's own text, write a record each, and return the summary.

    A record holds the rank of the first gold document among the most of `ks`, or null. What opens the
    engine can be given in its place, and is called once `path` is held.

    Raises:
        RunError: `path` is not empty and `resume` is not given, or other questions or engines wrote it.
        SearchError: Searches failed; `resume` asks those again.
    """
    with held(path, "audit"):
        begun(path, resume=resume, what="audit")
        engine = engine() if callable(engine) else engine
        return _coverage(questions, engine, ks, path, progress, resume=resume)


def _coverage(
    questions: Sequence[Question],
    engine: Engine,
    ks: Sequence[int],
    path: Path,
    progress: Progress,
    *,
    resume: bool,
) -> dict[str, Any]:
    identity = {
        "engine": dict(engine.identity),
        "k": max(ks),
        "questions_sha256": fingerprint(questions),
    }
    otherwise = "was written with another engine, k or other questions"
    claim(path, identity, resume=resume, what="audit", otherwise=otherwise)
    file = path / "coverage.jsonl"
    done = {record["id"] for record in read_unique(file, _Ranked)}
    todo = [question for question in questions if question.id not in done]
    progress("coverage", len(done), len(questions))
    writer = LineWriter(file)
    try:
        failed = asyncio.run(_ask_all(todo, engine, max(ks), writer, len(questions), progress))
    finally:
        writer.close()
    if failed:
        raise SearchError(
            f"{len(failed)} of {len(questions)} searches failed ({failed[0]}): run again with --resume, "
            "which asks those again"
        )
    summary = summarise(questions, read_unique(file, _Ranked), ks) | {"engine": dict(engine.identity)}
    write_json(path / "summary.json", summary)
    return summary


async def _ask_all(
    todo: Sequence[Question],
    engine: Engine,
    k: int,
    writer: LineWriter,
    total: int,
    progress: Progress,
) -> list[str]:
    """Ask what is left, and return the errors of failed searches."""
    failed: list[str] = []
    try:
        for start in range(0, len(todo), _BATCH):
            batch = todo[start : start + _BATCH]
            results = await engine.search([question.question for question in batch], k)
            pairs = list(zip(batch, results, strict=True))
            # What only a part of the engine found says nothing about the whole.
            errors = [result.error or result.partial for result in results]
            whole = (pair for pair, error in zip(pairs, errors, strict=True) if error is None)
            writer.write(*(_record(question, result) for question, result in whole))
            failed += [error for error in errors if error is not None]
            progress("coverage", total - len(todo) + start + len(batch) - len(failed), total)
            if any(result.used_up for result in results):
                break
    finally:
        await engine.close()
    return failed


def _record(question: Question, result: SearchResult) -> dict[str, Any]:
    ranks = (rank for rank, document in enumerate(result.documents, 1) if is_gold(document, question))
    return {
        "id": question.id,
        "group": question.group,
        "rank": next(ranks, None),
        "documents": len(result.documents),
    }


def summarise(
    questions: Sequence[Question], records: Sequence[dict[str, Any]], ks: Sequence[int]
) -> dict[str, Any]:
    """Shares of questions with a gold document among the first k, per k and group, with intervals."""
    groups = by_group(records)
    if len(groups) > 1:
        groups[ALL_GROUPS] = list(records)
    shares: dict[str, Any] = {}
    for k in sorted(set(ks)):
        shares[str(k)] = {}
        for group, members in groups.items():
            found = sum(r["rank"] is not None and r["rank"] <= k for r in members)
            shares[str(k)][group] = proportion(found, len(members))._asdict()
    lenient = sum(_is_lenient(question) for question in questions)
    return {"n": len(records), "coverage": shares, "short_answers": lenient}


def _is_lenient(question: Question) -> bool:
    """Whether almost any page of text holds a gold answer."""
    return any(
        len(normalise(answer)) <= 2 or normalise(answer) in ("yes", "no")
        for answer in question.golden_answers
    )
