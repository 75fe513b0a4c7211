"""What hybrid search costs and gains as its user pays for it: exact match against real searches, against
all sampled tokens (rolled back ones included), and against time.

Every router is evaluated on the same questions in the same order, each in a directory of its own, so
that what was interrupted goes on. Those after the first `after` questions are measured: before that a
router that learns in use has nothing to go by. Thresholds of gates are quantiles of the signal on these
questions, without a look at answers; none is chosen here. `popularity` looks up how often pre-training
states a fact, which nobody knows in use: a bound, not a router.

Time is modelled: what a token takes, measured with one question at a time, plus a log-normal latency for
every real search, which wait for one another.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from innersearch import prompts
from innersearch.config import SearchSettings
from innersearch.errors import DataError
from innersearch.evaluate.calibrate import CHEAP, signal_values
from innersearch.evaluate.clusters import field_of
from innersearch.evaluate.evaluation import Evaluation
from innersearch.evaluate.stored import Answered
from innersearch.intervals import DRAWS, Scores, difference, generator, interval
from innersearch.progress import Progress, silent
from innersearch.random_draws import draw
from innersearch.records import write_json
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.routing.gate import gate_router
from innersearch.routing.router import Query, Route, Router, parse_router
from innersearch.routing.signals import QUERY_ENTROPY
from innersearch.stored import read_json, read_unique
from innersearch.types import ALL_GROUPS, Question, Sampling

SHARES = (0.2, 0.35, 0.5)
"""Shares of searches above the thresholds that are drawn."""
_SPREAD = 0.6
"""Standard deviation of the logarithm of a search's latency."""
_TIMED = 8
"""Questions that are asked one by one to measure what a token takes."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and how."""

    after: int = 200
    """Questions at the beginning that are asked and not measured."""
    latency_s: float = 0.3
    """Mean latency of a real search."""
    by: tuple[str, ...] = ()
    """Fields of the questions, in whose values they are measured apart."""
    cluster: str = ""
    """Field of the questions; those in which it is the same err together."""
    popularity: str = "mentions"
    """Field that says how often pre-training states a question's facts; left out where none has it."""
    signals: tuple[str, ...] = CHEAP
    shares: tuple[float, ...] = SHARES
    gate: dict[str, Any] | None = None
    """The gate that was calibrated for the model; without one the router that learns is measured at the
    thresholds of the first signal."""
    token_s: float = 0.0
    """Seconds that a sampled token takes; 0 measures it."""


@dataclass(frozen=True)
class Point:
    """A router on the curves, with what it did on each measured question."""

    family: str
    router: str
    em: np.ndarray
    calls: np.ndarray
    tokens: np.ndarray
    rolled_back: np.ndarray
    seconds: np.ndarray


