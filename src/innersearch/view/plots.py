"""The figures of a report, as SVG text. Titles state what is shown; colours are colour-blind safe.

Names of groups and of evaluations are other people's text and stand in a figure as they are written,
never read as formulas. A step without a number for a curve is left out of it.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from innersearch.types import ALL_GROUPS
from innersearch.view.tables import line

Metrics = Sequence[Mapping[str, float]]

COLOURS = {
    "direct": "#999999",
    "before": "#E69F00",
    "after": "#0072B2",
    "after_bm25": "#009E73",
    "after_hybrid": "#CC79A7",
}
_SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_ROWS = (*_SERIES, "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Of evaluations that have no colour of their own."""
_SMOOTH = 5
_LONGEST = 40
"""Characters of a label."""


def reward_curve(metrics: Metrics) -> str:
    """Reward, exact match, format and right majorities over the steps; the band is one standard error,
    over the questions of a step, to both sides of the mean reward.
    """
    figure, axes = _figure()
    curves = {
        "reward/mean": "reward",
        "reward/em": "exact match",
        "reward/format": "format",
        "vote/label_accuracy": "majority right",
    }
    for colour, (name, label) in zip(_SERIES, curves.items(), strict=True):
        steps, values = _points(metrics, name)
        if not steps:
            continue
        axes.plot(steps, _smoothed(values), color=colour, label=label, linewidth=2)
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        if name == "reward/mean":
            margins = dict(zip(*_points(metrics, "reward/stderr"), strict=True))
            pairs = [(v, margins.get(step, 0.0)) for step, v in zip(steps, values, strict=True)]
            low, high = [v - m for v, m in pairs], [v + m for v, m in pairs]
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    title = "Training reward ± 1 standard error, and its parts"
    rewards = _points(metrics, "reward/mean")[1]
    bottom, top = min(0.0, min(rewards, default=0.0)), max(1.0, max(rewards, default=1.0))
    axes.set(xlabel="optimizer step", ylim=(1.05 * bottom, top + 0.02), title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, loc="best")
    return _svg(figure)


def behaviour_curve(metrics: Metrics) -> str:
    """Searches per trajectory, and on the right axis entropy and divergence from the start."""
    figure, axes = _figure()
    steps, calls = _points(metrics, "search/calls")
    axes.plot(steps, _smoothed(calls), color=_SERIES[2], linewidth=2)
    axes.set(xlabel="optimizer step", title="Searches per trajectory; entropy and divergence (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("searches", color=_SERIES[2])
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    for colour, name, label in (
        (_SERIES[3], "policy/entropy", "entropy"),
        (_SERIES[0], "policy/kl", "KL"),
    ):
        steps, values = _points(metrics, name)
        if steps:
            right.plot(steps, _smoothed(values), color=colour, label=label)
    _legend(right, loc="center right")
    return _svg(figure)


def noise_curve(metrics: Metrics) -> str:
    """Noise on purpose over the steps, as wanted and as drawn, and the reward beside it."""
    figure, axes = _figure()
    for colour, name, label in (
        (_SERIES[3], "search/noise", "noisy searches"),
        (_SERIES[2], "search/noise_wanted", "probability of noise"),
        (_SERIES[0], "reward/mean", "reward"),
    ):
        steps, values = _points(metrics, name)
        if steps:
            axes.plot(steps, _smoothed(values), color=colour, label=label, linewidth=2)
    axes.set(xlabel="optimizer step", ylim=(0, 1.02), title="Noise on purpose, and the reward")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, loc="best")
    return _svg(figure)


def pass_curve(rows: Mapping[str, Any], group: str) -> str:
    """pass@k of each row on a logarithmic axis, with 95 % bands."""
    figure, axes = _figure()
    ticks: set[int] = set()
    for index, (row, summary) in enumerate(rows.items()):
        passes = {int(k): p for k, p in summary["pass_at_k"][group].items() if p["value"] is not None}
        ks = sorted(passes)
        ticks |= set(ks)
        colour = COLOURS.get(row, _SERIES[index % 4])
        axes.plot(ks, [passes[k]["value"] for k in ks], "o-", color=colour, label=_written(row))
        low, high = ([passes[k][side] for k in ks] for side in ("low", "high"))
        axes.fill_between(ks, low, high, color=colour, alpha=0.15, linewidth=0)
    if ticks:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(ticks), [str(k) for k in sorted(ticks)])
        axes.xaxis.set_minor_formatter(NullFormatter())
    title = f"pass@k, {_written(group.replace('_', ' '))}"
    axes.set(xlabel="k (samples)", ylabel="share of questions solved", ylim=(0, 1.02), title=title)
    _legend(axes, loc="lower right")
    return _svg(figure)


