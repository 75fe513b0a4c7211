"""Scores of single questions, and the summary over groups that every table prints.

Exact match, cover match and F1 keep their own names. Every estimate carries n and a 95 % interval, and
every question counts: one without an answer is wrong, none is dropped.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from innersearch.grammar import last_answer
from innersearch.metrics import (
    Estimate,
    bootstrap,
    cover_match,
    exact_match,
    majority,
    mean_of_groups,
    pass_at_k,
    token_f1,
    wilson,
)
from innersearch.rewards import strict_format, transcript
from innersearch.thoughts import spoken
from innersearch.types import ALL_GROUPS, MEAN_OF_GROUPS, Finish, Trajectory


@dataclass(frozen=True, slots=True)
class Score:
    """What one trajectory is worth."""

    answer: str | None
    em: bool
    cover_em: bool
    f1: float
    format: float
    searches: int
    calls: int
    """Searches that an engine answered."""
    failed: int
    """Those of them that failed."""
    tokens: int
    unfinished: bool
    """Whether it ended by an error: the policy refused to go on, or time ran out."""
    partial: int = 0
    """Searches that only some of several fused engines answered."""


def score(trajectory: Trajectory, *, direct: bool) -> Score:
    """Score a trajectory; a direct answer is all that stands after the last thought."""
    text = transcript(trajectory)
    answer = spoken(text).last if direct else last_answer(text)
    golds = trajectory.question.golden_answers
    real = [call for call in trajectory.calls if call.engine]
    return Score(
        answer,
        exact_match(answer, golds),
        cover_match(answer, golds),
        token_f1(answer, golds),
        strict_format(text),
        len(trajectory.calls),
        len(real),
        sum(call.error is not None for call in real),
        sum(sum(segment.sampled_mask) for segment in trajectory.segments),
        trajectory.stop_reason is Finish.ERROR,
        sum(call.partial is not None for call in real),
    )


Record = dict[str, Any]


def summarise(greedy: Sequence[Record], samples: Sequence[Record], ks: Iterable[int]) -> dict[str, Any]:
    """Estimates per group from the per-question records that evaluation writes."""
    groups = by_group(greedy)
    summary: dict[str, Any] = {"n": len(greedy), "em": {}, "cover_em": {}, "f1": {}}
    if len(groups) > 1:
        summary["mean_of_groups"] = {
            name: _json(mean_of_groups({g: [r[name] for r in groups[g]] for g in groups}))
            for name in ("em", "cover_em", "f1")
        }
        groups[ALL_GROUPS] = list(greedy)
    for group, members in groups.items():
        summary["em"][group] = _json(wilson(sum(r["em"] for r in members), len(members)))
        summary["cover_em"][group] = _json(wilson(sum(r["cover_em"] for r in members), len(members)))
        summary["f1"][group] = _json(bootstrap([r["f1"] for r in members]))
    summary["format_rate"] = statistics.fmean(r["format"] for r in greedy)
    for name in ("searches", "calls", "failed"):
        summary[name] = statistics.fmean(r[name] for r in greedy)
    # Records of earlier versions do not say.
    summary["partial"] = statistics.fmean(r.get("partial", 0) for r in greedy)
    summary["tokens"] = statistics.fmean(r["tokens"] for r in greedy)
    summary["unfinished"] = sum(int(r["unfinished"]) for r in (*greedy, *samples))
    if samples:
        sampled = by_group(samples)
        if len(groups) > 1:
            sampled[ALL_GROUPS] = list(samples)
        summary["pass_at_k"] = {g: _passes(sampled.get(g, []), ks) for g in groups}
        summary["majority_em"] = {g: _majority(sampled.get(g, [])) for g in groups}
    return summary


def by_group(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each group. Where there are several, none has the name of what stands beside them.

    >>> list(by_group([{"group": "all"}, {"group": "nq"}])), list(by_group([{"group": "all"}]))
    (['all (group)', 'nq'], ['all'])
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["group"], []).append(record)
    for taken in (ALL_GROUPS, MEAN_OF_GROUPS):
        if taken in groups and len(groups) > 1:
            name = f"{taken} (group)"
            while name in groups:
                name += "'"
            groups = {name if group == taken else group: found for group, found in groups.items()}
    return groups


def _passes(records: Sequence[Record], ks: Iterable[int]) -> dict[str, Any]:
    return {
        str(k): _json(bootstrap([pass_at_k(len(r["em"]), sum(r["em"]), k) for r in records])) for k in ks
    }


def _majority(records: Sequence[Record]) -> dict[str, float]:
    right = sum(exact_match(majority(r["answers"]), r["golden_answers"]) for r in records)
    return _json(wilson(right, len(records)))


def _json(estimate: Estimate) -> dict[str, float]:
    return estimate._asdict()
