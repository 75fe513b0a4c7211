"""What README.md says of the evidence: two sentences, and a row for each system."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.evidence.claims import Claims
from benchmarks.evidence.plan import HERE, ROOT, Part, read_toml
from benchmarks.evidence.stored import Results
from benchmarks.evidence.tables import TOO_FEW, cell, found_text, runs_of
from benchmarks.evidence.verdicts import Verdict

from innersearch.errors import ConfigError

EFFECTS = (
    "gain",
    "searches-follow-depth",
    "held-out-gain",
    "wider",
    "depth-3",
    "sim-to-real",
    "rejection",
)
"""Claims that RL does something; each is said to be so, or not, by the sign of what was found."""
KNOWN = "facts-known"
"""The claim that it teaches nothing."""
START = "start"
_FIGURE = re.compile(r"(?<![\w./#-])\d[\d,]*(?:\.\d+)?(?![\w-])")


class System(Part):
    """One row of the table of recipes."""

    name: str
    paper: str
    recipe: str
    page: str
    idea: str
    shows: str
    """What is said as long as no run of `row` is stored."""
    row: str = ""
    value: str = ""
    """MEASURE of SET by EVALUATION, as in tables.toml."""
    figures: str = ""
    """The file that holds each figure of `shows`."""


class Systems(Part):
    """All of them."""

    system: tuple[System, ...]


def two_sentences(verdicts: Sequence[Verdict]) -> str:
    """What RL does here, and what it does not, by the claims of which something was run."""
    by_name = {verdict.claim.name: verdict for verdict in verdicts}
    found = [(verdict, verdict.found.value > 0) for name in EFFECTS if (verdict := by_name[name]).found]
    does = [_said(verdict) for verdict, above in found if above]
    does_not = [_said(verdict) for verdict, above in found if not above]
    known = by_name[KNOWN]
    kept = f"{_said(known)}; " if known.found else ""
    return (
        f"What RL does here, as far as it was run: {'; '.join(does) or 'nothing was found yet'}.\n"
        f"What it does not: {kept}nor did these come out: {'; '.join(does_not) or 'none so far'}.\n"
    )


def _said(verdict: Verdict) -> str:
    unit = " points" if verdict.claim.in_points else ""
    return (
        f"{verdict.claim.short} ({found_text(verdict).removesuffix(TOO_FEW)}{unit}, {verdict.verdict})"
    )


def read_systems(path: Path = HERE / "systems.toml", root: Path = ROOT) -> Systems:
    """The systems of a file.

    Raises:
        ConfigError: A recipe, page or file is not there, or does not hold a figure that is said.
    """
    systems = read_toml(path, Systems)
    for system in systems.system:
        for name in (f"recipes/{system.recipe}.toml", system.page, system.figures or system.page):
            if not (root / name).is_file():
                raise ConfigError(f"{path.name}, {system.name}: there is no {name}")
        words = re.sub(r"\]\(.*?\)", "]", system.shows)
        held = (root / system.figures).read_text(encoding="utf-8") if system.figures else ""
        lacking = [
            n
            for n in _FIGURE.findall(words)
            if not re.search(rf"(?<![\d.]){re.escape(n)}(?![\d.])", held)
        ]
        if lacking:
            raise ConfigError(
                f"{path.name}, {system.name}: {', '.join(lacking)} stands not in "
                f"{system.figures or 'any file'}: say what stands there now"
            )
    return systems


def _holds(text: str, figure: str) -> bool:
    """Whether it stands there, and not as a part of a longer one."""
    return bool(re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", text))


def system_table(results: Results, claims: Claims, systems: Systems) -> str:
    """The table of recipes as Markdown."""
    lines = ["| system | recipe | idea | here |", "|---|---|---|---|"]
    for system in systems.system:
        cells = (
            f"[{system.name}]({system.paper})",
            f"[{system.recipe}]({system.page})",
            system.idea,
            _shown(results, claims, system),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shown(results: Results, claims: Claims, system: System) -> str:
    """What runs show of a system; what else is known where there are none."""
    rows: Mapping[str, int] = {row.name: len(runs_of(results, row)) for row in results.plan.row}
    if not rows.get(system.row):
        return system.shows
    before = cell(results, claims, START, system.value).partition(" [")[0]
    after = cell(results, claims, system.row, system.value).partition(" [")[0]
    runs = f"{rows[system.row]} run" + "s" * (rows[system.row] > 1)
    return f"{before} → {after} % EM in wordings never trained ({runs})"
