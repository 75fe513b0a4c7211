"""What hybrid search costs and gains, as tables and as a figure; see `innersearch.evaluate.curves`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from innersearch.types import ALL_GROUPS
from innersearch.view.tables import markdown, percent

_HEADS = (
    *("router", "EM, %", "− always, points", "− random at equal calls"),
    *("calls", "of always, %", "sampled tokens", "rolled back", "seconds", "95th percentile"),
)
_STYLES: Mapping[str, tuple[str, str]] = {
    "random": ("#999999", "--"),
    "K first": ("#56B4E9", ":"),
    "entropy trend": ("#F0E442", ":"),
    "popularity": ("#000000", ":"),
    "calibrated gate": ("#0072B2", ""),
    "gate entropy": ("#0072B2", "-"),
    "gate max-entropy": ("#009E73", "-"),
    "gate min-prob": ("#E69F00", "-"),
    "gate consistency": ("#8C564B", "-"),
    "gate query-entropy": ("#CC79A7", "-"),
    "learning": ("#D55E00", "-"),
}


def curves_table(found: Mapping[str, Any], field: str = "", value: str = ALL_GROUPS) -> str:
    """A line per router, for all questions or for those with a value of a field."""
    rows = [row for row in found["rows"] if (row["field"], row["value"]) == (field, value)]
    cells = [
        [
            f"{row['family']}, {row['router']}" if ":" in row["router"] else row["router"],
            percent(row["em"]),
            _points(row["minus_always"]),
            _points(row["minus_random"]),
            f"{row['calls']:.2f}",
            f"{100 * row['call_share']:.0f}",
            f"{row['tokens']:.1f}",
            f"{row['rolled_back']:.1f}",
            f"{row['seconds']:.2f}",
            f"{row['seconds_p95']:.2f}",
        ]
        for row in rows
    ]
    what = f"{field} = {value}" if field else "all questions"
    return f"{what}, n = {rows[0]['n']}\n\n{markdown(_HEADS, cells)}"


def curves_tables(found: Mapping[str, Any]) -> str:
    """The tables of all questions and of each value of each field, with what they rest on."""
    parts = dict.fromkeys((row["field"], row["value"]) for row in found["rows"])
    of = f"by {found['cluster']}" if found["cluster"] else "of independent questions"
    note = (
        f"questions after the first {found['after']}; seconds per question: "
        f"{1000 * found['token_s']:.2f} ms per sampled token as measured, {found['latency_s']:g} s per "
        f"real search on average (log-normal); intervals {of}"
    )
    return "\n\n".join([*(curves_table(found, *part) for part in parts), note])


def _points(difference: Mapping[str, float]) -> str:
    value, low, high = (100 * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def curves_csv(found: Mapping[str, Any]) -> str:
    """A line per router and part, for a spreadsheet."""
    buffer = io.StringIO()
    flat = [_flat(row) for row in found["rows"]]
    writer = csv.DictWriter(buffer, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= {f"{name}_{part}": number for part, number in value.items()}
        else:
            found[name] = value
    return found


def curves_figure(found: Mapping[str, Any]) -> str:
    """EM against calls, tokens and seconds, as SVG: a row of all questions, and one for each part."""
    from matplotlib.figure import Figure

    from innersearch.view.plots import _svg

    parts = list(dict.fromkeys((row["field"], row["value"]) for row in found["rows"]))
    figure = Figure(figsize=(10.5, 3.1 * len(parts)), layout="constrained")
    grid = figure.subplots(len(parts), 3, squeeze=False, sharey="row")
    for axes, part in zip(grid, parts, strict=True):
        rows = [row for row in found["rows"] if (row["field"], row["value"]) == part]
        costs = {
            "real searches per question": [row["calls"] for row in rows],
            "sampled tokens, rolled back ones included": [r["tokens"] + r["rolled_back"] for r in rows],
            "seconds per question": [row["seconds"] for row in rows],
        }
        for panel, (label, values) in zip(axes, costs.items(), strict=True):
            _panel(panel, rows, values)
            panel.set_xlabel(label)
        what = f"{part[0]} = {part[1]}" if part[0] else "all questions"
        axes[0].set_ylabel(f"exact match, %\n{what}")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    return _svg(figure)


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]], costs: Sequence[float]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    families: dict[str, list[tuple[float, float]]] = {}
    for row, cost in zip(rows, costs, strict=True):
        families.setdefault(row["family"], []).append((cost, 100 * row["em"]["value"]))
    ends = [families.pop(name)[0] for name in ("never", "always")]
    for (cost, em), name in zip(ends, ("never", "always"), strict=True):
        axes.plot(cost, em, "k*", markersize=9)
        axes.annotate(name, (cost, em), (4, -11), textcoords="offset points", fontsize=8)
    for name, found in families.items():
        colour, line = _STYLES.get(name, ("#555555", "-"))
        xs, ys = zip(*(sorted([*found, *ends]) if name == "random" else found), strict=True)
        axes.plot(
            xs, ys, linestyle=line, color=colour, marker="o", markersize=3.5, label=name, linewidth=1.4
        )
