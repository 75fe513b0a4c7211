"""Result tables as Markdown, ready to paste: every number with its n and its 95 % interval.

Names of groups and of evaluations are other people's text: what would end a cell or a line is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from innersearch.types import ALL_GROUPS, MEAN_OF_GROUPS

Summary = Mapping[str, Any]

_METRICS = {"em": "EM", "f1": "F1", "cover_em": "cover EM", "searches": "searches per question"}
_SHOWN = ("1", "4", "16", "64", "256", "1024")


def percent(estimate: Mapping[str, float | None]) -> str:
    """An estimate as `value [low, high]` in percent; a bound is not rounded to what it is not.

    >>> percent({"value": 0.5, "low": 0.4, "high": 0.61, "n": 10})
    '50.0 [40.0, 61.0]'
    >>> percent({"value": 1.0, "low": 0.99963, "high": 1.0, "n": 9999})
    '100.0 [99.96, 100.0]'
    """
    parts = [estimate[part] for part in ("value", "low", "high")]
    if any(part is None or part != part for part in parts):
        return NOTHING
    value, low, high = (100 * part for part in parts if part is not None)
    return f"{value:.1f} [{_short_of((0, 100), low)}, {_short_of((0, 100), high)}]"


NOTHING = "–"
"""Stands where there is no number."""


def _short_of(ends: Sequence[float], value: float, sign: str = "", digits: int = 1) -> str:
    """With as many digits as it takes to tell a bound from the end that it lies short of."""
    for more in range(digits, digits + 5):
        shown = f"{value:{sign}.{more}f}"
        if value in ends or float(shown) not in ends:
            return shown
    return f"{value:{sign}.{digits}f}"


def evaluation_table(summary: Summary, first: str = "em") -> str:
    """One evaluation, a line per group: greedy scores, that of `first` before the others, and pass@k
    where it was sampled; then the mean of the groups.
    """
    more = summary.get("scores", {})
    scores = sorted(("em", "cover_em", "f1", *more), key=lambda name: name != first)
    found = {name: more.get(name) or summary[name] for name in scores}
    passes = summary.get("pass_at_k", {})
    computed = list(next(iter(passes.values()), {}))
    ks = [k for k in computed if k in _SHOWN or k == computed[-1]]
    rows = [
        [
            group,
            str(em["n"]),
            *(_of(found[name].get(group), em["n"]) for name in scores),
            *(percent(passes[group][k]) if k in passes.get(group, {}) else NOTHING for k in ks),
        ]
        for group, em in summary["em"].items()
    ]
    if means := summary.get("mean_of_groups"):
        n = means["em"]["n"]
        cells = [str(n), *(_of(means.get(name), n) for name in scores)]
        of_k = means.get("pass_at_k", {})
        rows.append([MEAN_OF_GROUPS, *cells, *(percent(of_k[k]) if k in of_k else "" for k in ks)])
    heads = ["%, 95 % interval", "n", *(_METRICS.get(name, name) for name in scores)]
    heads += [f"pass@{k}" for k in ks]
    return (
        markdown(heads, rows)
        + f"\nwell-formed {summary['format_rate']:.1%} · {summary['searches']:.2f} searches "
        f"({summary.get('calls', 0):.2f} real) and {summary['tokens']:.0f} tokens per greedy trajectory"
        + (f" and {lost:.1f} rolled back" if (lost := summary.get("rolled_back", 0)) else "")
        + (f" · {failed:.2f} failed searches" if (failed := summary.get("failed", 0)) else "")
        + (f" · {partial:.2f} partly failed" if (partial := summary.get("partial", 0)) else "")
        + _unfinished_note(summary)
        + _weighting_note({"": summary})
        + _f1_note(summary)
        + _judges_note(summary)
        + _sampled_note({"": summary})
        + _protocol_note(summary["settings"])
        + "".join(f"\n\n{_apart_table(field, f)}" for field, f in summary.get("by", {}).items())
    )


def _apart_table(field: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per value of a field of the questions."""
    names = ("em", "cover_em", "f1")
    heads = [
        field,
        "n",
        *(_METRICS[name] for name in names),
        "searches",
        "real",
        "tokens",
        "rolled back",
    ]
    rows = [
        [
            value,
            str(part["em"]["n"]),
            *(percent(part[name]) for name in names),
            *(f"{part[name]:.2f}" for name in ("searches", "calls")),
            *(f"{part[name]:.1f}" for name in ("tokens", "rolled_back")),
        ]
        for value, part in found.items()
    ]
    return markdown(heads, rows)


