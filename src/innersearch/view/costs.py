"""What searches cost, as tables: forecast, counted or published, and of a finished run both.

`cost_table` shows costs as Markdown. `counted_searches` reads what the searches of a run directory came
to, and `run_rows` puts that beside a forecast, for the command line and for the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from innersearch.config import SimulatorSettings
from innersearch.errors import RunError
from innersearch.evaluate.cost import TOKENS_PER_WORD, Cost, Simulator, counted, forecast_costs
from innersearch.search.wrappers.budget import Budget, Spent
from innersearch.simulator.engine import simulator_prompt
from innersearch.stored import read_records
from innersearch.trajectories import read_parts
from innersearch.types import Source
from innersearch.view.tables import markdown

SELF = "self"
"""The tier of searches that the policy answers itself."""

USD_HOUR = 2.5
"""US dollars for an hour of one H100 SXM on demand: specialised clouds ask $2.50 to $3.50, others $2 to
$5 (mercatus-ai.com/blog/cloud-gpu-pricing, May 2026)."""

BILLIONS = (3.0, 7.0, 14.0)
"""Sizes of ZeroSearch's simulators, billions of parameters (arXiv:2505.04588)."""

RUN_HEADS = (
    *("tier", "searches", "failed", "words", "simulator tokens"),
    *("latency, s", "hours", "US dollars", "price"),
)
"""Columns of `run_rows`: words of the documents received, mean latency of a search; hours are those of
the rollouts where they are counted, and of the searches alone where they are forecast."""

_HEADS = ("tier", "searches", "simulator tokens", "hours", "US dollars", "price")
_UNKNOWN = "–"
# Words that stand for those of a run to come: NQ's questions have about 9, HotpotQA's 18.
_QUESTION, _QUERY, _GOLD = ("word " * 14).strip(), ("word " * 6).strip(), "two words"


class _Written(TypedDict):
    text: str


class _Decided(TypedDict):
    own_tokens: NotRequired[Annotated[int, Field(ge=0)]]


class _Called(TypedDict):
    source: str
    decision: NotRequired[_Decided | None]
    documents: list[_Written]
    latency_s: Annotated[float, Field(ge=0)]
    engine: NotRequired[str]


class _Searched(TypedDict):
    """What trajectories.jsonl needs to be counted."""

    calls: list[_Called]


_Timed = TypedDict("_Timed", {"time/rollout_s": NotRequired[float | None]})
"""What metrics.jsonl needs to be counted."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the searches of a finished run came to with one tier."""

    cost: Cost
    """Its seconds are those of the run's rollouts; its tokens are estimated from words."""
    failed: int
    """Searches that ended in an error."""
    words: int
    """Of the documents that the policy received, titles left out."""
    latency_s: float | None
    """Mean over its searches, seconds; None where the policy answered itself."""
    paid: bool
    """Whether the money is known: a budget counted it, or there was nothing to pay."""


@dataclass(slots=True)
class _Tally:
    """Sums over the searches of one tier; the calls themselves may not fit into memory."""

    searches: int = 0
    failed: int = 0
    words: int = 0
    latency_s: float = 0.0
    simulated: bool = False
    rolled_back: int = 0
    """Tokens that the policy wrote to decide and that no trajectory holds."""

    def add(self, call: Mapping[str, Any]) -> None:
        self.searches += 1
        self.failed += call.get("error") is not None
        self.words += sum(len(document["text"].split()) for document in call["documents"])
        self.latency_s += call["latency_s"]
        self.simulated |= call["source"] == Source.SIMULATOR


def cost_table(costs: Iterable[Cost]) -> str:
    """A line per cost; those of one tier stand together, in the order given.

    The tokens of the tier `self` are the policy's.
    """
    rows: dict[str, list[Cost]] = {}
    for cost in costs:
        rows.setdefault(cost.tier, []).append(cost)
    return markdown(_HEADS, [_cells(cost) for tier in rows.values() for cost in tier])


