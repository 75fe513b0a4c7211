"""`report.html`: one static file with the figures of a run and its trajectories to browse.

It needs no network and no server. It shows whatever the run directory holds: training metrics,
evaluations under `eval/<row>/`, trajectories of both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, NotRequired

from jinja2 import Environment
from markupsafe import Markup
from typing_extensions import TypedDict

from innersearch.config.names import engine_names
from innersearch.errors import RunError
from innersearch.evaluate.stored import Shown
from innersearch.records import replace_text
from innersearch.runs import Step
from innersearch.stored import Record, finite, read_object, read_records
from innersearch.trajectories import as_trajectory, read_trajectories
from innersearch.types import ALL_GROUPS, Call, Kind, Question, Segment, Source, Trajectory
from innersearch.view import plots
from innersearch.view.costs import RUN_HEADS, report_rows
from innersearch.view.tables import percent
from innersearch.view.terminal import CUTS

ROWS = ("direct", "before", "rft", "after", "after_bm25", "after_hybrid")
"""Evaluations in the order of every table, where a run has them."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
"""Characters that no page may hold; they come in with names."""
_PER_GROUP = 12
_PER_STEP = 8
_MAIN_GROUPS = ("depth_2", "two_hop_common")
"""Whose pass@k is drawn: of the world, and of its first version."""


class _Sizes(TypedDict):
    prompts_per_step: int
    group_size: int


class _Searching(TypedDict):
    engine: NotRequired[str]


class _Made(TypedDict):
    """What the report shows of recipe.json."""

    name: str
    model: str
    data: str
    seed: int
    trainer: _Sizes
    search: NotRequired[_Searching]


class _Around(TypedDict):
    """What the report shows of environment.json."""

    versions: NotRequired[dict[str, str | None]]


class _Figures(TypedDict):
    """What the report shows of fidelity.json."""

    queries: int


def write_report(path: Path) -> Path:
    """Write `path`/report.html from what the run directory `path` holds, and return its path.

    It is written whole or not at all.

    Raises:
        DataError: A line of a record is no JSON.
        RunError: There is nothing to report, or a record is damaged.
        OSError: It cannot be written; it is the report that the error names.
    """
    metrics = [_numbers(step) for step in read_records(path / "metrics.jsonl", Step)]
    rows = _evaluations(path)
    if not metrics and not rows:
        raise RunError(f"nothing to report in {path}: it has neither metrics.jsonl nor eval/")
    recipe = _optional(path / "recipe.json", _Made)
    template = (files(__package__) / "report.html.jinja").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            title=path.absolute().name,
            percent=percent,
            recipe=recipe,
            versions=_optional(path / "environment.json", _Around).get("versions", {}),
            metrics=metrics,
            rows=rows,
            groups=_groups(rows),
            names=list(dict.fromkeys(name for s in rows.values() for name in s.get("scores", {}))),
            whole=_whole,
            cost_heads=RUN_HEADS,
            costs=report_rows(path, metrics),
            fidelity=_fidelity(recipe),
            figures=[Markup(figure) for figure in _figures(metrics, rows)],
            trajectories=_embed(list(_trajectories(path, metrics, rows))),
        )
    )
    report = path / "report.html"
    replace_text(report, _UNSEEN.sub("\ufffd", page))
    return report


def demand_report(path: Path) -> Path:
    """The report of a run, written anew where it is missing or older than what it shows; errors as
    `write_report`.
    """
    report = path / "report.html"
    shown = (*path.glob("*.json*"), *path.glob("eval/*/*.json*"))
    if report.is_file() and all(f.stat().st_mtime <= report.stat().st_mtime for f in shown):
        return report
    return write_report(path)


def _optional(path: Path, kind: type) -> Record:
    return read_object(path, kind) if path.is_file() else {}


def _numbers(step: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in step.items() if isinstance(value, int | float)}