def _of(estimate: Mapping[str, float | None] | None, asked: float) -> str:
    """An estimate, with its n where that is not the number of questions."""
    if estimate is None:
        return NOTHING
    n = estimate["n"]
    return percent(estimate) + (f" (n {n})" if n != asked else "")


def _judges_note(summary: Summary) -> str:
    """What judges said in words, and what it took."""
    note = ""
    for name, found in summary.get("judges", {}).items():
        said = [f"{n} {verdict.replace('_', ' ')}" for verdict, n in found["verdicts"].items()]
        said += [f"{found['failed']} failed"] * bool(found["failed"])
        said += [f"{found['unread']} unreadable"] * bool(found["unread"])
        lost = found["failed"] + found["unread"]
        note += (
            f"\n{cell(name)}: {', '.join(said)}; {found['calls']:,} calls, {found['tokens_in']:,} "
            f"tokens in and {found['tokens_out']:,} out"
        )
        note += f"; the {lost} without a verdict have no score, --resume asks again" * bool(lost)
    return note


def _weighting_note(rows: Mapping[str, Summary]) -> str:
    """What weighs how much in the rows of several groups."""
    if not any(len(summary["em"]) > 1 for summary in rows.values()):
        return ""
    note = f"\n{ALL_GROUPS}: every question weighs the same, in EM as in pass@k"
    # Before that was recorded, pass@k weighed what was sampled, which often is the same of each group.
    old = [name for name, s in rows.items() if s.get("pass_at_k") and s.get("weighting") != "questions"]
    if old:
        names = f" of {', '.join(map(cell, old))}" if any(old) else ""
        note = (
            f"\n{ALL_GROUPS}: EM weighs questions, pass@k{names} sampled questions (an older evaluation)"
        )
    means = any("mean_of_groups" in summary for summary in rows.values())
    return note + (f"; {MEAN_OF_GROUPS}: every group weighs the same" if means else "")


def _f1_note(summary: Mapping[str, Any]) -> str:
    """By whose script F1 was made, where it is not all SQuAD's."""
    rules = summary.get("f1_rules", {})
    others = {rule: [g for g in rules if rules[g] == rule] for rule in sorted({*rules.values()})}
    if set(others) <= {"SQuAD"}:
        return "\nF1 as by SQuAD's script" if rules else ""
    named = [f"{rule}'s for {', '.join(map(cell, groups))}" for rule, groups in others.items()]
    return f"\nF1 as by the benchmark's script: {'; '.join(named)}"


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
        passes = [rows[name]["pass_at_k"].get(group, {}) for name in sampled]
        curves = [" → ".join(_share(p.get(k)) for k in ("1", "16")) for p in passes]
        of_group = [summary["em"].get(group) for summary in rows.values()]
        greedy = [percent(found) if found else NOTHING for found in of_group]
        lines.append([group, str(em["n"]), *greedy, *curves])
    if any(summary.get("calls") for summary in rows.values()):
        calls = [f"{summary.get('calls', 0):.2f}" for summary in rows.values()]
        lines.append(["real searches per question", "", *calls, *[""] * len(sampled)])
    return markdown(heads, lines) + _weighting_note(rows) + _sampled_note(rows)


def _share(estimate: Mapping[str, float | None] | None) -> str:
    value = None if estimate is None else estimate["value"]
    return NOTHING if value is None or value != value else f"{100 * value:.1f}"


