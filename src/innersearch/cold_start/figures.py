"""The figures of a start, and what they must be before reinforcement has something to work with.

A start that answers no two-hop question in sixteen tries gives reinforcement nothing to reward; one that
knows less than the model did behind examples has lost what it was to search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from innersearch.cold_start.settings import StartSettings
from innersearch.intervals import Estimate, mean_score, proportion
from innersearch.metrics import pass_at_k
from innersearch.stored import Record

LOST = 0.05
"""Exact match on one hop that may be lost, against the best that examples brought out."""
WELL_FORMED = 0.95
"""Share of greedy trajectories that must be well-formed."""
PASSED = 0.20
"""Least pass@k on two hops, k being the samples of a question."""


class Target(NamedTuple):
    """One figure of a start, and the least that it must be."""

    name: str
    found: Estimate
    least: float

    @property
    def met(self) -> bool:
        """Whether it is that much; no number is not."""
        return self.found.value >= self.least

    def record(self) -> dict[str, Any]:
        """The target as JSON."""
        return {"name": self.name, **self.found._asdict(), "least": self.least, "met": self.met}


class Figures(NamedTuple):
    """What a start can do."""

    few_shot: Mapping[int, Mapping[str, Estimate]]
    """Exact match behind examples, by number of searches and by group."""
    greedy: Mapping[str, Estimate]
    """Exact match of the start by group, greedy."""
    passes: Mapping[int, Estimate]
    """pass@k on two hops, by k."""
    targets: Sequence[Target]

    @property
    def ready(self) -> bool:
        """Whether reinforcement can begin here."""
        return all(target.met for target in self.targets)

    def record(self) -> dict[str, Any]:
        """All of it as JSON."""
        few_shot = {
            str(searches): {group: found._asdict() for group, found in row.items()}
            for searches, row in self.few_shot.items()
        }
        return {
            "ready": self.ready,
            "targets": [target.record() for target in self.targets],
            "few_shot": few_shot,
            "greedy": {group: found._asdict() for group, found in self.greedy.items()},
            "pass_at_k": {str(k): found._asdict() for k, found in self.passes.items()},
        }


def figures(
    settings: StartSettings,
    few_shot: Sequence[Record],
    greedy: Sequence[Record],
    samples: Sequence[Record],
) -> Figures:
    """The figures of a start from its records per question.

    Args:
        settings: Of the start; they name the groups.
        few_shot: Lines of few-shot.jsonl.
        greedy: Lines of an evaluation's greedy.jsonl.
        samples: Lines of an evaluation's samples.jsonl, of questions of two hops.
    """
    shots = {
        searches: _by_group(record for record in few_shot if record["searches"] == searches)
        for searches in range(settings.searches + 1)
    }
    ks = [k for k in (1, 4, 16, 64) if k < settings.samples] + [settings.samples]
    passes = {k: mean_score([pass_at_k(len(r["em"]), sum(r["em"]), k) for r in samples]) for k in ks}
    one_hop = of_group(greedy, settings.one_hop)
    best = max(
        (mean_score(_ems(of_group(_of(few_shot, n), settings.one_hop))).value for n in shots),
        default=0.0,
    )
    formed = [_formed(record, settings.well_formed) for record in greedy]
    targets = [
        Target("one hop, greedy EM", mean_score(_ems(one_hop)), max(0.0, best - LOST)),
        Target("well-formed", proportion(sum(formed), len(formed)), WELL_FORMED),
        Target(f"two hops, pass@{settings.samples}", passes[settings.samples], PASSED),
    ]
    return Figures(shots, _by_group(greedy), passes, targets)


def of_group(records: Sequence[Record], group: str) -> list[Record]:
    """The records of a group; all where it has none."""
    return [record for record in records if record["group"] == group] or list(records)


def _of(records: Sequence[Record], searches: int) -> list[Record]:
    return [record for record in records if record["searches"] == searches]


def _by_group(records: Iterable[Record]) -> dict[str, Estimate]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["group"], []).append(record)
    return {group: mean_score(_ems(members)) for group, members in groups.items()}


def _ems(records: Iterable[Record]) -> list[float]:
    return [float(record["em"]) for record in records]


def _formed(record: Record, measure: str) -> int:
    value = record["format"] if measure == "format:strict" else record["scores"][measure]
    return int(value == 1.0)
