"""How often the intervals that innersearch prints hold the truth, and how wide they are.

Simulates questions whose true mean is known, for every kind of interval: shares (EM, cover EM, maj@k,
coverage of a corpus), means of scores between 0 and 1 (F1, pass@k), means of groups, the row of all
questions where only some of each group were sampled, paired differences, and differences in clusters.
The coverage of shares is computed without simulation. Beside the coverage stands the mean width over
that of the normal interval with the true standard error, which nobody knows; near 0 and 1 that one is no
interval at all, and holds the truth much too seldom. For clusters it also counts how often a true null
is rejected.

    python benchmarks/intervals.py > benchmarks/results/intervals.md

Predicted before the first run: at least 0.95 everywhere but for simulation error (0.006 at 1,200
repetitions, 0.009 at 600), so no cell below 0.93; 0.99 and more where n times the rarer outcome is below
about 3; widths 1.0 to 1.1 for n >= 200 and means from 0.1 to 0.9, up to 1.5 for n = 5 there, and 3 to 5
at the very ends; means of seven groups wider than one group of all their questions by a tenth to a half;
clusters of equal size as single questions, those of very unequal size down to 0.94; rejection of true
nulls 0.04 to 0.05 with the clusters named, and about 0.4 without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from math import comb

import numpy as np
from scipy.stats import binom

from innersearch.intervals import Scores, flipped_means, grouped, interval, proportion
from innersearch.view.tables import markdown

SIZES = (5, 12, 24, 64, 200, 1000)
RATES = (0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99)
REPETITIONS, DRAWS = 1200, 2000
"""Of means of one group; half as many of what takes longer."""
PARTIAL = np.array([2 / 7, 1 / 3, 0.4, 0.5, 4 / 7, 2 / 3, 0.8, 6 / 7])
"""What F1 is where some words are right."""
PASSES = 16
"""Samples per question, for pass@4."""

Sample = Callable[[np.random.Generator], Scores]


def simulated(
    sample: Sample, truth: float, most: tuple[float, float], seed: int, share: float = 0.5
) -> str:
    """Coverage and relative width, as `coverage (width)`."""
    repetitions, draws = int(share * REPETITIONS), int(share * DRAWS)
    rng = np.random.default_rng(seed)
    held, widths, means = 0, [], []
    for _ in range(repetitions):
        scores = sample(rng)
        low, high = interval(scores, most, draws, rng)
        held += low - 1e-12 <= truth <= high + 1e-12
        widths.append(high - low)
        means.append(scores.mean)
    spread = 2 * 1.96 * float(np.std(means))
    width = f" ({np.mean(widths) / spread:.2f})" if spread > 1e-9 else ""
    return f"{held / repetitions:.3f}{width}"


def share(n: int, rate: float) -> str:
    """The same of a share, computed."""
    counts = np.arange(n + 1)
    found = [proportion(int(k), n) for k in counts]
    mass = binom.pmf(counts, n, rate)
    held = sum(m for m, e in zip(mass, found, strict=True) if e.low <= rate <= e.high)
    width = sum(m * (e.high - e.low) for m, e in zip(mass, found, strict=True))
    return f"{held:.3f} ({width / (2 * 1.96 * (rate * (1 - rate) / n) ** 0.5):.2f})"


def f1(n: int, rate: float) -> tuple[Sample, float]:
    """Mass at 0 and at 1, and a third of what is left between."""
    between = min(rate, 1 - rate) / 1.5
    ones = max(0.0, rate - between * PARTIAL.mean())
    mass = np.array([1 - ones - between, ones, *np.full(len(PARTIAL), between / len(PARTIAL))])
    mass = np.clip(mass, 0, None) / np.clip(mass, 0, None).sum()
    values = np.array([0.0, 1.0, *PARTIAL])
    return lambda rng: Scores.single(rng.choice(values, p=mass, size=n)), float(values @ mass)


def passes(n: int, rate: float) -> tuple[Sample, float]:
    """pass@4 from 16 samples of questions whose own rates are very unequal: mostly near 0 or 1."""
    spread = 0.3
    shape = rate * spread, (1 - rate) * spread
    table = np.array([1 - comb(PASSES - c, 4) / comb(PASSES, 4) for c in range(PASSES + 1)])
    many = np.random.default_rng(0).beta(*shape, size=2_000_000)
    truth = float(np.mean(1 - (1 - many) ** 4))
    return lambda rng: Scores.single(table[rng.binomial(PASSES, rng.beta(*shape, size=n))]), truth


def groups(
    n: int, rates: Sequence[float], weights: Sequence[float] | None = None
) -> tuple[Sample, float]:
    """Groups of n questions each, with rates of their own."""
    weighed = dict(zip(map(str, range(len(rates))), weights or [1.0] * len(rates), strict=True))
    truth = float(np.average(rates, weights=list(weighed.values())))

    def sample(rng: np.random.Generator) -> Scores:
        return grouped({str(i): rng.binomial(1, r, size=n) for i, r in enumerate(rates)}, weighed)

    return sample, truth


def paired(n: int, delta: float, changed: float) -> tuple[Sample, float]:
    """Differences of which a share is not 0."""
    mass = [(changed - delta) / 2, 1 - changed, (changed + delta) / 2]
    return lambda rng: Scores.single(rng.choice([-1.0, 0.0, 1.0], p=mass, size=n)), delta


def paired_f1(n: int, delta: float) -> tuple[Sample, float]:
    """Differences of F1, half of them 0, shifted to one side."""
    values = np.array([0.0, *PARTIAL, *-PARTIAL, 1.0, -1.0])
    toward = np.array([0.0, *np.ones(8), *-np.ones(8), 1.0, -1.0])
    mass = np.array([0.5, *np.full(16, 0.4 / 16), 0.05, 0.05])
    mass = mass * (1 + delta * toward)
    mass /= mass.sum()
    return lambda rng: Scores.single(rng.choice(values, p=mass, size=n)), float(values @ mass)


def clustered(
    clusters: int, sizes: Sequence[int], delta: float, *, named: bool = True
) -> tuple[Sample, float]:
    """Differences that are the same within a cluster, in four of five."""
    mass = [(0.4 - delta) / 2, 0.6, (0.4 + delta) / 2]

    def sample(rng: np.random.Generator) -> Scores:
        numbers = np.repeat(np.arange(clusters), rng.choice(sizes, size=clusters))
        shared = rng.choice([-1.0, 0.0, 1.0], p=mass, size=clusters)[numbers]
        own = rng.choice([-1.0, 0.0, 1.0], p=mass, size=len(numbers))
        values = np.where(rng.random(len(numbers)) < 0.8, shared, own)
        return Scores.single(values, numbers if named else None)

    return sample, delta


def rejected(sample: Sample, seed: int) -> str:
    """How often the randomisation test finds p < 0.05."""
    rng, found = np.random.default_rng(seed), 0
    for _ in range(REPETITIONS // 2):
        scores = sample(rng)
        flipped = flipped_means(scores, DRAWS // 2, rng)
        p = (1 + (np.abs(flipped) >= abs(scores.mean) - 1e-12).sum()) / (1 + DRAWS // 2)
        found += p < 0.05
    return f"{found / (REPETITIONS // 2):.3f}"


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One table of the results."""
    print(f"\n## {title}\n\n{markdown(heads, rows)}", flush=True)