def difference_table(comparison: Mapping[str, Any]) -> str:
    """What `innersearch compare` finds, a line per metric and group: B − A with its interval."""
    lines = []
    for name, groups in comparison["metrics"].items():
        for group, found in groups.items():
            scale, digits = (1, 2) if name == "searches" else (100, 1)
            a, b, value, low, high = (scale * found[key] for key in ("a", "b", "value", "low", "high"))
            within = ", ".join(_short_of((0,), bound, "+", digits) for bound in (low, high))
            delta = f"{value:+.{digits}f} [{within}]"
            p = "<0.001" if found["p"] < 0.001 else f"{found['p']:.3f}"
            cells = [str(found["n"]), f"{a:.{digits}f}", f"{b:.{digits}f}", delta, p]
            lines.append([f"{_METRICS.get(name, name)}, {group}", *cells])
    notes = [
        f"A  {line(comparison['a'])}",
        f"B  {line(comparison['b'])}",
        f"{comparison['n']} questions in both; {comparison['only_a']} in A only, "
        f"{comparison['only_b']} in B only, which do not count here",
        f"paired intervals by random weights, p by paired randomisation, {comparison['resamples']:,} "
        f"draws each, seed {comparison['seed']}; EM, F1, cover EM and pass@k in %; p two-sided, not "
        f"corrected for the number of lines; {ALL_GROUPS}: every question weighs the same; "
        f"{MEAN_OF_GROUPS}: every group does",
        *_cluster_notes(comparison.get("clusters")),
        *(line(f"differs: {name}: {a} / {b}") for name, (a, b) in comparison["settings"].items()),
    ]
    return "\n".join([markdown(["metric, group", "n", "A", "B", "B − A, 95 %", "p"], lines), *notes])


def _cluster_notes(clusters: Mapping[str, Any] | None) -> Iterator[str]:
    if not clusters:
        yield "every question is taken for an independent one; where several err together, add --cluster"
        return
    sizes = " to ".join(str(n) for n in sorted({clusters["smallest"], clusters["largest"]}))
    alone = f"; {clusters['without']} have no such field and stand alone" if clusters["without"] else ""
    yield (
        f"questions of one {line(clusters['field'])} err together: {clusters['n']} clusters of {sizes} "
        f"questions{alone}"
    )
    if clusters["few"]:
        yield (
            f"only {clusters['n']} clusters, or few that are large: intervals are wide and rough, "
            "and p cannot fall below "
            f"{min(1.0, 2.0 ** (1 - clusters['n'])):.2g}"
        )


def _sampled_note(rows: Mapping[str, Summary]) -> str:
    """What pass@k was measured on: often a part of the questions, and not the same in all rows."""
    on: dict[str, list[str]] = {}
    for name, summary in rows.items():
        if passes := summary.get("pass_at_k"):
            counts = [passes[g]["1"]["n"] for g in passes if g != ALL_GROUPS or len(passes) == 1]
            per_group = " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
            samples = summary["settings"]["samples"]
            on.setdefault(f"{per_group} questions per group, {samples} samples each", []).append(name)
    described = [
        f"{what} ({', '.join(map(cell, names))})" if len(on) > 1 else what for what, names in on.items()
    ]
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
    heads = list(map(cell, heads))
    body = [list(map(cell, row)) for row in rows]
    widths = [max(2, *(len(row[column]) for row in [heads, *body])) for column in range(len(heads))]
    widths[0] = max(len(row[0]) for row in [heads, *body])

    def join(cells: Sequence[str]) -> str:
        padded = [
            c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|:" + "-" * (widths[0] + 1) + "".join("|" + "-" * (w + 1) + ":" for w in widths[1:]) + "|"
    return "\n".join([join(heads), rule, *map(join, body)])


def listed(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table of texts, all of them aligned to the left.

    >>> print(listed(["a", "b"], [["x", 1]]))
    | a  | b  |
    |:---|:---|
    | x  | 1  |
    """
    body = [[cell(str(part)) for part in row] for row in (heads, *rows)]
    widths = [max(2, *map(len, column)) for column in zip(*body, strict=True)]
    rule = "|" + "|".join(f":{'-' * (width + 1)}" for width in widths) + "|"
    first, *others = (
        f"| {' | '.join(part.ljust(width) for part, width in zip(row, widths, strict=True))} |"
        for row in body
    )
    return "\n".join([first, rule, *others])


def line(text: str) -> str:
    r"""A text on one line, of characters that can be seen.

    >>> line("a\n b\x1b[1m")
    'a b [1m'
    """
    return " ".join("".join(c if _is_seen(c) else " " for c in text).split())


def _is_seen(character: str) -> bool:
    # Joiners make one sign of several, in Indic scripts and in emoji.
    return character.isprintable() or character in "\u200c\u200d"


def cell(text: str) -> str:
    r"""A text as a cell of a Markdown table.

    >>> print(cell("a|b"))
    a\|b
    """
    return line(text).replace("|", "\\|")
