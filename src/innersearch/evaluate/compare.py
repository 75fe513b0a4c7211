"""Two evaluations side by side: their differences question by question, with 95 % intervals, and with p
by the paired randomisation test; see `innersearch.intervals`.

Only questions that both have are compared, and how many are in one only is said. The same id must mean
the same question with the same gold answers, and the same protocol must have asked. Questions that err
together, for they are about one entity or were made from one page, are no independent witnesses: named
as clusters, they are weighed and flipped together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from innersearch.errors import DataError, RunError
from innersearch.evaluate.clusters import Clusters, find_clusters, regrouped
from innersearch.evaluate.judge import read_judged
from innersearch.evaluate.scores import by_group
from innersearch.evaluate.stored import Greedy, Made, Sampled, Whole
from innersearch.identity import between
from innersearch.intervals import DRAWS, difference, generator, grouped
from innersearch.metrics import pass_at_k
from innersearch.stored import Record, read_object, read_records
from innersearch.types import ALL_GROUPS, MEAN_OF_GROUPS

METRICS = ("em", "f1", "cover_em", "searches")
"""What every evaluation has; other scores are compared where both have them."""


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation as it lies on disk, records by question id."""

    path: Path
    settings: dict[str, Any]
    greedy: dict[str, Record]
    samples: dict[str, Record]


def read_evaluation(path: Path) -> Evaluated:
    """What `innersearch eval` wrote.

    Raises:
        DataError: A line of its records is no JSON.
        RunError: There is no evaluation, or it is not finished, or damaged.
    """
    if not path.is_dir():
        raise RunError(f"no evaluation at {path}: give a directory that innersearch eval wrote")
    if not (path / "greedy.jsonl").is_file():
        inside = sorted(file.parent.name for file in path.glob("*/greedy.jsonl"))
        hint = f"; it holds evaluations, give one: {', '.join(inside)}" if inside else ""
        raise RunError(f"{path} holds no evaluation (no greedy.jsonl){hint}")
    if not (path / "summary.json").is_file():
        raise RunError(f"{path} is not finished: run its innersearch eval again with --resume")
    summary = read_object(path / "summary.json", Whole)
    greedy = _by_id(path / "greedy.jsonl", Greedy)
    for (judge, identity), line in read_judged(path).items():
        if line["score"] is not None and identity in greedy:
            record = greedy[identity]
            record["scores"] = record.get("scores", {}) | {judge: line["score"]}
    samples = _by_id(path / "samples.jsonl", Sampled)
    if len(greedy) != summary["n"]:
        raise RunError(
            f"{path} is damaged: {len(greedy)} records in greedy.jsonl, {summary['n']} in summary.json"
        )
    settings = dict(summary["settings"]) | {"search": summary.get("search", "self")}
    settings |= {"retokenised": summary.get("retokenised", False)}
    if (path / "settings.json").is_file():
        settings |= {"model": read_object(path / "settings.json", Made)["model"]}
    return Evaluated(path, settings, greedy, samples)


def _by_id(path: Path, kind: type) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for record in read_records(path, kind):
        if record["id"] in found:
            raise RunError(
                f"{path.parent} is damaged: question {record['id']!r} stands twice in {path.name}, as "
                "when two processes wrote it; evaluate again"
            )
        found[record["id"]] = record
    return found


def compare(
    a: Evaluated,
    b: Evaluated,
    resamples: int = DRAWS,
    seed: int = 0,
    cluster: str = "",
    by: str = "",
) -> dict[str, Any]:
    """The differences B − A per metric and group, with 95 % intervals and p.

    `pass@1` and `pass@k` for the largest common k are compared where both were sampled.

    Args:
        a: An evaluation.
        b: Another one.
        resamples: Draws, for intervals and for p.
        seed: Of the draws.
        cluster: Field of the questions, such as `group`, `golden_answers` or one of their metadata:
            those in which it is the same err together.
        by: Field whose values stand in place of the groups.

    Raises:
        DataError: They share no question, or an id stands for different questions, or no question has
            the field.
        RunError: Their protocols differ.
    """
    _check_protocols(a, b)
    a, b = _by(a, a.path, by), _by(b, a.path, by)
    shared = [identity for identity in a.greedy if identity in b.greedy]
    if not shared:
        raise DataError(f"{a.path} and {b.path} have no question in common")
    _check_questions(a, b, shared)
    clusters = find_clusters(a.path, [a.greedy[identity] for identity in shared], cluster)
    result: dict[str, Any] = {
        "a": str(a.path),
        "b": str(b.path),
        "n": len(shared),
        "only_a": len(a.greedy) - len(shared),
        "only_b": len(b.greedy) - len(shared),
        "resamples": resamples,
        "seed": seed,
        "clusters": clusters.summary if clusters else None,
        "settings": _differing(a.settings, b.settings)
        | _differing_f1(a, b, shared)
        | between(a.path, b.path),
        "metrics": {},
    }
    groups = by_group(a.greedy[identity] for identity in shared)
    testing = _Testing(clusters, {g: len(rows) for g, rows in groups.items()}, resamples, seed)
    for name in METRICS:
        pairs = _pairs(a.greedy, b.greedy, shared, itemgetter(name))
        # All other scores are shares.
        most = max(1.0, *(float(scores.max()) for scores, _ in pairs.values()))
        result["metrics"][name] = testing.by_group(pairs, most)
    for name in _named_in_both(a.greedy, b.greedy, shared):
        both = [i for i in shared if all(name in e.greedy[i].get("scores", ()) for e in (a, b))]
        result["metrics"][name] = testing.by_group(_pairs(a.greedy, b.greedy, both, _scored(name)), 1.0)
    for k, pairs in _sampled(a.samples, b.samples).items():
        result["metrics"][f"pass@{k}"] = testing.by_group(pairs, 1.0)
    return result


