"""Two evaluations side by side: their differences question by question, with intervals by the paired
bootstrap and p by the paired randomisation test.

Only questions that both have are compared, and how many are in one only is said. The same id must mean
the same question with the same gold answers, and the same protocol must have asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from innersearch.errors import DataError, RunError
from innersearch.evaluate.scores import by_group
from innersearch.identity import between
from innersearch.metrics import difference, flipped_means, generator, pass_at_k, resampled_means
from innersearch.records import read_json, read_lines
from innersearch.types import ALL_GROUPS, MEAN_OF_GROUPS

Record = dict[str, Any]

METRICS = ("em", "f1", "cover_em", "searches")


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
    summary = _object(path, "summary.json", ("n", "settings"))
    greedy, samples = (_records(path, f"{name}.jsonl") for name in ("greedy", "samples"))
    if len(greedy) != summary["n"]:
        raise RunError(
            f"{path} is damaged: {len(greedy)} records in greedy.jsonl, {summary['n']} in summary.json"
        )
    for record in greedy.values():
        if lacking := [name for name in METRICS if name not in record]:
            raise RunError(
                f"{path} was scored with other metrics: question {record['id']!r} has no "
                f"{', '.join(lacking)}; evaluate again"
            )
    settings = dict(summary["settings"]) | {"search": summary.get("search", "self")}
    settings |= {"retokenised": summary.get("retokenised", False)}
    if (path / "settings.json").is_file():
        settings |= {"model": _object(path, "settings.json", ("model",))["model"]}
    return Evaluated(path, settings, greedy, samples)


def _object(path: Path, name: str, keys: Collection[str]) -> dict[str, Any]:
    try:
        found = read_json(path / name)
    except ValueError as error:
        raise RunError(f"{error}; evaluate again") from error
    if not isinstance(found, dict) or (lacking := [key for key in keys if key not in found]):
        what = f"has no {', '.join(lacking)}" if isinstance(found, dict) else "is no object"
        raise RunError(f"{path} is damaged: {name} {what}; evaluate again")
    return found


def _records(path: Path, name: str) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for number, record in enumerate(read_lines(path / name), 1):
        if lacking := [key for key in ("id", "group", "em") if key not in record]:
            raise RunError(
                f"{path} is damaged: line {number} of {name} has no {', '.join(lacking)}; evaluate again"
            )
        if record["id"] in found:
            raise RunError(
                f"{path} is damaged: question {record['id']!r} stands twice in {name}, as when two "
                "processes wrote it; evaluate again"
            )
        found[record["id"]] = record
    return found


def compare(a: Evaluated, b: Evaluated, resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """The differences B − A per metric and group, with 95 % intervals and p.

    `pass@1` and `pass@k` for the largest common k are compared where both were sampled.

    Raises:
        DataError: They share no question, or an id stands for different questions.
        RunError: Their protocols differ.
    """
    _check_protocols(a, b)
    shared = [identity for identity in a.greedy if identity in b.greedy]
    if not shared:
        raise DataError(f"{a.path} and {b.path} have no question in common")
    _check_questions(a, b, shared)
    result: dict[str, Any] = {
        "a": str(a.path),
        "b": str(b.path),
        "n": len(shared),
        "only_a": len(a.greedy) - len(shared),
        "only_b": len(b.greedy) - len(shared),
        "resamples": resamples,
        "seed": seed,
        "settings": _differing(a.settings, b.settings) | between(a.path, b.path),
        "metrics": {},
    }
    for name in METRICS:
        pairs = _pairs(a.greedy, b.greedy, shared, itemgetter(name))
        result["metrics"][name] = _by_group(pairs, resamples, seed)
    for k, pairs in _sampled(a.samples, b.samples).items():
        result["metrics"][f"pass@{k}"] = _by_group(pairs, resamples, seed)
    return result


Pairs = dict[str, np.ndarray]
"""Scores per group: an array with a row for A and one for B."""


def _pairs(
    a: Mapping[str, Record],
    b: Mapping[str, Record],
    shared: Sequence[str],
    value: Callable[[Record], float],
) -> Pairs:
    groups = by_group(a[identity] for identity in shared)
    return {
        group: np.array([[float(value(records[row["id"]])) for row in rows] for records in (a, b)])
        for group, rows in groups.items()
    }


def _sampled(a: Mapping[str, Record], b: Mapping[str, Record]) -> dict[int, Pairs]:
    shared = [identity for identity in a if identity in b]
    if not shared:
        return {}
    most = min(len(records[identity]["em"]) for records in (a, b) for identity in shared)

    def passed(k: int) -> Callable[[Record], float]:
        return lambda record: pass_at_k(len(record["em"]), sum(record["em"]), k)

    return {k: _pairs(a, b, shared, passed(k)) for k in sorted({1, most})}


def _by_group(groups: Pairs, resamples: int, seed: int) -> dict[str, Any]:
    """Of every group; of all questions together; and of the mean of the groups."""
    entries, drawn = {}, []
    for group, scores in groups.items():
        entries[group], chance = _entry(scores, resamples, generator(seed, group))
        drawn.append(chance)
    if len(groups) > 1:
        pooled = np.hstack(list(groups.values()))
        entries[ALL_GROUPS], _ = _entry(pooled, resamples, generator(seed, ALL_GROUPS))
        averages = np.array([scores.mean(axis=1) for scores in groups.values()]).T
        whole = difference(averages[1] - averages[0], *np.mean(drawn, axis=0))
        n = sum(scores.shape[1] for scores in groups.values())
        entries[MEAN_OF_GROUPS] = _json(whole._replace(n=n), averages)
    return entries


def _entry(
    scores: np.ndarray, resamples: int, rng: np.random.Generator
) -> tuple[dict[str, float], np.ndarray]:
    delta = scores[1] - scores[0]
    drawn = np.array([draw(delta, resamples, rng) for draw in (resampled_means, flipped_means)])
    return _json(difference(delta, *drawn), scores), drawn


def _json(found: Any, scores: np.ndarray) -> dict[str, float]:
    return {"a": float(scores[0].mean()), "b": float(scores[1].mean())} | found._asdict()


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


def _short(value: Any) -> Any:
    """A search as the few words that name it."""
    if not isinstance(value, Mapping) or "router" not in value:
        return value
    return f"{value['router']} {value['engine'].get('engine', '')}, k = {value['k']}"
