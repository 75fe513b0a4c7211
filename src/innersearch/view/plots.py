"""The figures of a report, as SVG text. Titles state what is shown; colours are colour-blind safe."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Metrics = Sequence[Mapping[str, float]]

COLOURS = {
    "direct": "#999999",
    "before": "#E69F00",
    "after": "#0072B2",
    "after_bm25": "#009E73",
    "after_hybrid": "#CC79A7",
}
_SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_SMOOTH = 5


def reward_curve(metrics: Metrics) -> str:
    """Reward, exact match, format and right majorities over the steps; the band is the 95 % interval of
    each mean.
    """
    figure, axes = _figure()
    steps = [m["step"] for m in metrics]
    curves = {
        "reward/mean": "reward",
        "reward/em": "exact match",
        "reward/format": "format",
        "vote/label_accuracy": "majority right",
    }
    for colour, (name, label) in zip(_SERIES, curves.items(), strict=True):
        if any(name not in m for m in metrics):
            continue
        values = [m[name] for m in metrics]
        axes.plot(steps, _smoothed(values), color=colour, label=label, linewidth=2)
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        if name == "reward/mean":
            margins = [1.96 * m["reward/stderr"] for m in metrics]
            low = [v - margin for v, margin in zip(values, margins, strict=True)]
            high = [v + margin for v, margin in zip(values, margins, strict=True)]
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="optimizer step", ylim=(0, 1.02), title="Training reward and its parts")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="best")
    return _svg(figure)


def behaviour_curve(metrics: Metrics) -> str:
    """Searches per trajectory, and on the right axis entropy and divergence from the start."""
    figure, axes = _figure()
    steps = [m["step"] for m in metrics]
    axes.plot(steps, _smoothed([m["search/calls"] for m in metrics]), color=_SERIES[2], linewidth=2)
    axes.set(xlabel="optimizer step", title="Searches per trajectory; entropy and divergence (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("searches", color=_SERIES[2])
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    for colour, name, label in (
        (_SERIES[3], "policy/entropy", "entropy"),
        (_SERIES[0], "policy/kl", "KL"),
    ):
        if all(name in m for m in metrics):
            right.plot(steps, _smoothed([m[name] for m in metrics]), color=colour, label=label)
    right.legend(frameon=False, loc="center right")
    return _svg(figure)


def noise_curve(metrics: Metrics) -> str:
    """Noise on purpose over the steps, as wanted and as drawn, and the reward beside it."""
    figure, axes = _figure()
    steps = [m["step"] for m in metrics]
    for colour, name, label in (
        (_SERIES[3], "search/noise", "noisy searches"),
        (_SERIES[2], "search/noise_wanted", "probability of noise"),
        (_SERIES[0], "reward/mean", "reward"),
    ):
        points = [(step, m[name]) for step, m in zip(steps, metrics, strict=True) if name in m]
        if points:
            shown, values = zip(*points, strict=True)
            axes.plot(shown, _smoothed(values), color=colour, label=label, linewidth=2)
    axes.set(xlabel="optimizer step", ylim=(0, 1.02), title="Noise on purpose, and the reward")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="best")
    return _svg(figure)


def pass_curve(rows: Mapping[str, Any], group: str) -> str:
    """pass@k of each row on a logarithmic axis, with 95 % bands."""
    figure, axes = _figure()
    for row, summary in rows.items():
        passes = summary["pass_at_k"][group]
        ks = [int(k) for k in passes]
        colour = COLOURS.get(row, _SERIES[0])
        axes.plot(ks, [p["value"] for p in passes.values()], "o-", color=colour, label=row)
        low, high = ([p[side] for p in passes.values()] for side in ("low", "high"))
        axes.fill_between(ks, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks])
    title = f"pass@k, {group.replace('_', ' ')}"
    axes.set(xlabel="k (samples)", ylabel="share of questions solved", ylim=(0, 1.02), title=title)
    axes.legend(frameon=False, loc="lower right")
    return _svg(figure)


def group_bars(rows: Mapping[str, Any]) -> str:
    """Greedy exact match of each row by group, with 95 % intervals."""
    asked = [summary["em"] for summary in rows.values()]
    groups = [group for group in asked[0] if group != "all" and all(group in em for em in asked)]
    figure, axes = _figure()
    width = 0.8 / len(rows)
    for offset, (row, summary) in enumerate(rows.items()):
        values = [summary["em"][group]["value"] for group in groups]
        errors = [
            [abs(summary["em"][g][side] - summary["em"][g]["value"]) for g in groups]
            for side in ("low", "high")
        ]
        places = [index + (offset - (len(rows) - 1) / 2) * width for index in range(len(groups))]
        colour = COLOURS.get(row, _SERIES[offset % 4])
        axes.bar(places, values, width, yerr=errors, color=colour, label=row, capsize=2, ecolor="#444")
    labels = ["\n".join(group.replace("_", " ").rsplit(" ", 1)) for group in groups]
    axes.set_xticks(range(len(groups)), labels, fontsize=8)
    # The space above 1 is for the legend.
    lines = -(-len(rows) // 3)
    axes.set(ylim=(0, 1.08 + 0.12 * lines), title="Greedy exact match by group")
    axes.legend(frameon=False, ncols=min(3, len(rows)), loc="upper center")
    return _svg(figure)


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
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "innersearch"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