def main() -> None:
    """Print all tables."""
    unit, both = (0.0, 1.0), (-1.0, 1.0)
    heads = ["true mean", *(f"n = {n}" for n in SIZES)]
    print(
        "# Coverage of the 95 % intervals\n\nMade by `benchmarks/intervals.py`. Coverage (mean width / "
        f"that of the normal interval with the true standard error); {REPETITIONS:,} repetitions."
    )
    table("Shares, computed", heads, [[f"{r}", *(share(n, r) for n in SIZES)] for r in RATES])
    for title, make in (("F1", f1), ("pass@4, unequal questions", passes)):
        rows = [
            [f"{make(5, r)[1]:.3f}", *(simulated(*make(n, r), unit, n, share=1.0) for n in SIZES)]
            for r in RATES
        ]
        table(title, heads, rows)
    unequal = {
        "all 0.01": [0.01] * 7,
        "all 0.3": [0.3] * 7,
        "0.01 to 0.99": [0.01, 0.02, 0.1, 0.5, 0.9, 0.98, 0.99],
        "0 or 1": [0, 0, 0, 1, 1, 1, 1],
        "two, 0.05 and 0.4": [0.05, 0.4],
    }
    heads = ["rates of groups", *(f"n = {n} each" for n in SIZES[:-1])]
    rows = [[k, *(simulated(*groups(n, r), unit, n) for n in SIZES[:-1])] for k, r in unequal.items()]
    table("Means of seven groups", heads, rows)
    rows = [
        [k, *(simulated(*groups(n, r, range(1, len(r) + 1)), unit, n) for n in SIZES[:-1])]
        for k, r in unequal.items()
    ]
    table("All questions, as many sampled of each group, weighed 1 to 7", heads, rows)
    heads = ["difference, share that differs", *(f"n = {n}" for n in SIZES)]
    kinds = ((0, 0.01), (0.01, 0.01), (0, 0.1), (0.05, 0.1), (0, 0.5), (0.3, 0.5), (0.9, 0.95))
    rows = [[f"{d}, {c}", *(simulated(*paired(n, d, c), both, n) for n in SIZES)] for d, c in kinds]
    table("Paired differences of EM", heads, rows)
    rows = [
        [f"{paired_f1(5, d)[1]:.3f}", *(simulated(*paired_f1(n, d), both, n) for n in SIZES)]
        for d in (0, 0.3, 0.8)
    ]
    table("Paired differences of F1", ["difference", *(f"n = {n}" for n in SIZES)], rows)
    counts = (5, 10, 20, 50, 200)
    shapes = {"6": [6], "1 to 12": range(1, 13), "1 or 40": [1] * 9 + [40]}
    heads = ["sizes, difference", *(f"{c} clusters" for c in counts)]
    rows = [
        [f"{k}, {d}", *(simulated(*clustered(c, s, d), both, c) for c in counts)]
        for k, s in shapes.items()
        for d in (0, 0.2)
    ]
    table("Differences in clusters", heads, rows)
    rows = [
        [
            f"{k}{'' if named else ', not named'}",
            *(rejected(clustered(c, s, 0, named=named)[0], c) for c in counts),
        ]
        for k, s in shapes.items()
        for named in (True, False)
    ]
    table("True nulls rejected at 0.05", ["sizes", *heads[1:]], rows)


if __name__ == "__main__":
    sys.exit(main())
