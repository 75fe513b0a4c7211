"""What the stored results say of each claim, by the test that was written down for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from benchmarks.evidence.claims import Claim, Claims, Term, claim_tests
from benchmarks.evidence.stored import KNOWN, Results, Stored

from innersearch.replication import (
    UNKNOWN,
    Runs,
    Spread,
    holm,
    in_each_world,
    over_runs,
    satterthwaite,
    spearman,
    t_interval,
    t_p,
    two_way,
    unasked,
)

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN = "supported", "contradicted", "undecided", "not run"


@dataclass(frozen=True)
class Estimated:
    """A weighted sum of means in one or several worlds."""

    value: float
    spread: Spread

    @property
    def interval(self) -> tuple[float, float]:
        """At 95 %."""
        return t_interval(self.value, self.spread)


@dataclass(frozen=True)
class Verdict:
    """A claim with what came out."""

    claim: Claim
    verdict: str
    found: Estimated | None = None
    worlds: tuple[tuple[str, Estimated], ...] = ()
    p: float = 1.0
    """Two-sided: of the claim and of its opposite."""
    adjusted: float = 1.0
    favours: bool = False
    lacking: tuple[str, ...] = ()
    """Rows that are not there."""
    changed: tuple[str, ...] = ()
    """Runs that were made before the test was what it is."""


def judge(results: Results, claims: Claims) -> list[Verdict]:
    """All claims, those that lack a row among them: they count for Holm's adjustment like the others."""
    tests = claim_tests(claims)
    found = [_judged(results, claims, claim, tests[claim.name]) for claim in claims.claim]
    decided = []
    for verdict, adjusted in zip(found, holm([v.p for v in found]), strict=True):
        name = verdict.verdict
        if verdict.found and adjusted <= claims.level:
            name = SUPPORTED if verdict.favours else CONTRADICTED
        decided.append(replace(verdict, adjusted=adjusted, verdict=name))
    return decided


def _judged(results: Results, claims: Claims, claim: Claim, test: str) -> Verdict:
    rows = dict.fromkeys(term.row for term in claim.parsed)
    worlds = [w.name for w in results.plan.world if all(results.of(row, w.name) for row in rows)]
    if not worlds:
        names = (w.name for w in results.plan.world)
        lacking = [row for row in rows if not any(results.of(row, name) for name in names)]
        return Verdict(claim, NOT_RUN, lacking=tuple(lacking or rows))
    each, found = estimate(results, claims, claim, worlds)
    bound = claim.margin / (100 if claim.in_points else 1)
    held, against = _chances(claim, found, bound)
    if claim.each_world:
        held = max(_chances(claim, part, bound)[0] for part in each)
    used = [s for row in rows for world in worlds for s in results.of(row, world)]
    changed = [s.run.name for s in used if s.facts.get("claims", {}).get(claim.name) != test]
    p = min(1.0, 2 * min(held, against))
    return Verdict(
        claim,
        UNDECIDED,
        found,
        tuple(zip(worlds, each, strict=True)),
        p,
        favours=held < against,
        changed=tuple(changed),
    )


def _chances(claim: Claim, found: Estimated, bound: float) -> tuple[float, float]:
    """How likely as much as was found is were the claim false, and were it true."""

    def above(limit: float) -> float:
        return t_p(found.value, found.spread, limit)

    def below(limit: float) -> float:
        return t_p(-found.value, found.spread, -limit)

    if claim.holds == "above":
        return above(bound), below(bound)
    if claim.holds == "below":
        return below(bound), above(bound)
    return max(above(-bound), below(bound)), min(1.0, 2 * min(above(bound), below(-bound)))