def prompt_tokens(settings: SimulatorSettings) -> float:
    """Tokens that a simulator reads for one search, estimated from the words of its prompt.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    gold = () if settings.gold == "none" else (_GOLD,)
    prompt = simulator_prompt(settings, "useful", _QUERY, _QUESTION, gold, k=1)
    return len(" ".join(prompt).split()) * TOKENS_PER_WORD


def simulators(
    read: float,
    billions: Iterable[float] = BILLIONS,
    *,
    gpus: int = 1,
    usd_hour: float = USD_HOUR,
    measured: float | None = None,
) -> list[Simulator]:
    """Simulators of several sizes that read so many tokens for a search, each on GPUs of its own.

    Raises:
        ConfigError: A figure is impossible.
    """
    return [
        Simulator(
            name=f"simulated:{size:g}B",
            billions=size,
            prompt_tokens=read,
            usd_hour=usd_hour,
            gpus=gpus,
            measured=measured,
        )
        for size in billions
    ]


def counted_searches(path: Path, settings: SimulatorSettings | None = None) -> list[Counted]:
    """What the searches in the run directory `path` came to, a row per tier: `self` or an engine.

    Money is what `path`/budget.json has, and seconds are those that metrics.jsonl has for rollouts.

    Args:
        path: Run directory.
        settings: Of the simulator, where one was asked; the published ones by default.

    Raises:
        RunError: The trajectories or the metrics are missing or damaged.
        SearchError: The budget is damaged.
    """
    tiers = _tallies(path / "trajectories.jsonl")
    budget = path / "budget.json"
    spent = Budget(path=budget).spent if budget.is_file() else None
    seconds = rollout_seconds(path)
    chosen = settings or SimulatorSettings()
    return [_counted(tier, tally, spent, seconds, chosen) for tier, tally in tiers.items()]


def rollout_seconds(path: Path) -> float | None:
    """Seconds that the rollouts of a run took, by its metrics.jsonl; None if there are none.

    Raises:
        RunError: The metrics are damaged.
    """
    metrics = path / "metrics.jsonl"
    found = [step.get("time/rollout_s") for step in read_records(metrics, _Timed)]
    seconds = [second for second in found if second is not None]
    return sum(seconds) if seconds else None


def run_rows(real: Sequence[Counted], forecast: Iterable[Cost]) -> list[list[str]]:
    """Cells under `RUN_HEADS`: what was counted, the forecast of that tier below it, then the others."""
    rows: dict[str, list[list[str]]] = {}
    for row in real:
        rows.setdefault(row.cost.tier, []).append(_counted_cells(row))
    for cost in forecast:
        rows.setdefault(cost.tier, []).append(_run_cells(_cells(cost)))
    return [cells for tier in rows.values() for cells in tier]


def report_rows(path: Path, metrics: Iterable[Mapping[str, float]]) -> list[list[str]]:
    """Cells under `RUN_HEADS` of a run that asked an engine: what was counted, and what as many searches
    would cost with the other tiers, if they gave as many words each. Empty where no engine was asked.
    """
    # Of a run that asked none, its metrics tell without reading all trajectories again.
    if not any("search/real" in step for step in metrics) or not (path / "trajectories.jsonl").is_file():
        return []
    real = counted_searches(path)
    searches = sum(row.cost.searches for row in real)
    answered = searches - sum(row.failed for row in real)
    words = sum(row.words for row in real) / max(1, answered)
    models = simulators(prompt_tokens(SimulatorSettings()))
    forecast = forecast_costs(searches, documents=1, words=words, simulators=models)
    known = {row.cost.tier for row in real if row.cost.searches == searches}
    return run_rows(real, [cost for cost in forecast if cost.tier not in known])


def _tallies(trajectories: Path) -> dict[str, _Tally]:
    if not trajectories.is_file():
        raise RunError(f"no {trajectories.name} in {trajectories.parent}: give the directory of a run")
    tiers: dict[str, _Tally] = {}
    for record in read_parts(trajectories, _Searched):
        for call in record["calls"]:
            tiers.setdefault(call.get("engine") or SELF, _Tally()).add(call)
            if lost := (call.get("decision") or {}).get("own_tokens", 0):
                # Written by the policy, whoever answered in the end.
                tiers.setdefault(SELF, _Tally()).rolled_back += lost
    return tiers


def _counted(
    tier: str, tally: _Tally, spent: Spent | None, seconds: float | None, settings: SimulatorSettings
) -> Counted:
    own = tier == SELF
    tokens = tally.words * TOKENS_PER_WORD if own or tally.simulated else 0.0
    if tally.simulated:
        tokens += tally.searches * prompt_tokens(settings)
    tokens += tally.rolled_back
    # A run has one engine, so the budget is that engine's.
    calls = Spent(0, 0.0) if own else spent or Spent(tally.searches, 0.0)
    cost = counted(tier, tally.searches, calls, tokens=round(tokens), seconds=seconds)
    latency = None if own else tally.latency_s / tally.searches
    return Counted(cost, tally.failed, tally.words, latency, paid=own or spent is not None)


def _counted_cells(row: Counted) -> list[str]:
    latency = _UNKNOWN if row.latency_s is None else _number(row.latency_s)
    return _run_cells(_cells(row.cost, known=row.paid), f"{row.failed:,}", f"{row.words:,}", latency)


def _run_cells(
    cells: list[str], failed: str = _UNKNOWN, words: str = _UNKNOWN, latency: str = _UNKNOWN
) -> list[str]:
    tier, searches, tokens, *rest = cells
    return [tier, searches, failed, words, tokens, latency, *rest]


def _cells(cost: Cost, *, known: bool = True) -> list[str]:
    """Under `_HEADS`; with `known` whether its money is."""
    tokens = _UNKNOWN if cost.tokens is None else f"{cost.tokens:,}"
    hours = _UNKNOWN if cost.seconds is None else _number(cost.seconds / 3600)
    money = _number(cost.usd) if known else _UNKNOWN
    return [cost.tier, f"{cost.searches:,}", tokens, hours, money, cost.price]


def _number(value: float) -> str:
    """Two decimals; what is not nothing is never shown as 0.00."""
    return "< 0.01" if 0 < value < 0.01 else f"{value:,.2f}"
