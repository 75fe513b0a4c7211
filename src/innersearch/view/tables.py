"""Result tables as Markdown, ready to paste: every number with its n and its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from innersearch.types import ALL_GROUPS, MEAN_OF_GROUPS

Summary = Mapping[str, Any]

_METRICS = {"em": "EM", "f1": "F1", "cover_em": "cover EM", "searches": "searches per question"}
_SHOWN = ("1", "4", "16", "64", "256", "1024")


def percent(estimate: Mapping[str, float]) -> str:
    """An estimate as `value [low, high]` in percent.

    >>> percent({"value": 0.5, "low": 0.4, "high": 0.61, "n": 10})
    '50.0 [40.0, 61.0]'
    """
    if math.isnan(estimate["value"]):
        return "–"
    value, low, high = (100 * estimate[part] for part in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def evaluation_table(summary: Summary, first: str = "em") -> str:
    """One evaluation, a line per group: greedy scores, that of `first` before the others, and pass@k
    where it was sampled; then the mean of the groups.
    """
    scores = sorted(("em", "cover_em", "f1"), key=lambda name: name != first)
    passes = summary.get("pass_at_k", {})
    computed = list(next(iter(passes.values()), {}))
    ks = [k for k in computed if k in _SHOWN or k == computed[-1]]
    rows = [
        [
            group,
            str(em["n"]),
            *(percent(summary[name][group]) for name in scores),
            *(percent(passes[group][k]) for k in ks),
        ]
        for group, em in summary["em"].items()
    ]
    if means := summary.get("mean_of_groups"):
        cells = [str(means["em"]["n"]), *(percent(means[name]) for name in scores)]
        rows.append([MEAN_OF_GROUPS, *cells, *[""] * len(ks)])
    heads = ["%, 95 % interval", "n", *(_METRICS[name] for name in scores), *(f"pass@{k}" for k in ks)]
    return (
        markdown(heads, rows)
        + f"\nwell-formed {summary['format_rate']:.1%} · {summary['searches']:.2f} searches "
        f"({summary.get('calls', 0):.2f} real) and {summary['tokens']:.0f} tokens per greedy trajectory"
        + (f" · {failed:.2f} failed searches" if (failed := summary.get("failed", 0)) else "")
        + (f" · {partial:.2f} partly failed" if (partial := summary.get("partial", 0)) else "")
        + _unfinished_note(summary)
        + _sampled_note({"": summary})
        + _protocol_note(summary["settings"])
    )


def _unfinished_note(summary: Mapping[str, Any]) -> str:
    count = summary.get("unfinished", 0)
    if not count:
        return ""
    if count == 1:
        return "\n1 trajectory ended by an error and counts as wrong"
    return f"\n{count:,} trajectories ended by an error and count as wrong"


def _protocol_note(settings: Mapping[str, Any]) -> str:
    if not settings.get("protocol"):
        return ""
    but = f", but {settings['departures']}" if settings["departures"] else ""
    return f"\nprotocol {settings['protocol']}{but}; greedy, every question scored"


def comparison_table(rows: Mapping[str, Summary]) -> str:
    """Several evaluations side by side, a line per group: greedy EM, then pass@1 and pass@16. Where an
    engine was asked, the last line has the real searches per question.
    """
    sampled = [name for name, summary in rows.items() if "pass_at_k" in summary]
    heads = ["EM, %", "n", *rows, *(f"{name} @1 → @16" for name in sampled)]
    lines = []
    for group, em in next(iter(rows.values()))["em"].items():
        passes = [rows[name]["pass_at_k"][group] for name in sampled]
        curves = [f"{100 * p['1']['value']:.1f} → {100 * p['16']['value']:.1f}" for p in passes]
        greedy = [percent(summary["em"][group]) for summary in rows.values()]
        lines.append([group, str(em["n"]), *greedy, *curves])
    if any(summary.get("calls") for summary in rows.values()):
        calls = [f"{summary.get('calls', 0):.2f}" for summary in rows.values()]
        lines.append(["real searches per question", "", *calls, *[""] * len(sampled)])
    return markdown(heads, lines) + _sampled_note(rows)


def difference_table(comparison: Mapping[str, Any]) -> str:
    """What `innersearch compare` finds, a line per metric and group: B − A with its interval."""
    lines = []
    for name, groups in comparison["metrics"].items():
        for group, found in groups.items():
            scale, digits = (1, 2) if name == "searches" else (100, 1)
            a, b, value, low, high = (scale * found[key] for key in ("a", "b", "value", "low", "high"))
            delta = f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
            p = "<0.001" if found["p"] < 0.001 else f"{found['p']:.3f}"
            cells = [str(found["n"]), f"{a:.{digits}f}", f"{b:.{digits}f}", delta, p]
            lines.append([f"{_METRICS.get(name, name)}, {group}", *cells])
    notes = [
        f"A  {comparison['a']}",
        f"B  {comparison['b']}",
        f"{comparison['n']} questions in both; {comparison['only_a']} in A only, "
        f"{comparison['only_b']} in B only, which do not count here",
        f"intervals by paired bootstrap, p by paired randomisation, {comparison['resamples']:,} draws "
        f"each, seed {comparison['seed']}; EM, F1, cover EM and pass@k in %; p two-sided, not corrected "
        "for the number of lines",
        *(f"differs: {name}: {a} / {b}" for name, (a, b) in comparison["settings"].items()),
    ]
    return "\n".join([markdown(["metric, group", "n", "A", "B", "B − A, 95 %", "p"], lines), *notes])


def _sampled_note(rows: Mapping[str, Summary]) -> str:
    """What pass@k was measured on: often a part of the questions, and not the same in all rows."""
    on: dict[str, list[str]] = {}
    for name, summary in rows.items():
        if passes := summary.get("pass_at_k"):
            counts = [passes[g]["1"]["n"] for g in passes if g != ALL_GROUPS or len(passes) == 1]
            per_group = " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
            samples = summary["settings"]["samples"]
            on.setdefault(f"{per_group} questions per group, {samples} samples each", []).append(name)
    described = [f"{what} ({', '.join(names)})" if len(on) > 1 else what for what, names in on.items()]
    return f"\npass@k: {'; '.join(described)}" if on else ""


def coverage_table(summary: Summary) -> str:
    """What `innersearch.evaluate.coverage` found, a line per group and a column per k."""
    shares = summary["coverage"]
    groups = next(iter(shares.values()))
    rows = [
        [group, str(groups[group]["n"]), *(percent(found[group]) for found in shares.values())]
        for group in groups
    ]
    table = markdown(["gold answer found, %", "n", *(f"top {k}" for k in shares)], rows)
    short = summary["short_answers"]
    note = f"\n{short} questions have yes, no or at most two characters as answer: many pages hold that"
    return table + (note if short else "")


def fidelity_table(simulators: Mapping[str, Mapping[str, Any]]) -> str:
    """Simulators side by side; see `innersearch.simulator.measure.fidelity`."""
    rows = [["queries", *(str(figures["queries"]) for figures in simulators.values())]]
    for name in ("useful_holds_gold", "noisy_lacks_gold", "failed", "mended"):
        label = f"{name.replace('_', ' ')}, %"
        rows.append([label, *(percent(figures[name]) for figures in simulators.values())])
    for name in ("separability", "real_or_simulated", "overlap", "words_real", "words_simulated"):
        values = [f"{figures[name]:.3g}" for figures in simulators.values()]
        rows.append([name.replace("_", " "), *values])
    return markdown(["fidelity", *simulators], rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An aligned Markdown table; the first column is text, the others are numbers.

    >>> print(markdown(["a", "n"], [["x", "10"]]))
    | a |  n |
    |:--|---:|
    | x | 10 |
    """
    body = list(rows)
    widths = [max(2, *(len(line[column]) for line in [heads, *body])) for column in range(len(heads))]
    widths[0] = max(len(line[0]) for line in [heads, *body])

    def join(cells: Sequence[str]) -> str:
        padded = [
            c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|:" + "-" * (widths[0] + 1) + "".join("|" + "-" * (w + 1) + ":" for w in widths[1:]) + "|"
    return "\n".join([join(heads), rule, *map(join, body)])
