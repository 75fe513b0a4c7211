"""What is better looked at than read; the same results give the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence

import matplotlib as mpl
from benchmarks.evidence.claims import SELF, Claims, QuestionSet
from benchmarks.evidence.plan import Row
from benchmarks.evidence.stored import Results
from benchmarks.evidence.tables import runs_of
from benchmarks.evidence.verdicts import CONTRADICTED, SUPPORTED, Verdict
from matplotlib.figure import Figure

_COLOURS = {SUPPORTED: "#1b7837", CONTRADICTED: "#b2182b"}
_UNDECIDED = "#777777"
_AXES = {"svg.hashsalt": "innersearch", "svg.fonttype": "none", "font.size": 9}


def verdict_plot(verdicts: Sequence[Verdict]) -> str | None:
    """What each claim in points was found to be, beside its margin; None without any."""
    shown = [
        (number, verdict)
        for number, verdict in enumerate(verdicts, 1)
        if verdict.found and verdict.claim.in_points and math.isfinite(verdict.found.interval[0])
    ]
    if not shown:
        return None
    with mpl.rc_context(_AXES):
        figure = Figure(figsize=(8, 0.32 * len(shown) + 1.0), layout="constrained")
        axes = figure.subplots()
        for place, (_, verdict) in enumerate(shown):
            colour = _COLOURS.get(verdict.verdict, _UNDECIDED)
            low, high = (100 * end for end in verdict.found.interval)
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            worlds = [100 * part.value for _, part in verdict.worlds]
            axes.plot(worlds, [place] * len(worlds), "|", color=colour)
            axes.plot([100 * verdict.found.value], [place], "o", color=colour, markersize=5)
            margins = [verdict.claim.margin, -verdict.claim.margin]
            for margin in margins if verdict.claim.holds == "within" else margins[:1]:
                axes.plot([margin], [place], marker="d", color="black", markersize=4, linestyle="")
        names = [f"{number}. {verdict.claim.short}" for number, verdict in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.invert_yaxis()
        axes.axvline(0, color="#cccccc", zorder=0)
        axes.set_xlabel("points; bars: 95 %, ticks: worlds, diamonds: the margin of the test")
        return _svg(figure)


def depth_plot(results: Results, claims: Claims, sets: Sequence[str]) -> str | None:
    """Exact match of the main rows by depth, a dot for each run; None without any run."""
    rows = [row for row in results.plan.row if row.main and runs_of(results, row)]
    if not rows:
        return None
    with mpl.rc_context(_AXES):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        columns = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for axes, name in zip(columns, sets, strict=True):
            chosen = claims.questions(name)
            axes.set_title(chosen.title, fontsize=9)
            for place, row in enumerate(rows):
                for world, value in _values(results, row, chosen):
                    look = {"marker": "o^sD"[world % 4], "color": f"C{world}", "markersize": 4}
                    axes.plot([place + (world - 1) / 6], [value], **look)
            axes.set_xticks(range(len(rows)), [row.title for row in rows], rotation=30, ha="right")
            axes.set_ylim(-3, 103)
        columns[0].set_ylabel("greedy EM, %; a mark per run,\na shape per world")
        return _svg(figure)


def _values(results: Results, row: Row, chosen: QuestionSet) -> Iterator[tuple[int, float]]:
    """The number of the world and the exact match in per cent, of each run."""
    for number, world in enumerate(results.plan.world):
        for run in results.of(row.name, world.name):
            scores = run.evaluations.get(SELF)
            where = results.questions[world.name].where(chosen.where)
            if scores and where.any():
                yield number, 100 * float(scores.measure("greedy")[where].mean())


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
