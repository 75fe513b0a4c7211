"""Calibration of a gate: at which threshold it saves calls without losing answers, on validation data.

The policy first answers everything with the engine while writing its own information next to it: the
signal's values there give the thresholds at which a tenth, a fifth, … of the searches would be real.
Those are tried in evaluations of their own, fewest calls first, until one loses little enough. What
is found is kept beside the model, in `gate.json`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from innersearch.config import SearchSettings
from innersearch.errors import ConfigError, RunError
from innersearch.evaluate.evaluation import Evaluation
from innersearch.evaluate.stored import Searched
from innersearch.progress import Progress, silent
from innersearch.routing.gate import save_gate
from innersearch.trajectories import read_parts
from innersearch.types import ALL_GROUPS

RATES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of real searches that are tried."""

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


def calibrate(evaluate: Evaluate, signal: str, wanted: Wanted, path: Path) -> dict[str, Any]:
    """Find the threshold of a gate; the evaluations go into directories of `path`.

    Returns what `gate.json` holds: signal, threshold, what was wanted, and what was measured.
    """
    always = evaluate("always", path / "always")
    evaluate(f"gate:{signal}:-inf", path / "shadow")
    values = signal_values(path / "shadow")
    if not values:
        raise RunError(f"the policy searched nothing in {path / 'shadow'}: there is nothing to gate")
    tried = []
    for rate, threshold in _candidates(values, wanted):
        summary = evaluate(f"gate:{signal}:{threshold!r}", path / f"rate-{rate:g}")
        tried.append({"rate": rate, "threshold": threshold, **_measured(summary)})
        if wanted.em_loss is None or tried[-1]["em"] >= em(always) - wanted.em_loss:
            break
    return {
        "signal": signal,
        "threshold": tried[-1]["threshold"],
        "wanted": {"call_rate": wanted.call_rate, "em_loss": wanted.em_loss},
        "measured": _measured(summary),
        "always": _measured(always),
        "tried": tried,
        "n": always["n"],
        "search": always["search"],
    }


def calibrate_model(
    evaluation: Evaluation,
    search: SearchSettings,
    signal: str,
    wanted: Wanted,
    path: Path,
    progress: Progress = silent,
    name: str = "",
    budget_file: Path | None = None,
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
    """

    def evaluate(router: str, folder: Path) -> dict[str, Any]:
        settings = search.model_copy(update={"router": router})
        return evaluation.run(folder, settings, progress, name or folder.name, budget_file)

    gate = calibrate(evaluate, signal, wanted, path)
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


def _candidates(values: Sequence[float], wanted: Wanted) -> Iterator[tuple[float, float]]:
    rates = RATES if wanted.call_rate is None else (wanted.call_rate,)
    for rate in rates:
        # A value that occurred: between two infinite ones there is no number.
        yield rate, float(np.quantile(values, 1 - rate, method="higher")) if rate < 1 else -math.inf


def em(summary: dict[str, Any]) -> float:
    """Exact match over all questions of an evaluation."""
    groups = summary["em"]
    estimate = groups[ALL_GROUPS] if ALL_GROUPS in groups else next(iter(groups.values()))
    return float(estimate["value"])


def _measured(summary: dict[str, Any]) -> dict[str, float]:
    return {"em": em(summary), "calls": summary["calls"]}
