"""The trajectories that a report lets people browse: a sample of each evaluation, and whole groups of
some training steps; or all of them.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from innersearch.stored import Record
from innersearch.trajectories import as_trajectory, read_trajectories
from innersearch.types import Call, Kind, Question, Segment, Source, Trajectory
from innersearch.view.terminal import CUTS

_PER_GROUP = 12
"""Greedy trajectories of each group of questions of an evaluation."""
_GROUPS_PER_STEP = 4
"""Questions of a training step, with all the trajectories of each."""


def entries(
    path: Path, metrics: Sequence[Mapping[str, float]], rows: Mapping[str, Any], most: int = 0
) -> list[Record]:
    """What is shown of a run directory: the same questions of each evaluation, and a few of some steps;
    with `most` all there are, up to so many.

    Raises:
        DataError: A line is no JSON.
        RunError: A record is damaged.
    """
    found = _evaluated(path, rows, everything=bool(most))
    trained = _trained(path, len(metrics), everything=bool(most))
    chosen = [*found, *trained] if not most else list(islice(_both(found, trained), most))
    return _with_advantages(chosen)


def _both(*parts: Iterator[Record]) -> Iterator[Record]:
    for part in parts:
        yield from part


def _evaluated(path: Path, rows: Mapping[str, Any], *, everything: bool) -> Iterator[Record]:
    for row in reversed(list(rows)):
        folder = path / "eval" / row
        taken = Counter[str]()
        for record, place in read_trajectories(folder / "trajectories.jsonl"):
            if not everything and taken[_group(record)] >= _PER_GROUP:
                continue
            trajectory = as_trajectory(record, folder, place)
            if everything or trajectory.sampling.temperature == 0:
                taken[_group(record)] += 1
                yield _entry(trajectory, row)


def _trained(path: Path, last: int, *, everything: bool) -> Iterator[Record]:
    shown = {1, last // 4, last // 2, 3 * last // 4, last}
    groups: dict[int, set[Any]] = defaultdict(set)
    for record, place in read_trajectories(path / "trajectories.jsonl"):
        step, group = record.get("step", 0), str(record.get("group_id"))
        wanted = everything or not isinstance(step, int)
        if not wanted and step in shown:
            wanted = group in groups[step] or len(groups[step]) < _GROUPS_PER_STEP
        if wanted:
            trajectory = as_trajectory(record, path, place)
            groups[trajectory.step].add(group)
            yield _entry(trajectory, f"training step {step}")


def _group(record: Mapping[str, Any]) -> str:
    """The group of a record that may be damaged; whether it is, is found out when it is shown."""
    question = record.get("question")
    metadata = question.get("metadata") if isinstance(question, dict) else None
    return Question("", "", (), metadata if isinstance(metadata, dict) else {}).group


def _entry(trajectory: Trajectory, origin: str) -> Record:
    spans = [
        span
        for number, segment in enumerate(trajectory.segments)
        for span in (*_renewed(segment, number), *_spans(segment))
    ]
    depth = trajectory.question.metadata.get("depth")
    return {
        "id": f"{origin}/{trajectory.uid}",
        "origin": origin,
        "group": trajectory.question.group,
        "question": trajectory.question.question,
        "asked": trajectory.question.id,
        "member": trajectory.group_id,
        "golden": trajectory.question.golden_answers,
        "answer": trajectory.answer,
        "correct": trajectory.components.get("em") == 1.0,
        "reward": trajectory.reward,
        "parts": trajectory.components,
        "stopped": CUTS.get(trajectory.stop_reason, ""),
        "calls": len(trajectory.calls),
        "depth": depth if isinstance(depth, int) else None,
        "failed": trajectory.error or next((c.error for c in trajectory.calls if c.error), None),
        "spans": spans,
        "notes": [note for call in trajectory.calls for note in _notes(call)],
    }


def _with_advantages(found: list[Record]) -> list[Record]:
    """The same, each with its reward less the mean of its group, where the group has several."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for entry in found:
        if entry["reward"] is not None:
            groups[entry["origin"], entry["member"]].append(entry)
    for members in groups.values():
        if len(members) > 1:
            mean = statistics.fmean(entry["reward"] for entry in members)
            for entry in members:
                entry["advantage"] = entry["reward"] - mean
    return found


def _spans(segment: Segment) -> Iterator[Record]:
    for span in islice(segment.spans, 1, None):
        yield {
            "kind": span.kind,
            "source": span.source,
            "text": span.text,
            "call": span.call_id,
            "masked": not segment.loss_mask[span.start],
        }


def _renewed(segment: Segment, number: int) -> Iterator[Record]:
    """What stands between two segments: the later one begins with another prompt."""
    if number:
        text = f"segment {number + 1}: another prompt, of {segment.prompt_len} tokens"
        yield {
            "kind": Kind.PROMPT,
            "source": Source.TEMPLATE,
            "text": text,
            "call": None,
            "masked": True,
        }


def _notes(call: Call) -> Iterator[str]:
    """Who answered a query and why, where that was decided."""
    decision = call.decision
    if call.label:
        mended = f", mended: {', '.join(call.faults)}" if call.faults else ""
        yield f"search {call.id + 1}: {call.label} on purpose, by {call.engine}{mended}"
    if call.error is not None:
        yield f"search {call.id + 1} failed: {call.error}"
    if call.partial is not None:
        yield f"search {call.id + 1} failed in part: {call.partial}"
    if decision and decision.value is not None and decision.threshold is not None:
        sign, who = (">", call.engine) if decision.real else ("≤", "its own information")
        measured = f"{decision.signal} {decision.value:.3f} {sign} {decision.threshold:.3f}"
        yield f"search {call.id + 1}: {measured}, so {who}"
    if decision and decision.own is not None:
        yield f"rolled back: {decision.own}"