def _fidelity(recipe: Mapping[str, Any]) -> Record:
    """What `innersearch simulator measure` found out about the simulator of a run, if anything:
    `queries`, and `rows` of a name, a value and an interval.
    """
    named = engine_names(recipe.get("search", {}).get("engine", ""))
    place = named[0].place if len(named) == 1 and named[0].kind == "simulated" else ""
    found = _optional(Path(place) / "fidelity.json", _Figures) if place else {}
    if not found:
        return {}
    rows = []
    for name, figure in found.items():
        if isinstance(figure, int | float) and name != "queries":
            rows.append((name.replace("_", " "), f"{figure:.3g}", ""))
        elif isinstance(figure, dict) and all(isinstance(figure.get(e), int | float) for e in _ENDS):
            value, low, high = (f"{figure[end]:.3f}" for end in _ENDS)
            rows.append((name.replace("_", " "), value, f"{low} to {high}"))
    return {"queries": found["queries"], "rows": rows}


_ENDS = ("value", "low", "high")


def _evaluations(path: Path) -> dict[str, Any]:
    found = {f.parent.name: read_object(f, Shown) for f in (path / "eval").glob("*/summary.json")}
    ordered = [row for row in ROWS if row in found] + sorted(set(found) - set(ROWS))
    return {row: found[row] for row in ordered}


def _groups(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Of all evaluations, which may have asked different questions, each from the first that has it."""
    groups: dict[str, Any] = {}
    for summary in rows.values():
        groups |= {group: em for group, em in summary["em"].items() if group not in groups}
    return groups


def _whole(summary: Mapping[str, Any], name: str) -> Any:
    """A score of all questions, or of the only group; None where it was not measured."""
    groups = summary.get("scores", {}).get(name, {})
    return groups.get(ALL_GROUPS) or next(iter(groups.values()), None)


def _figures(metrics: Sequence[Mapping[str, float]], rows: Mapping[str, Any]) -> Iterator[str]:
    if metrics:
        yield plots.reward_curve(metrics)
        yield plots.behaviour_curve(metrics)
        if any("search/noise_wanted" in step for step in metrics):
            yield plots.noise_curve(metrics)
    sampled = {row: summary for row, summary in rows.items() if summary.get("pass_at_k")}
    if sampled:
        first, *others = (summary["pass_at_k"] for summary in sampled.values())
        # Of one group, or of files with none in common, nothing stands under "all".
        if common := [group for group in first if all(group in passes for passes in others)]:
            main = next((group for group in _MAIN_GROUPS if group in common), common[-1])
            yield plots.pass_curve(sampled, main)
    if rows:
        yield plots.group_bars(rows)


def _trajectories(
    path: Path, metrics: Sequence[Mapping[str, float]], rows: Mapping[str, Any]
) -> Iterator[Record]:
    """A sample to browse: the same questions of each evaluation, and a few of some steps."""
    for row in reversed(list(rows)):
        folder, taken = path / "eval" / row, Counter[str]()
        for record, place in read_trajectories(folder / "trajectories.jsonl"):
            if taken[_group(record)] >= _PER_GROUP:
                continue
            trajectory = as_trajectory(record, folder, place)
            if trajectory.sampling.temperature == 0:
                taken[_group(record)] += 1
                yield _entry(trajectory, row)
    last = len(metrics)
    shown = {1, last // 4, last // 2, 3 * last // 4, last}
    steps: Counter[int] = Counter()
    for record, place in read_trajectories(path / "trajectories.jsonl"):
        step = record.get("step", 0)
        if not isinstance(step, int) or (step in shown and steps[step] < _PER_STEP):
            trajectory = as_trajectory(record, path, place)
            steps[step] += 1
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
    return {
        "origin": origin,
        "group": trajectory.question.group,
        "question": trajectory.question.question,
        "golden": trajectory.question.golden_answers,
        "answer": trajectory.answer,
        "correct": trajectory.components.get("em") == 1.0,
        "reward": trajectory.reward,
        "stopped": CUTS.get(trajectory.stop_reason, ""),
        "spans": spans,
        "notes": [note for call in trajectory.calls for note in _notes(call)],
    }


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


def _embed(value: Sequence[Record]) -> Markup:
    """JSON that browsers can read, and that is safe inside a script element."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return Markup(text)
