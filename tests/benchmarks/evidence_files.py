"""A small plan with results that were not made by runs, of which the truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.evidence.claims import claim_tests, read_claims
from benchmarks.evidence.packing import FORMAT, QUESTIONS, write_packed
from benchmarks.evidence.plan import Plan, Run, read_plan
from benchmarks.evidence.stored import Questions, Results, Scores, Stored

from innersearch.records import write_json

PLAN = """
folder = "{folder}/runs"
results = "{folder}/results"
claims = "{folder}/claims.toml"

[[evaluation]]
name = "self"
arguments = ["--data", "{{data}}:test", "--groups", "held_out_pair"]

[[row]]
name = "start"
title = "before"
main = true
evaluations = ["self"]

[[row]]
name = "ssrl"
title = "SSRL"
main = true
recipe = "recipes/ssrl-world.toml"
seeds = [0, 1, 2]
train = ["--trainer.steps", "2", "--trainer.prompts-per-step", "4", "--trainer.micro-batch", "32"]
evaluations = ["self"]

[[row]]
name = "other"
title = "a control"
recipe = "recipes/ssrl-world.toml"
seeds = [0]
evaluations = ["self"]
"""
WORLD = """
[[world]]
name = "{name}"
seed = 1
version = 1
model = "world"
data = "world"
engine = "world"
"""
CLAIMS = """
level = 0.05

[[set]]
name = "all"
title = "all questions"

[[set]]
name = "deep"
title = "depth 2"
where = { depth = [2] }
"""
CLAIM = """
[[claim]]
name = "{name}"
short = "{name}"
claim = "{name}"
expect = "I expect it."
terms = {terms}
holds = "{holds}"
margin = {margin}
"""
GAIN = ["1 ssrl greedy", "-1 start greedy"]
CONTROL = ["1 ssrl greedy of deep", "-1 other greedy of deep"]


def claim(name: str, terms: Sequence[str], holds: str, margin: float, *more: str) -> str:
    """One as it stands in a file."""
    shown = str(list(terms)).replace("'", '"')
    return CLAIM.format(name=name, terms=shown, holds=holds, margin=margin) + "\n".join(more) + "\n"


def write_plan(folder: Path, claims: str, worlds: Sequence[str] = ("1", "2", "3")) -> Plan:
    """Write a plan with its claims, and read it."""
    text = PLAN.format(folder=folder) + "".join(WORLD.format(name=name) for name in worlds)
    (folder / "plan.toml").write_text(text)
    (folder / "claims.toml").write_text(CLAIMS + claims)
    return read_plan(folder / "plan.toml")


def write_results(
    plan: Plan, rates: dict[str, float], *, seed: int = 0, by_run: float = 0.02, entities: int = 30
) -> None:
    """Results of all rows that have a rate of right answers; each run has one of its own around it."""
    rng = np.random.default_rng(seed)
    tests = claim_tests(read_claims(plan.claims))
    for world in plan.world:
        folder = plan.results / world.name
        write_packed(folder / QUESTIONS, questions(entities))
        write_json(folder / "world.json", {"fingerprint": f"w{world.name}", "version": 1})
    for run in plan.runs():
        if run.row.name not in rates:
            continue
        rate = np.clip(rates[run.row.name] + rng.normal(0, by_run if run.row.seeds else 0), 0.0, 1.0)
        base = plan.results / run.name
        write_packed(base.with_name(base.name + ".jsonl.xz"), _lines(rng, float(rate), entities))
        write_json(base.with_name(base.name + ".json"), _facts(run) | {"claims": tests})


def questions(entities: int) -> list[dict[str, Any]]:
    """Ten about each entity, every other one of depth 2."""
    return [
        {"id": f"e{e}:r{r}", "head": f"e{e}", "relations": f"r{r}", "depth": 1 + r % 2, "kind": "chain"}
        for e in range(entities)
        for r in range(10)
    ]


def _lines(rng: np.random.Generator, rate: float, entities: int) -> Iterator[dict[str, Any]]:
    for number, question in enumerate(questions(entities)):
        right = int(rng.random() < rate)
        yield {
            **{"evaluation": "self", "id": question["id"], "em": right, "format": 1},
            **{"searches": question["depth"], "calls": 0, "tokens": 40, "rolled_back": 0},
            **({"samples": f"{right}0{right}1", "majority": right} if number % 10 < 4 else {}),
        }


def _facts(run: Run) -> dict[str, Any]:
    return {
        **{"format": FORMAT, "run": run.name, "world": f"w{run.world.name}", "world_version": 1},
        **{"code": "abc", "cpu": "a CPU", "processors": 2, "trained_tokens": 10},
        **{"seconds": {"train": 3.0, "self": 2.0}, "known": {"often": {"value": 0.9, "n": 200}}},
    }


def simulated(plan: Plan, truth: float, seed: int, by_run: float, entities: int) -> Results:
    """Results in memory: entities are easy or hard in every row, and runs differ by themselves."""
    rng = np.random.default_rng(seed)
    records = questions(entities)
    columns = {name: np.array([record[name] for record in records]) for name in records[0]}
    results = Results(plan)
    for world in plan.world:
        results.questions[world.name] = found = Questions(columns)
        hard = rng.normal(0, 0.15, entities)[found.entities]
        for run in plan.runs():
            if run.world == world:
                rate = np.clip(truth + hard + rng.normal(0, by_run if run.row.seeds else 0), 0.0, 1.0)
                greedy = (rng.random(len(records)) < rate).astype(float)
                scores = Scores({"greedy": greedy}, [""] * len(records))
                results.runs[run.name] = Stored(run, _facts(run), {"self": scores})
    return results
