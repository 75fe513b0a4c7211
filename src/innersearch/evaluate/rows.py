"""The lines that an evaluation writes: of trajectories, and of questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from innersearch.evaluate.scores import Score
from innersearch.trajectories import to_line
from innersearch.types import Question, Trajectory


def of_trajectory(trajectory: Trajectory, entry: Score) -> str:
    """A trajectory with its scores as its components."""
    components = {"em": float(entry.em), "f1": entry.f1, "format": entry.format} | entry.scores
    return to_line(replace(trajectory, answer=entry.answer, components=components))


def of_question(question: Question, scores: Sequence[Score], *, sampled: bool) -> dict[str, Any]:
    """A question with the scores of all its trajectories."""
    record = {
        "id": question.id,
        "group": question.group,
        "question": question.question,
        "golden_answers": list(question.golden_answers),
    }
    if not sampled:
        return record | scores[0].record()
    return record | {
        "em": [int(entry.em) for entry in scores],
        "answers": [entry.answer for entry in scores],
        "format": sum(entry.format for entry in scores) / len(scores),
        "searches": sum(entry.searches for entry in scores) / len(scores),
        "unfinished": sum(entry.unfinished for entry in scores),
        "each": {name: [getattr(entry, name) for entry in scores] for name in ("searches", "tokens")},
        **({"scores": more} if (more := _each(scores)) else {}),
    }


def _each(scores: Sequence[Score]) -> dict[str, list[float]]:
    """Per measure, what it says of each trajectory."""
    return {name: [entry.scores[name] for entry in scores] for name in scores[0].scores}