def _by(found: Evaluated, path: Path, field: str) -> Evaluated:
    """An evaluation with what stands in a field of its questions, as `path` knows them, as groups."""
    if not field:
        return found
    greedy, samples = (
        {record["id"]: record for record in regrouped(path, list(records.values()), field)}
        for records in (found.greedy, found.samples)
    )
    return replace(found, greedy=greedy, samples=samples)


def _named_in_both(a: Mapping[str, Record], b: Mapping[str, Record], shared: Sequence[str]) -> list[str]:
    """The scores that some shared question has in both evaluations, in the order of A."""
    each = [
        dict.fromkeys(name for i in shared for name in records[i].get("scores", ()))
        for records in (a, b)
    ]
    return [
        name
        for name in each[0]
        if name in each[1] and any(all(name in r[i].get("scores", ()) for r in (a, b)) for i in shared)
    ]


def _scored(name: str) -> Callable[[Record], float]:
    return lambda record: float(record["scores"][name])


Pairs = dict[str, tuple[np.ndarray, list[str]]]
"""Per group: an array with a row of scores for A and one for B, and the ids of the questions."""


def _pairs(
    a: Mapping[str, Record],
    b: Mapping[str, Record],
    shared: Sequence[str],
    value: Callable[[Record], float],
) -> Pairs:
    return {
        group: (
            np.array([[float(value(records[row["id"]])) for row in rows] for records in (a, b)]),
            [row["id"] for row in rows],
        )
        for group, rows in by_group(a[identity] for identity in shared).items()
    }


def _sampled(a: Mapping[str, Record], b: Mapping[str, Record]) -> dict[int, Pairs]:
    shared = [identity for identity in a if identity in b]
    if not shared:
        return {}
    most = min(len(records[identity]["em"]) for records in (a, b) for identity in shared)

    def passed(k: int) -> Callable[[Record], float]:
        return lambda record: pass_at_k(len(record["em"]), sum(record["em"]), k)

    return {k: _pairs(a, b, shared, passed(k)) for k in sorted({1, most})}


@dataclass(frozen=True)
class _Testing:
    clusters: Clusters | None
    sizes: Mapping[str, int]
    """Questions of each group that are compared, whether they were sampled or not."""
    draws: int
    seed: int

    def by_group(self, groups: Pairs, most: float) -> dict[str, Any]:
        """Of every group; of all questions, each weighing the same; and of the mean of the groups."""
        entries = {name: self._entry({name: pairs}, None, most, name) for name, pairs in groups.items()}
        if len(groups) > 1:
            if all(len(ids) == self.sizes.get(name) for name, (_, ids) in groups.items()):
                pooled = np.hstack([scores for scores, _ in groups.values()])
                whole = {ALL_GROUPS: (pooled, [i for _, ids in groups.values() for i in ids])}
                entries[ALL_GROUPS] = self._entry(whole, None, most, ALL_GROUPS)
            else:
                entries[ALL_GROUPS] = self._entry(groups, self.sizes, most, ALL_GROUPS)
            entries[MEAN_OF_GROUPS] = self._entry(groups, None, most, MEAN_OF_GROUPS)
        return entries

    def _entry(
        self, groups: Pairs, weights: Mapping[str, float] | None, most: float, name: str
    ) -> dict[str, float]:
        named = self.clusters
        numbers = {g: named.numbers(ids) for g, (_, ids) in groups.items()} if named else None
        a, b, delta = (
            grouped({g: value(scores) for g, (scores, _) in groups.items()}, weights, numbers)
            for value in (itemgetter(0), itemgetter(1), lambda scores: scores[1] - scores[0])
        )
        found = difference(delta, most, self.draws, generator(self.seed, name))
        return {"a": a.mean, "b": b.mean} | found._asdict()


def _check_protocols(a: Evaluated, b: Evaluated) -> None:
    names = [evaluated.settings.get("protocol") or "none" for evaluated in (a, b)]
    if names[0] != names[1]:
        raise RunError(
            f"{a.path} was evaluated with protocol {names[0]} and {b.path} with {names[1]}: "
            "evaluate both with the same --protocol"
        )


def _check_questions(a: Evaluated, b: Evaluated, shared: Sequence[str]) -> None:
    """Ids are easily the same in two files: the texts decide."""
    for part in ("question", "golden_answers"):
        other = [i for i in shared if a.greedy[i].get(part) != b.greedy[i].get(part)]
        if other:
            what = "question" if part == "question" else "gold answers"
            raise DataError(
                f"{len(other)} of {len(shared)} ids do not have the same {what} in {a.path} and "
                f"{b.path}, for example {other[0]!r}: evaluate both on the same file"
            )


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Settings that are not the same, as [of A, of B]."""
    keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    return {key: [_short(a.get(key)), _short(b.get(key))] for key in keys}


def _differing_f1(a: Evaluated, b: Evaluated, shared: Sequence[str]) -> dict[str, list[Any]]:
    """Where the two have other official scripts for the F1 of the same questions."""
    rules = [{e.greedy[i].get("f1_rule", "SQuAD") for i in shared} for e in (a, b)]
    same = all(
        a.greedy[i].get("f1_rule", "SQuAD") == b.greedy[i].get("f1_rule", "SQuAD") for i in shared
    )
    return {} if same else {"F1 as by": [" and ".join(sorted(found)) for found in rules]}


def _short(value: Any) -> Any:
    """A search as the few words that name it."""
    if not isinstance(value, Mapping) or "router" not in value:
        return value
    return f"{value['router']} {value['engine'].get('engine', '')}, k = {value['k']}"
