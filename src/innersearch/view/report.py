"""`report.html`: one static file with the figures of a run and its trajectories to browse.

It needs no network and no server. It shows whatever the run directory holds: training metrics,
evaluations under `eval/<row>/`, trajectories of both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
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
from innersearch.types import ALL_GROUPS
from innersearch.view import plots
from innersearch.view.costs import RUN_HEADS, report_rows
from innersearch.view.entries import entries
from innersearch.view.tables import percent

ROWS = ("direct", "before", "rft", "after", "after_bm25", "after_hybrid")
"""Evaluations in the order of every table, where a run has them."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
"""Characters that no page may hold; they come in with names."""
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


def write_report(path: Path, trajectories: int = 0) -> Path:
    """Write `path`/report.html from what the run directory `path` holds, and return its path.

    It is written whole or not at all. Of the trajectories it holds a sample, or all of them up to the
    number that is given.

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
    template = _beside("report.html.jinja")
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
            figures=[(name, Markup(figure)) for name, figure in _figures(metrics, rows)],
            trajectories=_embed(entries(path, metrics, rows, trajectories)),
            style=Markup(_beside("report.css")),
            script=Markup(_beside("report.js")),
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


def _beside(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


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


def _figures(
    metrics: Sequence[Mapping[str, float]], rows: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """What each shows in words, and the figure."""
    if metrics:
        yield "reward and its parts over the steps", plots.reward_curve(metrics)
        yield "searches, entropy and divergence over the steps", plots.behaviour_curve(metrics)
        if any("search/noise_wanted" in step for step in metrics):
            yield "noise on purpose over the steps", plots.noise_curve(metrics)
    sampled = {row: summary for row, summary in rows.items() if summary.get("pass_at_k")}
    if sampled:
        first, *others = (summary["pass_at_k"] for summary in sampled.values())
        # Of one group, or of files with none in common, nothing stands under "all".
        if common := [group for group in first if all(group in passes for passes in others)]:
            main = next((group for group in _MAIN_GROUPS if group in common), common[-1])
            yield f"pass@k of {main}", plots.pass_curve(sampled, main)
    if rows:
        yield "exact match by group", plots.group_bars(rows)
    if len(rows) > 1:
        yield "real searches against exact match", plots.cost_accuracy(rows)


def _embed(value: Sequence[Record]) -> Markup:
    """JSON that browsers can read, and that is safe inside a script element."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return Markup(text)