def estimate(
    results: Results, claims: Claims, claim: Claim, worlds: Sequence[str]
) -> tuple[list[Estimated], Estimated]:
    """The sum of a claim's terms in each world, and its mean over them."""
    parts = [_World(results, claims, claim, world) for world in worlds]
    rows = [
        Runs(
            [part.per_run[row] for part in parts],
            scale=sum(term.weight**2 for term in claim.parsed if term.row == row),
            trained=_varies(results, row),
        )
        for row in parts[0].per_run
    ]
    each = [
        Estimated(part.value, satterthwaite([part.spread, by_seed]))
        for part, by_seed in zip(parts, in_each_world(rows), strict=True)
    ]
    value = float(np.mean([part.value for part in parts]))
    if any(math.isnan(part.spread.variance) for part in parts):
        return each, Estimated(value, UNKNOWN)
    scaled = [Spread(p.spread.variance / len(parts) ** 2, p.spread.df) for p in parts]
    return each, Estimated(value, satterthwaite([*scaled, over_runs(rows)]))


def _varies(results: Results, name: str) -> bool:
    """Whether another seed would give another model."""
    row = next(row for row in results.plan.row if row.name == name)
    return row.random and bool(row.seeds)


class _World:
    """A claim in one world."""

    def __init__(self, results: Results, claims: Claims, claim: Claim, world: str) -> None:
        self.questions, self.correlation = results.questions[world], claim.statistic != "mean"
        self.per_run: dict[str, list[float]] = {}
        self.influence = np.zeros(len(self.questions.place))
        self.touched = np.zeros(len(self.questions.place), dtype=bool)
        self.others: list[Spread] = []
        for term in claim.parsed:
            runs = results.of(term.row, world)
            chosen = self.questions.where(claims.questions(term.questions).where)
            values = self._values(term, runs, chosen)
            before = self.per_run.get(term.row, [0.0] * len(runs))
            self.per_run[term.row] = [a + term.weight * b for a, b in zip(before, values, strict=True)]
        self.value = float(sum(np.mean(values) for values in self.per_run.values()))

    def _values(self, term: Term, runs: Sequence[Stored], chosen: np.ndarray) -> list[float]:
        """Of each run; what it adds to the spread over questions is noted."""
        if term.measure.startswith(KNOWN):
            return self._known(term, runs)
        scores = np.array([run.evaluations[term.evaluation].measure(term.measure) for run in runs])
        asked = chosen & ~np.isnan(scores).any(axis=0)
        if not asked.any():
            self.others.append(UNKNOWN)
            return [math.nan] * len(runs)
        if self.correlation:
            return self._correlations(term, scores, asked)
        mean = scores[:, asked].mean(axis=0)
        self.influence[asked] += term.weight * (mean - mean.mean()) / asked.sum()
        self.touched |= asked
        return [float(value) for value in scores[:, asked].mean(axis=1)]

    def _correlations(self, term: Term, scores: np.ndarray, asked: np.ndarray) -> list[float]:
        depth, entities = self.questions.columns["depth"][asked], self.questions.entities[asked]
        found = [spearman(depth, values[asked], entities) for values in scores]
        # The same questions were asked in every run: their spread does not become less by more runs.
        self.others.append(max((spread for _, spread in found), key=lambda s: s.variance))
        return [estimate.value for estimate, _ in found]

    def _known(self, term: Term, runs: Sequence[Stored]) -> list[float]:
        known = [run.facts["known"].get(term.measure.removeprefix(KNOWN)) for run in runs]
        if None in known or not known:
            self.others.append(UNKNOWN)
            return [math.nan] * len(runs)
        n = known[0]["n"]
        right = np.mean([part["value"] for part in known])
        likely = (right * n + 1) / (n + 2)
        self.others.append(Spread(term.weight**2 * likely * (1 - likely) / n, n - 1))
        return [part["value"] for part in known]

    @property
    def spread(self) -> Spread:
        """Over questions."""
        if not self.touched.any():
            return satterthwaite(self.others)
        asked = self.touched
        entities = self.questions.entities[asked]
        clustered = two_way(self.influence[asked], entities, self.questions.pairs[asked])
        return satterthwaite([clustered, unasked(len(np.unique(entities))), *self.others])
