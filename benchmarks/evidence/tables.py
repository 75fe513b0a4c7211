"""The tables of the page: medians over runs, with the interval of their mean."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from benchmarks.evidence.claims import Claim, Claims
from benchmarks.evidence.plan import Part, Row
from benchmarks.evidence.stored import Results, Stored
from benchmarks.evidence.verdicts import NOT_RUN, Verdict, estimate

from innersearch.replication import share
from innersearch.view.tables import markdown

NONE = "–"
TOO_FEW = ", too few runs for an interval"


class Column(Part):
    """One of a table: `greedy of depth_2 by engine` under a title."""

    title: str
    value: str


class Table(Part):
    """Rows of the plan against measures."""

    name: str
    title: str
    rows: Literal["main", "controls", "all"] = "main"
    columns: tuple[Column, ...]


class Tables(Part):
    """All of the page."""

    table: tuple[Table, ...]


def row_table(results: Results, claims: Claims, table: Table) -> str:
    """A table as Markdown; rows without any run are left out."""
    rows = [
        row
        for row in results.plan.row
        if (table.rows == "all" or row.main is (table.rows == "main")) and runs_of(results, row)
    ]
    if not rows:
        return "No run of these rows is stored yet."
    heads = ["%", "runs", *(column.title for column in table.columns)]
    return markdown(
        heads,
        [
            [
                row.title,
                str(len(runs_of(results, row))),
                *(cell(results, claims, row.name, column.value) for column in table.columns),
            ]
            for row in rows
        ],
    )


def runs_of(results: Results, row: Row) -> list[Stored]:
    """The runs of a row in all worlds."""
    return [stored for world in results.plan.world for stored in results.of(row.name, world.name)]


def cell(results: Results, claims: Claims, row: str, value: str) -> str:
    """The median of a row's runs with the 95 % interval of their mean."""
    claim = Claim(
        name=row, short="", claim="", expect="", terms=(f"1 {row} {value}",), holds="above", margin=0
    )
    [term] = claim.parsed
    worlds = [w.name for w in results.plan.world if results.of(row, w.name)]
    runs = [run for world in worlds for run in results.of(row, world)]
    known = term.measure.startswith("known:")
    if not runs or not (known or all(term.evaluation in run.evaluations for run in runs)):
        return NONE
    _, found = estimate(results, claims, claim, worlds)
    if math.isnan(found.value):
        return NONE
    chosen = claims.questions(term.questions).where
    values, clusters, asked = [], 0, 0
    for world in worlds:
        questions = results.questions[world]
        where = questions.where(chosen)
        clusters, asked = clusters + len(set(questions.entities[where])), asked + int(where.sum())
        for run in results.of(row, world):
            if known:
                values.append(run.facts["known"][term.measure.partition(":")[2]]["value"])
                continue
            measured = run.evaluations[term.evaluation].measure(term.measure)[where]
            values.append(float(measured[measured == measured].mean()))
    middle = statistics.median(values)
    if not claim.in_points:
        return f"{middle:.2f}"
    low, high = share(found.value, found.spread, clusters, asked)[1:3]
    return f"{100 * middle:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def cost_table(results: Results) -> str:
    """What training and measuring took, medians over runs."""
    rows = [(row, runs_of(results, row)) for row in results.plan.row]
    lines = [
        [
            row.title,
            str(len(runs)),
            _median([run.facts["trained_tokens"] for run in runs]),
            _median([run.facts["seconds"].get("train", 0.0) for run in runs]),
            _median([sum(s for n, s in run.facts["seconds"].items() if n != "train") for run in runs]),
        ]
        for row, runs in rows
        if runs
    ]
    if not lines:
        return "No run is stored yet."
    return markdown(["row", "runs", "tokens sampled in training", "training, s", "measuring, s"], lines)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f}"


def claim_table(verdicts: Sequence[Verdict]) -> str:
    """All claims with their tests and verdicts."""
    lines = []
    for number, verdict in enumerate(verdicts, 1):
        name = verdict.verdict + (" (test written later)" if verdict.changed else "")
        lines.append(
            [
                str(number),
                verdict.claim.claim,
                verdict.claim.sentence(),
                found_text(verdict),
                "; ".join(f"{_number(verdict.claim, part.value)}" for _, part in verdict.worlds) or NONE,
                NONE if verdict.verdict == NOT_RUN else p_text(verdict.adjusted),
                f"**{name}**",
            ]
        )
    heads = ["", "claim", "supported if", "found", "in each world", "p (Holm)", "verdict"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *lines))


def found_text(verdict: Verdict) -> str:
    """The estimate with its interval."""
    if not verdict.found:
        return f"no run of {', '.join(verdict.lacking)}"
    low, high = verdict.found.interval
    value = _number(verdict.claim, verdict.found.value)
    if math.isinf(low) or math.isnan(verdict.found.value):
        return f"{value}{TOO_FEW}" if not math.isnan(verdict.found.value) else NONE
    return f"{value} [{_number(verdict.claim, low)}, {_number(verdict.claim, high)}]"


def _number(claim: Claim, value: float) -> str:
    if math.isnan(value):
        return NONE
    text = f"{100 * value:.1f}" if claim.in_points else f"{value:.2f}"
    return text.replace("-", "−")


def p_text(p: float) -> str:
    """A p-value as tables have it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
