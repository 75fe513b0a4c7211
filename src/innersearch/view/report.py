"""`report.html`: one static file with the figures of a run and its trajectories to browse.

It needs no network and no server. It shows whatever the run directory holds: training metrics,
evaluations under `eval/<row>/`, trajectories of both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from innersearch.errors import RunError
from innersearch.records import read_json, read_lines, replace_text
from innersearch.types import ALL_GROUPS
from innersearch.view import plots
from innersearch.view.costs import RUN_HEADS, report_rows

ROWS = ("direct", "before", "after", "after_bm25", "after_hybrid")
"""Evaluations in the order of every table, where a run has them."""

_PER_GROUP = 12
_PER_STEP = 8
_MAIN_GROUP = "two_hop_common"


def write_report(path: Path) -> Path:
    """Write `path`/report.html from what the run directory `path` holds, and return its path.

    Raises:
        RunError: There is nothing to report.
    """
    metrics = list(read_lines(path / "metrics.jsonl"))
    rows = _evaluations(path)
    if not metrics and not rows:
        raise RunError(f"nothing to report in {path}: it has neither metrics.jsonl nor eval/")
    recipe = _optional(path / "recipe.json")
    template = (files(__package__) / "report.html.jinja").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            title=path.name,
            recipe=recipe,
            versions=_optional(path / "environment.json").get("versions", {}),
            metrics=metrics,
            rows=rows,
            groups=_groups(rows),
            cost_heads=RUN_HEADS,
            costs=report_rows(path, metrics),
            fidelity=_fidelity(recipe),
            figures=[Markup(figure) for figure in _figures(metrics, rows)],
            trajectories=_embed(list(_trajectories(path, metrics, rows))),
        )
    )
    report = path / "report.html"
    replace_text(report, page)
    return report


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _fidelity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What `innersearch simulator measure` found out about the simulator of a run, if anything."""
    kind, _, place = recipe.get("search", {}).get("engine", "").partition(":")
    return _optional(Path(place) / "fidelity.json") if kind == "simulated" and place else {}


def _evaluations(path: Path) -> dict[str, Any]:
    found = {file.parent.name: read_json(file) for file in (path / "eval").glob("*/summary.json")}
    ordered = [row for row in ROWS if row in found] + sorted(set(found) - set(ROWS))
    return {row: found[row] for row in ordered}


def _groups(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Of all evaluations, which may have asked different questions, each from the first that has it."""
    groups: dict[str, Any] = {}
    for summary in rows.values():
        groups |= {group: em for group, em in summary["em"].items() if group not in groups}
    return groups


def _figures(metrics: list[dict[str, float]], rows: Mapping[str, Any]) -> Iterator[str]:
    if metrics:
        yield plots.reward_curve(metrics)
        yield plots.behaviour_curve(metrics)
        if any("search/noise_wanted" in step for step in metrics):
            yield plots.noise_curve(metrics)
    sampled = {row: summary for row, summary in rows.items() if "pass_at_k" in summary}
    if sampled:
        first, *others = (summary["pass_at_k"] for summary in sampled.values())
        # Of one group, or of files with none in common, nothing stands under "all".
        if common := [group for group in first if all(group in passes for passes in others)]:
            yield plots.pass_curve(sampled, _MAIN_GROUP if _MAIN_GROUP in common else common[-1])
    if rows:
        yield plots.group_bars(rows)


def _trajectories(
    path: Path, metrics: list[dict[str, float]], rows: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """A sample to browse: the same questions of each evaluation, and a few of some steps."""
    for row in reversed(list(rows)):
        taken: Counter[str] = Counter()
        for record in read_lines(path / "eval" / row / "trajectories.jsonl"):
            group = record["question"]["metadata"].get("group", ALL_GROUPS)
            if record["sampling"]["temperature"] == 0 and taken[group] < _PER_GROUP:
                taken[group] += 1
                yield _entry(record, row, group)
    last = len(metrics)
    shown = {1, last // 4, last // 2, 3 * last // 4, last}
    steps: Counter[int] = Counter()
    for record in read_lines(path / "trajectories.jsonl"):
        step = record["step"]
        if step in shown and steps[step] < _PER_STEP:
            steps[step] += 1
            group = record["question"]["metadata"].get("group", ALL_GROUPS)
            yield _entry(record, f"training step {step}", group)


def _entry(record: Mapping[str, Any], origin: str, group: str) -> dict[str, Any]:
    spans = [
        {
            "kind": span["kind"],
            "source": span["source"],
            "text": span["text"],
            "masked": not segment["loss_mask"][span["start"]],
        }
        for segment in record["segments"]
        for span in islice(segment["spans"], 1, None)
    ]
    return {
        "origin": origin,
        "group": group,
        "question": record["question"]["question"],
        "golden": record["question"]["golden_answers"],
        "answer": record.get("answer"),
        "correct": record["components"].get("em") == 1.0,
        "reward": record.get("reward"),
        "stop": record["stop_reason"],
        "spans": spans,
        "notes": [note for call in record["calls"] for note in _notes(call)],
    }


def _notes(call: Mapping[str, Any]) -> Iterator[str]:
    """Who answered a query and why, where that was decided."""
    decision = call.get("decision", {})
    if call.get("label"):
        mended = f", mended: {', '.join(call['faults'])}" if call.get("faults") else ""
        yield f"search {call['id'] + 1}: {call['label']} on purpose, by {call['engine']}{mended}"
    if "error" in call:
        yield f"search {call['id'] + 1} failed: {call['error']}"
    if "partial" in call:
        yield f"search {call['id'] + 1} failed in part: {call['partial']}"
    if "value" in decision and "threshold" in decision:
        sign, who = (">", call["engine"]) if decision["real"] else ("≤", "its own information")
        measured = f"{decision['signal']} {decision['value']:.3f} {sign} {decision['threshold']:.3f}"
        yield f"search {call['id'] + 1}: {measured}, so {who}"
    if "own" in decision:
        yield f"rolled back: {decision['own']}"


def _embed(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
    return Markup(text)