def curves(
    evaluation: Evaluation, search: SearchSettings, plan: Plan, path: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Evaluate all routers into directories of `path`, and return what curves.json holds.

    Args:
        evaluation: The model, and the questions in the order in which they are asked.
        search: What is searched; its router is replaced.
        plan: What is measured.
        path: Directory of the evaluations.
        progress: Told how far it is.

    Raises:
        DataError: There are no questions left to measure, or none has a field.
    """
    measured = evaluation.questions[plan.after :]
    if not measured:
        raise DataError(f"{len(evaluation.questions)} questions are asked and --after is {plan.after}")
    token_s = plan.token_s or _token_seconds(evaluation, path)
    points: list[Point] = []
    work = _Work(evaluation, search, plan, path, progress)
    for family, router in work.routers():
        folder = work.run(router)
        points.append(_point(family, str(router), folder, measured, token_s, plan.latency_s))
    found: dict[str, Any] = {
        "questions": len(measured),
        "after": plan.after,
        "latency_s": plan.latency_s,
    }
    found |= {"token_s": token_s, "cluster": plan.cluster, "model": evaluation.path}
    rows = [row for part in _parts(measured, plan.by) for row in _rows(points, measured, plan, *part)]
    return found | {"rows": rows}


@dataclass(frozen=True)
class _Work:
    evaluation: Evaluation
    search: SearchSettings
    plan: Plan
    path: Path
    progress: Progress

    def run(self, router: Router) -> Path:
        """Evaluate with a router."""
        folder = self.path / str(router).replace(":", "-")
        text = "always" if router.name == "popularity" else str(router)
        settings = self.search.model_copy(update={"router": text})
        given = {} if text == str(router) else {"router": router}
        budget = self.path / "budget.json"
        self.evaluation.run(folder, settings, self.progress, folder.name, budget, **given)
        return folder

    def routers(self) -> Iterator[tuple[str, Router]]:
        """All of them by family, as thresholds become known."""
        for family, text in _ENDS:
            yield family, parse_router(text)
        if gate := self.plan.gate:
            yield "calibrated gate", parse_router(gate_router(gate))
            if gate["signal"] != QUERY_ENTROPY:
                yield "learning", parse_router(gate_router(gate, learning=True))
        for family, text in _OTHERS:
            yield family, parse_router(text)
        yield from self._popularities()
        for signal in self.plan.signals:
            shadow = self.run(parse_router(f"gate:{signal}:-inf"))
            values = signal_values(shadow)
            for share in self.plan.shares if values else ():
                threshold = float(np.quantile(values, 1 - share, method="higher"))
                yield f"gate {signal}", parse_router(f"gate:{signal}:{threshold!r}")
                if signal == self.plan.signals[0] and not self.plan.gate:
                    yield "learning", parse_router(f"learning:{signal}:{threshold!r}")

    def _popularities(self) -> Iterator[tuple[str, Router]]:
        field = self.plan.popularity
        known = {q.id: q.metadata.get(field) for q in self.evaluation.questions}
        numbers = {i: float(n) for i, n in known.items() if isinstance(n, int | float)}
        distinct = sorted(set(numbers.values()))[:-1]
        places = sorted({round(n) for n in np.linspace(0, len(distinct) - 1, 4)}) if distinct else []
        for most in (distinct[place] for place in places):
            yield "popularity", popularity(numbers, field, most)


_ENDS = (("never", "self"), ("always", "always"))
_OTHERS = (
    ("random", "random:0.5"),
    ("random", "random:0.25"),
    ("random", "random:0.75"),
    ("K first", "first:1"),
    ("K first", "first:2"),
    ("entropy trend", "entropy-trend"),
)


def popularity(known: Mapping[str, float], field: str, most: float) -> Router:
    """The engine for questions whose facts were stated `most` times at most, or who knows how often."""

    def route(query: Query) -> Route:
        stated = known.get(str(query.identity[0]), 0.0)
        return Route("engine" if stated <= most else "policy", field, stated, most)

    return Router("popularity", route, f"popularity:{field}:{most:g}")


def _token_seconds(evaluation: Evaluation, path: Path) -> float:
    """What a token takes with one question at a time, measured once for a directory."""
    file = path / "pace.json"
    if file.is_file():
        return float(read_json(file)["token_s"])
    asked, tokenizer = evaluation.questions[:_TIMED], evaluation.tokenizer
    name = evaluation.settings.prompt
    encoded = prompts.encode_all(tokenizer, name, [q.question for q in asked])
    sampling = Sampling(0.0, evaluation.settings.max_new_tokens)
    tasks = [Task(q, ids, q.id) for q, ids in zip(asked, encoded, strict=True)]
    with Rollout(evaluation.policy, tokenizer, sampling, in_flight=1) as rollout:
        rollout.run(tasks[:1])
        started = time.perf_counter()
        written = rollout.run(tasks)
    tokens = sum(sum(segment.sampled_mask) for t in written for segment in t.segments)
    token_s = (time.perf_counter() - started) / max(1, tokens)
    write_json(file, {"token_s": token_s, "tokens": tokens})
    return token_s


def _point(
    family: str, router: str, folder: Path, asked: Sequence[Question], token_s: float, latency_s: float
) -> Point:
    found = {record["id"]: record for record in read_unique(folder / "greedy.jsonl", Answered)}
    records = [found[question.id] for question in asked]
    names = ("em", "calls", "tokens", "rolled_back")
    em, calls, tokens, lost = (np.array([float(r.get(n, 0)) for r in records]) for n in names)
    waits = [sum(_latencies(r["id"], r["calls"], latency_s)) for r in records]
    return Point(family, router, em, calls, tokens, lost, token_s * (tokens + lost) + np.array(waits))


def _latencies(identity: str, calls: int, mean: float) -> Iterator[float]:
    """Seconds of the real searches of a question."""
    centre = math.log(mean) - _SPREAD**2 / 2 if mean else -math.inf
    for number in range(calls):
        z = statistics.NormalDist().inv_cdf(min(max(draw("latency", identity, number), 1e-9), 1 - 1e-9))
        yield math.exp(centre + _SPREAD * z)


def _parts(asked: Sequence[Question], by: Sequence[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """All questions, and those of each value of each field: which they are."""
    yield "", ALL_GROUPS, np.ones(len(asked), dtype=bool)
    for field in by:
        values = np.array([field_of(question, field) for question in asked])
        for value in sorted(set(values.tolist())):
            yield field, value, values == value


def _rows(
    points: Sequence[Point],
    asked: Sequence[Question],
    plan: Plan,
    field: str,
    value: str,
    chosen: np.ndarray,
) -> Iterator[dict[str, Any]]:
    names = [field_of(q, plan.cluster) if plan.cluster else q.id for q in asked]
    clusters = np.unique(np.array(names)[chosen], return_inverse=True)[1]
    cut = [
        replace(
            p, **{n: getattr(p, n)[chosen] for n in ("em", "calls", "tokens", "rolled_back", "seconds")}
        )
        for p in points
    ]
    always = next(point for point in cut if point.family == "always")
    for point in cut:
        scores = Scores.single(point.em, clusters)
        low, high = interval(scores, (0.0, 1.0), DRAWS, generator(0, point.router))
        yield {
            "field": field,
            "value": value,
            "family": point.family,
            "router": point.router,
            "n": len(point.em),
            "em": {"value": scores.mean, "low": low, "high": high},
            "calls": float(point.calls.mean()),
            "call_share": float(point.calls.sum() / max(1.0, always.calls.sum())),
            "tokens": float(point.tokens.mean()),
            "rolled_back": float(point.rolled_back.mean()),
            "seconds": float(point.seconds.mean()),
            "seconds_p95": float(np.quantile(point.seconds, 0.95)),
            "minus_always": _differs(point.em - always.em, clusters),
            "minus_random": _differs(point.em - _random_at(cut, point.calls.mean()), clusters),
        }


def _differs(values: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    found = difference(Scores.single(values, clusters), 1.0, DRAWS, generator(0, "curves"))
    return {"value": found.value, "low": found.low, "high": found.high}


def _random_at(points: Sequence[Point], calls: float) -> np.ndarray:
    """Exact match per question of drawn searches at so many calls, between the two next rates."""
    known = sorted(
        (p for p in points if p.family in ("never", "random", "always")), key=lambda p: p.calls.mean()
    )
    means = [float(p.calls.mean()) for p in known]
    right = min(max(1, int(np.searchsorted(means, calls))), len(known) - 1)
    before, behind = known[right - 1], known[right]
    width = means[right] - means[right - 1]
    share = min(1.0, max(0.0, (calls - means[right - 1]) / width)) if width else 1.0
    return (1 - share) * before.em + share * behind.em
