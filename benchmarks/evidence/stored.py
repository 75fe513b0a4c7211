"""The stored results of a plan, and what is wrong with them, a line for each."""

from __future__ import annotations

import lzma
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.evidence.packing import FORMAT, QUESTIONS, read_packed
from benchmarks.evidence.plan import Plan, Run, shown

from innersearch.errors import DataError
from innersearch.metrics import pass_at_k
from innersearch.stored import read_json

GREEDY = ("greedy", "format", "searches", "calls", "tokens", "all_tokens")
"""Measures of the greedy trajectory; pass@K and maj@K are of the sampled ones."""
KNOWN = "known:"
"""Before the frequency of facts: the share of statements that the weights complete."""


def target(plan: Plan, run: Run) -> Path:
    """Where the results of a run are, without the endings of its two files."""
    return plan.results / run.name


@dataclass(frozen=True)
class Questions:
    """What the test questions of a world are, as columns."""

    columns: Mapping[str, np.ndarray]

    @cached_property
    def place(self) -> dict[str, int]:
        """The number of each id."""
        return {identity: number for number, identity in enumerate(self.columns["id"])}

    def where(self, wanted: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Which questions have one of the values in each of the fields.

        Raises:
            DataError: There is no such field.
        """
        chosen = np.ones(len(self.columns["id"]), dtype=bool)
        for name, values in wanted.items():
            if name not in self.columns:
                raise DataError(f"questions have no {name!r}; they have {', '.join(self.columns)}")
            chosen &= np.isin(self.columns[name], list(values))
        return chosen

    @cached_property
    def entities(self) -> np.ndarray:
        """The number of each question's first entity."""
        return np.unique(self.columns["head"], return_inverse=True)[1]

    @cached_property
    def pairs(self) -> np.ndarray:
        """The number of each question's relations."""
        return np.unique(self.columns["relations"], return_inverse=True)[1]


@dataclass(frozen=True)
class Scores:
    """One evaluation of one run: a value per question and measure, NaN where there is none."""

    columns: Mapping[str, np.ndarray]
    samples: Sequence[str]
    """Per question a 0 or 1 for every sample; empty where it was not sampled."""

    def measure(self, name: str) -> np.ndarray:
        """A value of every question.

        Raises:
            DataError: There is no such measure.
        """
        kind, _, k = name.partition("@")
        if kind == "pass" and k.isdigit():
            return np.array([self._passes(s, int(k)) for s in self.samples])
        if kind == "maj" and k.isdigit():
            majority = self.columns["majority"].copy()
            majority[[len(s) != int(k) for s in self.samples]] = math.nan
            return majority
        if name not in self.columns:
            raise DataError(f"no measure {name!r}; there are {', '.join(GREEDY)}, pass@K and maj@K")
        return self.columns[name]

    @staticmethod
    def _passes(samples: str, k: int) -> float:
        return pass_at_k(len(samples), samples.count("1"), k) if len(samples) >= k else math.nan


@dataclass(frozen=True)
class Stored:
    """The results of one run."""

    run: Run
    facts: Mapping[str, Any]
    evaluations: Mapping[str, Scores]


@dataclass
class Results:
    """All that is stored of a plan."""

    plan: Plan
    runs: dict[str, Stored] = field(default_factory=dict)
    questions: dict[str, Questions] = field(default_factory=dict)
    """Of each world."""
    missing: list[str] = field(default_factory=list)
    """Runs that have not been made."""
    problems: list[str] = field(default_factory=list)

    def of(self, row: str, world: str) -> list[Stored]:
        """The runs of a row in a world, by seed."""
        found = (
            stored
            for stored in self.runs.values()
            if (stored.run.row.name, stored.run.world.name) == (row, world)
        )
        return sorted(found, key=lambda stored: stored.run.seed or 0)


def read_results(plan: Plan) -> Results:
    """What is stored of a plan. What cannot be used is left out and named among the problems."""
    results = Results(plan)
    worlds = {}
    for world in plan.world:
        folder = plan.results / world.name
        try:
            worlds[world.name] = read_json(folder / "world.json")["fingerprint"]
            records = list(read_packed(folder / QUESTIONS))
            results.questions[world.name] = Questions(
                {name: np.array([record[name] for record in records]) for name in records[0]}
            )
        except (OSError, DataError):
            continue
        except (lzma.LZMAError, ValueError, EOFError, IndexError, KeyError):
            _problem(results, f"world {world.name}: {shown(folder / QUESTIONS)} is damaged", "world")
    for run in plan.runs():
        _read_run(results, run, worlds.get(run.world.name, ""))
    known = {str(plan.results / f"{run.name}.json") for run in plan.runs()}
    for file in sorted(plan.results.glob("*/*.json")):
        if file.name != "world.json" and str(file) not in known:
            advice = "delete it, or add its row and a claim about it"
            results.problems.append(f"{shown(file)} belongs to no run of the plan: {advice}")
    return results


def _read_run(results: Results, run: Run, world: str) -> None:
    base = target(results.plan, run)
    file, lines = base.with_name(base.name + ".json"), base.with_name(base.name + ".jsonl.xz")
    if not file.is_file():
        results.missing.append(run.name)
        return
    try:
        facts = read_json(file)
    except DataError as error:
        _problem(results, str(error), run.name)
        return
    questions, named = results.questions.get(run.world.name), shown(file)
    is_of, wanted = facts.get("world_version"), run.world.version
    for wrong, what in (
        (facts.get("format") != FORMAT, f"{named} has format {facts.get('format')}, not {FORMAT}"),
        (is_of != wanted, f"{named} is of version {is_of} of the world, and the plan's is {wanted}"),
        (not lines.is_file(), f"there is no per-question file {shown(lines)}"),
        (questions is None, f"world {run.world.name} has no questions beside its results"),
        (facts.get("world") != world, f"{named} is of world {facts.get('world')}, and not of {world}"),
    ):
        if wrong:
            _problem(results, what, run.name)
            return
    try:
        evaluations = _evaluations(lines, questions) if questions else {}
    except (lzma.LZMAError, ValueError, EOFError, KeyError) as error:
        _problem(results, f"{shown(lines)} is damaged ({error or type(error).__name__})", run.name)
        return
    if lost := set(run.row.evaluations) - evaluations.keys():
        _problem(results, f"{shown(lines)} lacks the evaluation {', '.join(sorted(lost))}", run.name)
    results.runs[run.name] = Stored(run, facts, evaluations)


def _problem(results: Results, what: str, name: str) -> None:
    advice = f"make it again: delete its files, then python -m benchmarks.evidence run --only {name}"
    results.problems.append(f"{name}: {what}; {advice}")


def _evaluations(path: Path, questions: Questions) -> dict[str, Scores]:
    n = len(questions.place)
    columns: dict[str, dict[str, np.ndarray]] = {}
    samples: dict[str, list[str]] = {}
    for record in read_packed(path):
        if record["id"] not in questions.place:
            raise ValueError(f"a question {record['id']!r} that its world does not have")
        number, name = questions.place[record["id"]], record["evaluation"]
        if name not in columns:
            columns[name] = {m: np.full(n, math.nan) for m in (*GREEDY, "majority")}
            samples[name] = [""] * n
        into = columns[name]
        into["greedy"][number] = record["em"]
        into["all_tokens"][number] = record["tokens"] + record["rolled_back"]
        for measure in ("format", "searches", "calls", "tokens"):
            into[measure][number] = record[measure]
        if "samples" in record:
            samples[name][number] = record["samples"]
            into["majority"][number] = record["majority"]
    return {name: Scores(found, samples[name]) for name, found in columns.items()}
