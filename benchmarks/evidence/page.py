"""`docs/evidence.md`, and the blocks of README.md and docs/ that come from the same files.

A block stands between `<!-- evidence: NAME -->` and `<!-- end of evidence -->`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.evidence.claims import Claims, demand_claims, read_claims
from benchmarks.evidence.demos import demo_table
from benchmarks.evidence.front import read_systems, system_table, two_sentences
from benchmarks.evidence.plan import HERE, ROOT, Plan, read_plan, read_toml
from benchmarks.evidence.plots import depth_plot, verdict_plot
from benchmarks.evidence.stored import Results, read_results
from benchmarks.evidence.tables import Tables, claim_table, cost_table, found_text, row_table
from benchmarks.evidence.verdicts import (
    CONTRADICTED,
    NOT_RUN,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    judge,
)

from innersearch.errors import ConfigError

BLOCK = re.compile(r"(<!-- evidence: (\S+) -->\n).*?(<!-- end of evidence -->)", re.DOTALL)
DEPTHS = ("depth_1", "depth_2", "depth_3")
"""Sets of questions that are plotted side by side."""
NOTHING = "Nothing of this is stored yet: `make evidence-runs`.\n"


@dataclass(frozen=True)
class Evidence:
    """A plan with its claims and what is stored."""

    plan: Plan
    claims: Claims
    tables: Tables
    results: Results

    @classmethod
    def read(cls, plan: Path = HERE / "plan.toml", tables: Path = HERE / "tables.toml") -> Evidence:
        """All of it, from files only.

        Raises:
            ConfigError: A file is wrong, or claims and rows do not go together.
        """
        found = read_plan(plan)
        claims = read_claims(found.claims)
        demand_claims(found, claims)
        return cls(found, claims, read_toml(tables, Tables), read_results(found))

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Of all claims."""
        return judge(self.results, self.claims)

    @cached_property
    def files(self) -> dict[str, str]:
        """The page and its figures, by their names in docs/."""
        figures = {
            "evidence-claims.svg": verdict_plot(self.verdicts),
            "evidence-depth.svg": depth_plot(self.results, self.claims, DEPTHS),
        }
        found = {name: text for name, text in figures.items() if text}
        return found | {"evidence.md": self._page(found)}

    def block(self, name: str) -> str:
        """The text of a block.

        Raises:
            ConfigError: There is none of that name.
        """
        if name in self.blocks:
            return self.blocks[name]()
        raise ConfigError(f"no block of evidence {name!r}; there are {', '.join(self.blocks)}")

    @property
    def blocks(self) -> Mapping[str, Callable[[], str]]:
        """What writes each block."""
        tables = {
            f"table-{table.name}": lambda table=table: row_table(self.results, self.claims, table) + "\n"
            for table in self.tables.table
        }
        return {
            "demo": demo_table,
            "verdicts": self._verdicts,
            "in-short": lambda: two_sentences(self.verdicts) if self.results.runs else NOTHING,
            "systems": lambda: system_table(self.results, self.claims, read_systems()),
            "costs": lambda: cost_table(self.results) + "\n",
            **tables,
        }

    def _verdicts(self) -> str:
        """The claims by verdict, in short."""
        if not self.results.runs:
            return NOTHING
        lines = []
        for name in (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN):
            members = [v for v in self.verdicts if v.verdict == name]
            said = [v.claim.short + (f" ({found_text(v)})" if name != NOT_RUN else "") for v in members]
            if said:
                lines.append(f"* **{name}** ({len(members)}): {'; '.join(said)}")
        return "\n".join(lines) + "\n"

    def _page(self, figures: Mapping[str, str]) -> str:
        text = (HERE / "page.md").read_text(encoding="utf-8")
        parts = {
            "counts": self._counts(),
            "problems": "".join(f"* {line}\n" for line in self.results.problems) or "None.\n",
            "missing": self._missing(),
            "claims": claim_table(self.verdicts),
            "expectations": "".join(
                f"{n}. {v.claim.expect} *{v.verdict}*\n" for n, v in enumerate(self.verdicts, 1)
            ),
            "tables": "\n".join(
                f"### {table.title}\n\n{row_table(self.results, self.claims, table)}\n"
                for table in self.tables.table
            ),
            "costs": cost_table(self.results),
            "machines": self._machines(),
            "changed": self._changed(),
        }
        for name in ("evidence-claims.svg", "evidence-depth.svg"):
            parts[name] = f"![{name.split('.')[0]}]({name})\n" if name in figures else ""
        return re.sub(r"\{\{(\S+?)\}\}\n?", lambda found: parts[found[1]].rstrip("\n") + "\n", text)

    def _counts(self) -> str:
        counted = Counter(verdict.verdict for verdict in self.verdicts)
        names = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN)
        said = ", ".join(f"{counted[name]} {name}" for name in names)
        runs = f"{len(self.results.runs)} of {len(self.plan.runs())} runs are stored"
        return f"{len(self.verdicts)} claims: {said}. {runs}."

    def _missing(self) -> str:
        if not self.results.missing:
            return "None."
        return ", ".join(self.results.missing) + "."

    def _machines(self) -> str:
        facts = [stored.facts for stored in self.results.runs.values()]
        if not facts:
            return "None yet."
        cpus = Counter(f"{f['cpu']}, {f['processors']} processors" for f in facts)
        codes = Counter(f["code"] or "unknown" for f in facts)
        lines = [f"* {name}: {n} runs" for name, n in sorted(cpus.items())]
        codes_said = ", ".join(f"{name} ({n})" for name, n in sorted(codes.items()))
        return "\n".join([*lines, f"* commits (+ where files differed): {codes_said}"])

    def _changed(self) -> str:
        changed = [
            f"* {n}: " + ", ".join(v.changed) for n, v in enumerate(self.verdicts, 1) if v.changed
        ]
        return "\n".join(changed) or "None."


def documents(root: Path = ROOT) -> list[Path]:
    """What may hold blocks."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def with_blocks(text: str, evidence: Evidence) -> str:
    """A document with its blocks written anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{evidence.block(found[2])}{found[3]}", text)


def written(evidence: Evidence) -> dict[Path, str]:
    """Everything that comes from stored results, as it ought to be."""
    found = {ROOT / "docs" / name: text for name, text in evidence.files.items()}
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if path not in found and BLOCK.search(text):
            found[path] = with_blocks(text, evidence)
    return found


def write(evidence: Evidence) -> list[Path]:
    """Write it, and return what changed."""
    changed = []
    for path, text in written(evidence).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed
