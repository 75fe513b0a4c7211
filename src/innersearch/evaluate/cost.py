"""What a training run's searches cost, tier by tier: forecast, counted, and as published.

The tiers: `self`, where the policy writes its own information; a simulator, a second model that plays
the engine; and search APIs. `innersearch.view.costs.cost_table` shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from innersearch.errors import ConfigError, did_you_mean
from innersearch.net.patience import CallSettings
from innersearch.search.remote.dialects import DIALECTS, Price
from innersearch.search.wrappers.budget import Spent, forecast

H100_FLOPS = 989e12
"""Peak of one H100 SXM in bfloat16 without sparsity, FLOP/s (NVIDIA's data sheet)."""

UTILISATION = 0.3
"""Part of the peak that generation in full batches reaches; an assumption, so measure your own."""

TOKENS_PER_WORD = 1.35
"""English text in the vocabularies of current models; an assumption."""

LATENCY_S = 0.6
"""Mean of a search API, seconds; an assumption: median 0.4, p99 3, as in the scheduler's benchmark."""

SEARCH_APIS = ("serpapi", "serper", "tavily")

_MOST = 1e15
_IN_FLIGHT = CallSettings().in_flight


@dataclass(frozen=True, slots=True)
class Cost:
    """What the searches of a run cost with one tier.

    Raises:
        ConfigError: A figure is negative or not a number.
    """

    tier: str
    searches: int
    calls: int
    """Those that leave the policy."""
    tokens: int | None
    """Read and written by a simulator, or written by the policy as information; None if unknown."""
    seconds: float | None
    """How long the searches take, or the simulator is rented; None if unknown."""
    usd: float
    price: str
    """Where the price comes from."""

    def __post_init__(self) -> None:
        _at_least_0(searches=self.searches, calls=self.calls, tokens=self.tokens)
        _at_least_0(seconds=self.seconds, usd=self.usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A model that plays the engine, and the machine it runs on.

    Raises:
        ConfigError: A figure is impossible, or there is neither a GPU nor a measured rate.
    """

    name: str
    billions: float
    """Parameters, in billions; of a mixture of experts those that are active for a token."""
    prompt_tokens: float
    """Read for one search."""
    usd_hour: float
    """Price of one GPU; 0 for a machine of your own."""
    gpus: int = 1
    """0 for a CPU of your own."""
    measured: float | None = None
    """Tokens per second, read and written, on all GPUs together; None estimates it."""
    flops: float = H100_FLOPS
    """Peak of one GPU, FLOP/s."""
    utilisation: float = UTILISATION

    def __post_init__(self) -> None:
        _at_least_0(prompt_tokens=self.prompt_tokens, gpus=self.gpus, usd_hour=self.usd_hour)
        _above_0(billions=self.billions, flops=self.flops, measured=self.measured)
        if not 0 < self.utilisation <= 1:
            raise ConfigError(f"utilisation {self.utilisation} is impossible: give a part of 1")
        if not self.gpus and (self.measured is None or self.usd_hour):
            raise ConfigError(
                f"simulator {self.name} has gpus 0: give its measured tokens per second and price 0, or "
                "count the machine that is paid for as one GPU"
            )

    @property
    def tokens_per_second(self) -> float:
        """As measured; else what its GPUs compute with full batches, at 2 FLOP per parameter and token.

        A single stream is bound by memory instead and much slower.
        """
        estimated = self.gpus * self.flops * self.utilisation / (2 * self.billions * 1e9)
        return estimated if self.measured is None else self.measured


def run_searches(trajectories: int, per_trajectory: float) -> int:
    """Searches of a run, at so many per trajectory on average."""
    _at_least_0(trajectories=trajectories, per_trajectory=per_trajectory)
    return round(trajectories * per_trajectory)


def forecast_costs(
    searches: int,
    *,
    documents: int = 5,
    words: float = 30,
    simulators: Sequence[Simulator] = (),
    apis: Sequence[str] = SEARCH_APIS,
    run_s: float = 0.0,
    latency_s: float = LATENCY_S,
    in_flight: int = _IN_FLIGHT,
) -> list[Cost]:
    """What `searches` are going to cost with each tier, without retries.

    Args:
        searches: From `run_searches`.
        documents: Written for each by a model; the default is what ZeroSearch's prompt asks for.
        words: Of one document.
        simulators: A row for each.
        apis: Names of dialects, a row for each.
        run_s: Seconds the run takes. Simulators are rented all that time, even while they idle; 0 rents
            them only as long as they compute.
        latency_s: Seconds a search API takes to answer, on average.
        in_flight: Calls to it under way at once.

    Raises:
        ConfigError: A figure is impossible, or there is no dialect of that name.
    """
    _at_least_0(searches=searches, documents=documents, words=words, run_s=run_s)
    _above_0(latency_s=latency_s, in_flight=in_flight)
    for name in set(apis) - set(DIALECTS):
        raise ConfigError(f"unknown search API {name!r}; {did_you_mean(name, DIALECTS)}")
    written = documents * words * TOKENS_PER_WORD
    return [
        Cost("self", searches, 0, round(searches * written), None, 0.0, "the policy's own sampling"),
        *(_simulated(simulator, searches, written, run_s) for simulator in simulators),
        *(_asked(name, searches, DIALECTS[name].price, in_flight / latency_s) for name in apis),
    ]


def counted(
    tier: str, searches: int, spent: Spent, *, tokens: int | None = None, seconds: float | None = None
) -> Cost:
    """What a run has spent, to stand beside the forecast of the same tier; `spent` is the budget's."""
    return Cost(tier, searches, spent.calls, tokens, seconds, spent.usd, "counted")


def published_costs() -> list[Cost]:
    """ZeroSearch's cost table: 200 steps of 64 questions, 5 trajectories each, in about 12 hours.

    The A100-hour of $1.475 follows from its figures. It states no tokens, and rents for the whole run.
    """
    source, searches, seconds = "2025, arXiv:2505.04588", 200 * 64 * 5, 12 * 3600.0
    rows = [
        _rented(f"SFT-{billions}B", searches, None, seconds, gpus, 1.475, f"A100, {source}")
        for billions, gpus in ((3, 1), (7, 2), (14, 4))
    ]
    return [*rows, _asked("serpapi", searches, Price(9.17, source), searches / seconds)]


def _simulated(model: Simulator, searches: int, written: float, run_s: float) -> Cost:
    tokens = searches * (model.prompt_tokens + written)
    seconds = max(run_s, tokens / model.tokens_per_second)
    note = "estimated rate" if model.measured is None else "measured rate"
    return _rented(model.name, searches, round(tokens), seconds, model.gpus, model.usd_hour, note)


def _rented(
    tier: str, searches: int, tokens: int | None, seconds: float, gpus: int, usd_hour: float, note: str
) -> Cost:
    price = f"{gpus} × ${usd_hour:g}/h" if usd_hour else "own machine"
    usd = gpus * seconds / 3600 * usd_hour
    return Cost(tier, searches, searches, tokens, seconds, usd, f"{price}, {note}")


def _asked(name: str, searches: int, price: Price, per_second: float) -> Cost:
    expected = forecast(price.usd, searches, per_second=per_second)
    listed = f"${price.usd_per_1000:g} per 1,000, {price.listed}"
    return Cost(name, searches, expected.calls, 0, expected.seconds, expected.usd, listed)


def _at_least_0(**given: float | None) -> None:
    for name, value in given.items():
        if value is not None and not 0 <= value <= _MOST:
            raise ConfigError(f"{name} {value!s:.40} is impossible: give 0 to {_MOST:g}")


def _above_0(**given: float | None) -> None:
    _at_least_0(**given)
    for name, value in given.items():
        if value == 0:
            raise ConfigError(f"{name} 0 is impossible: give more than 0")
