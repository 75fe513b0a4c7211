"""What is made of the records of an evaluation again: what a router learnt, and scores set apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from innersearch.errors import ConfigError
from innersearch.evaluate.clusters import field_of
from innersearch.evaluate.scores import summarise_apart
from innersearch.evaluate.stored import Answered
from innersearch.records import write_json
from innersearch.routing.experience import EXPERIENCE
from innersearch.sealed import any_sealed, unseal_record
from innersearch.stored import read_unique
from innersearch.tools.search import SearchTool
from innersearch.trajectories import as_trajectory, read_trajectories
from innersearch.types import Question


def learn_again(path: Path, search: SearchTool, questions: Sequence[Question]) -> None:
    """Let a router that learns in use know what the greedy trajectories in `path` show.

    Raises:
        ConfigError: The questions are sealed, and it would write words of their queries.
        RunError: The experience to begin with is missing.
    """
    if search.learner is None:
        return
    if any_sealed(questions):
        raise ConfigError(
            "the router learning keeps words of queries, and those about sealed questions must not be "
            "written: take hybrid, or another set of questions"
        )
    search.learner.into(path / EXPERIENCE)
    for record, place in read_trajectories(path / "trajectories.jsonl"):
        trajectory = as_trajectory(record, path, place)
        if trajectory.sampling.temperature == 0:
            search.learner.learn(trajectory)


def with_parts(
    summary: dict[str, Any], path: Path, questions: Sequence[Question], by: Sequence[str]
) -> dict[str, Any]:
    """A summary, with the greedy scores in `path` per value of the fields `by`, where there are any."""
    if not by:
        return summary
    asked = {question.id: question for question in questions}
    records = list(map(unseal_record, read_unique(path / "greedy.jsonl", Answered)))
    apart = {
        field: summarise_apart(records, {r["id"]: field_of(asked[r["id"]], field) for r in records})
        for field in by
    }
    summary = summary | {"by": apart}
    write_json(path / "summary.json", summary)
    return summary
