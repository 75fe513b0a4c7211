"""Calibration of a gate: at which threshold it saves calls without losing answers, on validation data.

The policy first answers everything with the engine while writing its own information next to it: the
signal's values there give the thresholds at which a fortieth, two fortieths, … of the searches would be
real. The fewest of them that lose little enough are found by bisection, in evaluations of their own.
What is found is kept beside the model, in `gate.json`, with two intervals: of the exact match that is
lost, and of the calls per question, over the gates that other validation questions would have led to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from innersearch.config import SearchSettings
from innersearch.errors import ConfigError, RunError
from innersearch.evaluate.evaluation import Evaluation
from innersearch.evaluate.selection import Candidate, em_loss, selected_calls, too_few
from innersearch.evaluate.stored import Checked, Searched
from innersearch.progress import Progress, silent
from innersearch.routing.gate import save_gate
from innersearch.routing.kinds import contradicts, kind_of
from innersearch.routing.signals import QUERY_ENTROPY, SAMPLED, SIGNALS
from innersearch.trajectories import read_parts
from innersearch.types import ALL_GROUPS, Document

STEPS = 40
"""Into so many parts the share of real searches is divided."""
BEST = "best"
"""The signal that does with the fewest calls, of those that need no further samples."""
CHEAP = (*(name for name in SIGNALS if name not in SAMPLED), QUERY_ENTROPY)
"""The signals among which the best one is."""

Evaluate = Callable[[str, Path], dict[str, Any]]
"""Evaluates with a router, named as in `innersearch.routing.router`, into a directory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a gate is calibrated to: one of the two."""

    call_rate: float | None = None
    """Share of searches that are real."""
    em_loss: float | None = None
    """Exact match that may be lost against real searches only, as a share of 1."""

    def __post_init__(self) -> None:
        given = [value for value in (self.call_rate, self.em_loss) if value is not None]
        if len(given) != 1 or not 0 <= given[0] <= 1:
            raise ConfigError(
                f"a gate is calibrated to a call rate or to a loss of EM, from 0 to 1: given "
                f"call rate {self.call_rate} and EM loss {self.em_loss}"
            )


def calibrate(
    evaluate: Evaluate, signal: str, wanted: Wanted, path: Path, cluster: str = ""
) -> dict[str, Any]:
    """Find the threshold of a gate; the evaluations go into directories of `path`.

    Args:
        evaluate: Evaluates with a router.
        signal: That of the gate, or `best`.
        wanted: What it is calibrated to.
        path: Directory of the evaluations.
        cluster: Field of the questions; those in which it is the same err together.

    Returns:
        What `gate.json` holds: signal, threshold, what was wanted, and what was measured.

    Raises:
        RunError: The policy searches nothing.
    """
    found = evaluate("always", path / "always")
    always = Candidate.read(path / "always", 1.0, -math.inf, cluster)
    signals = CHEAP if signal == BEST else (signal,)
    tried = {name: _try(evaluate, name, wanted, path, always) for name in signals}
    chosen = {name: _choose(candidates, always, wanted) for name, candidates in tried.items()}
    # Fewest calls first, unless their number is given: then most answers.
    best = min(chosen, key=lambda n: (wanted.em_loss is not None and chosen[n].calls, -chosen[n].em))
    gate, others = chosen[best], tried[best]
    loss = em_loss(always, gate)
    return {
        "signal": best,
        "threshold": gate.threshold,
        "wanted": {"call_rate": wanted.call_rate, "em_loss": wanted.em_loss},
        "measured": gate.measured,
        "always": always.measured,
        "em_loss": loss._asdict(),
        "calls_interval": selected_calls(others, gate, always, wanted.em_loss),
        "too_few": too_few(loss, wanted.em_loss),
        "tried": [{"rate": c.rate, "threshold": c.threshold, **c.measured} for c in others],
        "signals": {n: {"threshold": c.threshold, **c.measured} for n, c in chosen.items()},
        "contradicted": contradicted(path / f"{best}-shadow", gate.threshold),
        "n": found["n"],
        "search": found["search"],
    }


def _try(
    evaluate: Evaluate, signal: str, wanted: Wanted, path: Path, always: Candidate
) -> list[Candidate]:
    """Gates of a signal, fewest calls first."""
    evaluate(f"gate:{signal}:-inf", path / f"{signal}-shadow")
    values = signal_values(path / f"{signal}-shadow")
    if not values:
        raise RunError(f"the policy searched nothing in {path}: there is nothing to gate")

    def measured(rate: float) -> Candidate:
        # A value that occurred: between two infinite ones there is no number.
        quantile = float(np.quantile(values, 1 - rate, method="higher")) if rate < 1 else -math.inf
        folder = path / f"{signal}-rate-{rate:g}"
        evaluate(f"gate:{signal}:{quantile!r}", folder)
        return Candidate.read(folder, rate, quantile, always.cluster)

    if wanted.em_loss is None:
        return [measured(wanted.call_rate or 0.0)]
    tried: dict[int, Candidate] = {}
    low, high = 0, STEPS
    while high - low > 1:
        middle = (low + high) // 2
        tried[middle] = measured(middle / STEPS)
        enough = tried[middle].em >= always.em - wanted.em_loss
        low, high = (low, middle) if enough else (middle, high)
    if high not in tried:
        tried[high] = measured(high / STEPS)
    return [tried[step] for step in sorted(tried)]


def _choose(tried: Sequence[Candidate], always: Candidate, wanted: Wanted) -> Candidate:
    """The first that loses little enough; the last one where none does."""
    if wanted.em_loss is None:
        return tried[0]
    enough = (c for c in tried if c.em >= always.em - (wanted.em_loss or 0.0))
    return next(enough, tried[-1])


def calibrate_model(
    evaluation: Evaluation,
    search: SearchSettings,
    signal: str,
    wanted: Wanted,
    path: Path,
    progress: Progress = silent,
    name: str = "",
    budget_file: Path | None = None,
    cluster: str = "",
) -> dict[str, Any]:
    """Calibrate the gate of a model, keep it beside the model, and return it; errors as `calibrate`.

    Args:
        evaluation: The model, and the questions to calibrate on.
        search: What is searched; its router is replaced.
        signal: The gate's signal.
        wanted: What it is calibrated to.
        path: Directory of the evaluations.
        progress: Told how far it is.
        name: What stands before it there; that of each evaluation's directory by default.
        budget_file: Where calls of all evaluations are counted; each counts its own by default.
        cluster: As for `calibrate`.
    """

    def evaluate(router: str, folder: Path) -> dict[str, Any]:
        settings = search.model_copy(update={"router": router})
        return evaluation.run(folder, settings, progress, name or folder.name, budget_file)

    gate = calibrate(evaluate, signal, wanted, path, cluster)
    save_gate(Path(evaluation.path), gate)
    return gate


def signal_values(folder: Path) -> list[float]:
    """The signal of every search of an evaluation through a gate."""
    return [
        value
        for trajectory in read_parts(folder / "trajectories.jsonl", Searched, endless=True)
        for call in trajectory["calls"]
        if (value := (call.get("decision") or {}).get("value")) is not None
    ]


def contradicted(folder: Path, threshold: float) -> dict[str, Any]:
    """How much of what the policy is sure of the engine contradicts, in an evaluation in which both
    wrote: what no gate can see. With the kinds of query of which it is more than a fifth, in ten at
    least.
    """
    checks: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for trajectory in read_parts(folder / "trajectories.jsonl", Checked, endless=True):
        for call in trajectory["calls"]:
            decided: Mapping[str, Any] = call.get("decision") or {}
            if not decided.get("own") or not (decided.get("value") or 0.0) <= threshold:
                continue
            documents = [Document(d["id"], d["title"], d["text"]) for d in call["documents"]]
            verdict = contradicts(decided["own"], call["input"], documents)
            if verdict is not None:
                checks[kind := kind_of(call["input"])] += 1
                bad[kind] += verdict
    often = [k for k, n in checks.items() if n >= 10 and bad[k] > n / 5]
    kinds = {k: bad[k] / checks[k] for k in sorted(often, key=lambda k: -bad[k] / checks[k])}
    return {"checks": checks.total(), "contradicted": bad.total(), "kinds": kinds}


def em(summary: dict[str, Any]) -> float:
    """Exact match over all questions of an evaluation."""
    groups = summary["em"]
    estimate = groups[ALL_GROUPS] if ALL_GROUPS in groups else next(iter(groups.values()))
    return float(estimate["value"])