def group_bars(rows: Mapping[str, Any]) -> str:
    """Greedy exact match of each row by group, with 95 % intervals."""
    asked = [summary["em"] for summary in rows.values()]
    groups = [
        group
        for group in asked[0]
        if group != ALL_GROUPS and all(em.get(group, {}).get("value") is not None for em in asked)
    ]
    figure, axes = _figure()
    width = 0.8 / len(rows)
    for offset, (row, summary) in enumerate(rows.items()):
        values = [summary["em"][group]["value"] for group in groups]
        errors = [
            [abs(summary["em"][g][side] - summary["em"][g]["value"]) for g in groups]
            for side in ("low", "high")
        ]
        places = [index + (offset - (len(rows) - 1) / 2) * width for index in range(len(groups))]
        colour = COLOURS.get(row, _ROWS[offset % len(_ROWS)])
        style: dict[str, Any] = {"color": colour, "label": _written(row), "capsize": 2, "ecolor": "#444"}
        axes.bar(places, values, width, yerr=errors if groups else None, **style)
    labels = ["\n".join(_written(group.replace("_", " ")).rsplit(" ", 1)) for group in groups]
    axes.set_xticks(range(len(groups)), labels, fontsize=8)
    # The space above 1 is for the legend.
    lines = -(-len(rows) // 3)
    axes.set(ylim=(0, 1.08 + 0.12 * lines), title="Greedy exact match by group")
    _legend(axes, ncols=min(3, len(rows)), loc="upper center")
    return _svg(figure)


def cost_accuracy(rows: Mapping[str, Any]) -> str:
    """Greedy exact match over all questions of each row, against its real searches per question; those
    that no other row beats in both are joined by a line.
    """
    figure, axes = _figure()
    dots = []
    for number, (row, summary) in enumerate(rows.items()):
        em = summary["em"].get(ALL_GROUPS) or next(iter(summary["em"].values()))
        if any(em[part] is None for part in ("value", "low", "high")):
            continue
        dot = summary.get("calls", 0.0), em["value"]
        margins = [[abs(em[end] - em["value"])] for end in ("low", "high")]
        style: dict[str, Any] = {"fmt": "o", "color": COLOURS.get(row, _ROWS[number % len(_ROWS)])}
        axes.errorbar(*dot, yerr=margins, capsize=2, ecolor="#888", **style)
        axes.annotate(_written(row), dot, xytext=(6, 4), textcoords="offset points", fontsize=8)
        dots.append(dot)
    front = sorted(dot for dot in dots if not any(_beats(other, dot) for other in dots))
    axes.plot(*(zip(*front, strict=True) if front else ([], [])), color="#888", linewidth=1, zorder=0)
    most = max((cost for cost, _ in dots), default=1.0) or 1.0
    axes.set_xlim(-0.05 * most, 1.3 * most)
    axes.set(xlabel="real searches per question", ylim=(0, 1.08), title="Real searches, exact match")
    return _svg(figure)


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether it is as good in cost and in exact match, and better in one of them."""
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def _points(metrics: Metrics, name: str) -> tuple[list[float], list[float]]:
    """The steps that have a number under `name`, and those numbers."""
    found = [(m["step"], m[name]) for m in metrics if isinstance(m.get(name), int | float)]
    finite = [(step, value) for step, value in found if math.isfinite(value)]
    return [step for step, _ in finite], [value for _, value in finite]


def _written(name: str) -> str:
    """A name as a label that looks like it: short, on one line, no dollar the beginning of a formula."""
    text = line(name)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return text.replace("$", r"\$") or "(no name)"


def _legend(axes: Axes, **settings: Any) -> None:
    """Of everything that has a label, also of those that matplotlib takes for its own."""
    artists: list[Any] = [*axes.get_lines(), *axes.containers]
    shown = [
        (artist, str(artist.get_label()))
        for artist in artists
        if not re.fullmatch(r"_(child|container)\d+|_nolegend_", str(artist.get_label()))
    ]
    if shown:
        handles, labels = zip(*shown, strict=True)
        legend = axes.legend(handles, labels, **settings)
        legend.set_frame_on(False)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    return figure, axes


def _smoothed(values: Sequence[float]) -> list[float]:
    """Trailing mean over five steps."""
    windows = (values[max(0, end - _SMOOTH) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]


def _svg(figure: Figure) -> str:
    """The figure as an `<svg>` element with text as text, the same bytes for the same data."""
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "innersearch"}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Text stays text: whoever looks at the figure has the fonts, this machine need not.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
