"""Scores of single questions, and the summary over groups that every table prints.

Exact match, cover match and F1 keep their own names; F1 is that of the benchmark a question is of.
Every estimate carries n and a 95 % interval, and every question counts: one without an answer is wrong,
none is dropped. In the row of all questions each question weighs the same, in EM as in pass@k: where
only some of each group were sampled, a group weighs as much as it has questions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from innersearch.errors import ConfigError
from innersearch.grammar import TAGS, Grammar
from innersearch.intervals import Estimate, mean_of_groups, mean_score
from innersearch.metrics import F1_RULES, cover_match, exact_match, f1_rule, majority, pass_at_k
from innersearch.rewards import GroupMeasure, Measure, Scored, find_measure, strict_format
from innersearch.types import ALL_GROUPS, MEAN_OF_GROUPS, Trajectory

Record = dict[str, Any]


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
    rolled_back: int = 0
    """Tokens that were sampled and are in no segment: drafts that an engine's answer replaced, further
    samples, and replies that were written anew."""
    f1_rule: str = "SQuAD"
    """By whose script F1 is; see `innersearch.metrics.F1_RULES`."""
    scores: dict[str, float] = field(default_factory=dict)
    """What else was measured, by name."""

    def record(self) -> Record:
        """The score as records have it."""
        found = asdict(self)
        return found if self.scores else {name: v for name, v in found.items() if name != "scores"}


Measures = Mapping[str, Measure]
ALWAYS = ("em", "cover_em", "f1")
"""What is measured whatever is asked for."""


def find_measures(names: Iterable[str]) -> dict[str, Measure]:
    """The measures of some names, without those that are always measured.

    Raises:
        ConfigError: There is no measure of that name, or it is one of whole groups.
    """
    found: dict[str, Measure] = {}
    for name in names:
        measure = find_measure(name)
        if isinstance(measure, GroupMeasure):
            raise ConfigError(
                f"{name!r} measures whole groups of samples: leave it out, and sample with -n for the "
                "exact match of the majority"
            )
        if name not in ALWAYS:
            found[name] = measure
    return found


def score(
    trajectory: Trajectory, grammar: Grammar = TAGS, *, direct: bool, measures: Measures | None = None
) -> Score:
    """Score a trajectory; a direct answer is all that stands after the last thought.

    Raises:
        ConfigError: A measure gives something else than a number from 0 to 1.
    """
    scored = Scored(trajectory, grammar, direct=direct)
    answer, golds = scored.answer, scored.golds
    real = [call for call in trajectory.calls if call.engine]
    rule = f1_rule(trajectory.question.metadata)
    return Score(
        answer,
        exact_match(answer, golds),
        cover_match(answer, golds),
        F1_RULES[rule](answer, golds),
        strict_format(scored.text, grammar),
        len(trajectory.calls),
        len(real),
        sum(call.error is not None for call in real),
        sum(sum(segment.sampled_mask) for segment in trajectory.segments),
        trajectory.stop_reason.failed,
        sum(call.partial is not None for call in real),
        _rolled_back(trajectory),
        rule,
        {name: _share(name, measure(scored)) for name, measure in (measures or {}).items()},
    )


def _rolled_back(trajectory: Trajectory) -> int:
    drafts = sum(call.decision.own_tokens for call in trajectory.calls if call.decision)
    return drafts + (trajectory.rolled_back or 0)


def _share(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(
            f"measure {name!r} gave {value:g}: scores of an evaluation are from 0 to 1, so that they "
            "have intervals; take it for rewards, or scale it"
        )
    return float(value)


def summarise(greedy: Sequence[Record], samples: Sequence[Record], ks: Iterable[int]) -> dict[str, Any]:
    """Estimates per group from the per-question records that evaluation writes."""
    groups = by_group(greedy)
    sizes = {group: len(members) for group, members in groups.items()}
    summary: dict[str, Any] = {"n": len(greedy), "weighting": "questions"}
    for name in ALWAYS:
        values = {group: [float(r[name]) for r in members] for group, members in groups.items()}
        summary[name] = {group: _json(mean_score(found)) for group, found in values.items()}
        if len(groups) > 1:
            summary[name][ALL_GROUPS] = _json(mean_score([v for part in values.values() for v in part]))
            summary.setdefault(MEANS, {})[name] = _json(mean_of_groups(values))
    _summarise_more(summary, groups)
    summary["f1_rules"] = _f1_rules(groups)
    summary["format_rate"] = statistics.fmean(r["format"] for r in greedy)
    for name in ("searches", "calls", "failed"):
        summary[name] = statistics.fmean(r[name] for r in greedy)
    # Records of earlier versions do not say.
    summary["partial"] = statistics.fmean(r.get("partial", 0) for r in greedy)
    summary["tokens"] = statistics.fmean(r["tokens"] for r in greedy)
    summary["rolled_back"] = statistics.fmean(r.get("rolled_back", 0) for r in greedy)
    summary["unfinished"] = sum(int(r["unfinished"]) for r in (*greedy, *samples))
    if samples:
        sampled = {group: by_group(samples).get(group, []) for group in groups}
        _summarise_samples(summary, sampled, sizes, list(ks))
    return summary


def summarise_apart(greedy: Sequence[Record], values: Mapping[str, str]) -> dict[str, Any]:
    """Greedy scores and what they cost, for the questions of each value; `values` are by their ids."""
    parts: dict[str, list[Record]] = {}
    for record in greedy:
        parts.setdefault(values[record["id"]], []).append(record)
    return {
        value: {name: _json(mean_score([float(r[name]) for r in members])) for name in ALWAYS}
        | {
            name: statistics.fmean(r.get(name, 0) for r in members)
            for name in ("searches", "calls", "tokens", "rolled_back")
        }
        for value, members in sorted(parts.items())
    }


MEANS = "mean_of_groups"
"""The key of a summary for the means in which every group weighs the same."""


def _summarise_more(summary: dict[str, Any], groups: Mapping[str, Sequence[Record]]) -> None:
    """Put the other scores into a summary, each of the questions that have one."""
    records = [record for members in groups.values() for record in members]
    for name in dict.fromkeys(name for record in records for name in record.get("scores", ())):
        values = {
            group: [float(r["scores"][name]) for r in members if name in r.get("scores", ())]
            for group, members in groups.items()
        }
        rows = {group: _json(mean_score(found)) for group, found in values.items()}
        if len(groups) > 1:
            rows[ALL_GROUPS] = _json(mean_score([v for found in values.values() for v in found]))
            summary.setdefault(MEANS, {})[name] = _json(mean_of_groups(values))
        summary.setdefault("scores", {})[name] = rows


def _f1_rules(groups: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """By whose script the F1 of each group is; both where a group mixes benchmarks."""
    found = {group: {r.get("f1_rule", "SQuAD") for r in members} for group, members in groups.items()}
    return {group: " and ".join(sorted(rules)) for group, rules in found.items()}


def _summarise_samples(
    summary: dict[str, Any],
    sampled: Mapping[str, Sequence[Record]],
    sizes: Mapping[str, int],
    ks: Sequence[int],
) -> None:
    """Put pass@k and the majority's exact match into a summary, for the rows of the greedy scores."""
    passes: dict[str, dict[str, Any]] = {}
    for k in ks:
        row, mean = _sampled_row(sampled, sizes, partial(_passes, k=k))
        for group, estimate in row.items():
            passes.setdefault(group, {})[str(k)] = estimate
        if mean:
            summary[MEANS].setdefault("pass_at_k", {})[str(k)] = mean
    summary["pass_at_k"] = passes
    summary["majority_em"], mean = _sampled_row(sampled, sizes, _majority)
    if mean:
        summary[MEANS]["majority_em"] = mean


def _sampled_row(
    sampled: Mapping[str, Sequence[Record]], sizes: Mapping[str, int], value: Callable[[Record], float]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The estimates of each group and of all questions, and the mean of several groups."""
    values = {group: [value(r) for r in members] for group, members in sampled.items()}
    row = {group: _json(mean_score(found)) for group, found in values.items()}
    if len(values) < 2:
        return row, None
    whole = all(len(found) == sizes[group] for group, found in values.items())
    pooled = [v for found in values.values() for v in found]
    row[ALL_GROUPS] = _json(mean_score(pooled) if whole else mean_of_groups(values, sizes))
    return row, _json(mean_of_groups(values))


def _passes(record: Record, k: int) -> float:
    return pass_at_k(len(record["em"]), sum(record["em"]), k)


def _majority(record: Record) -> float:
    golds = record["golden_answers"]
    return float(exact_match(majority(record["answers"], golds), golds))


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


def _json(estimate: Estimate) -> dict[str, float | None]:
    """NaN as null: it is no JSON."""
    return {k: None if math.isnan(v) else v for k, v in estimate._asdict().items()}
