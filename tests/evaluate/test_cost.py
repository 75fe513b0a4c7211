from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innersearch.errors import ConfigError
from innersearch.evaluate.cost import (
    LATENCY_S,
    SEARCH_APIS,
    Cost,
    Simulator,
    counted,
    forecast_costs,
    published_costs,
    run_searches,
)
from innersearch.net.patience import CallSettings
from innersearch.search.remote.dialects import DIALECTS
from innersearch.search.wrappers.budget import Budget
from innersearch.view.costs import cost_table

SEVEN = Simulator(name="7B", billions=7, prompt_tokens=197.5, usd_hour=2.5, gpus=2)
CPU = Simulator(name="0.5B", billions=0.5, prompt_tokens=297.5, usd_hour=0, gpus=0, measured=50)


def rows(searches: int, **settings: Any) -> dict[str, Cost]:
    return {cost.tier: cost for cost in forecast_costs(searches, **settings)}


def test_searches_of_a_run() -> None:
    assert run_searches(200 * 64 * 5, 1.6) == 102_400


def test_the_policy_pays_nothing_for_what_it_writes() -> None:
    """5 documents of 30 words at 1.35 tokens are 202.5 tokens."""
    own = rows(1_000)["self"]
    assert (own.searches, own.calls, own.usd, own.seconds) == (1_000, 0, 0.0, None)
    assert own.tokens == 202_500
    assert rows(1_000, documents=3, words=40)["self"].tokens == 162_000


def test_search_apis_cost_their_list_price() -> None:
    """Hand-computed at the prices of 2026; the price names where it was listed."""
    costs = rows(64_000, latency_s=0.5, in_flight=8)
    assert list(costs) == ["self", *SEARCH_APIS]
    usd = {"serpapi": 960.0, "serper": 64.0, "tavily": 512.0}
    for name, expected in usd.items():
        cost = costs[name]
        assert cost.usd == pytest.approx(expected)
        assert cost.seconds == pytest.approx(4_000)
        assert (cost.searches, cost.calls, cost.tokens) == (64_000, 64_000, 0)
        assert DIALECTS[name].price.listed in cost.price
    assert list(rows(1, apis=["brave", "searxng"])) == ["self", "brave", "searxng"]
    in_flight = CallSettings().in_flight
    assert rows(64_000)["serper"].seconds == pytest.approx(64_000 * LATENCY_S / in_flight)


def test_a_simulator_is_estimated_from_what_its_gpus_compute() -> None:
    """2 × 989e12 × 0.3 / (2 × 7e9) = 42,385.7 tokens/s; 64,000 × 400 tokens take 603.98 s and $0.84."""
    assert SEVEN.tokens_per_second == pytest.approx(42_385.714, rel=1e-6)
    cost = rows(64_000, simulators=[SEVEN])["7B"]
    assert (cost.calls, cost.tokens) == (64_000, 25_600_000)
    assert cost.seconds == pytest.approx(603.977, rel=1e-5)
    assert cost.usd == pytest.approx(0.838857, rel=1e-5)
    assert cost.price == "2 × $2.5/h, estimated rate"


def test_a_measured_rate_replaces_the_estimate() -> None:
    cost = rows(64_000, simulators=[dataclasses.replace(SEVEN, measured=10_000)])["7B"]
    assert cost.seconds == pytest.approx(2_560)
    assert cost.usd == pytest.approx(2 * 2_560 / 3_600 * 2.5)
    assert cost.price == "2 × $2.5/h, measured rate"


def test_a_local_cpu_simulator_takes_time_but_no_money() -> None:
    cost = rows(1_000, simulators=[CPU])["0.5B"]
    assert (cost.usd, cost.seconds, cost.tokens) == (0.0, 10_000.0, 500_000)
    assert cost.price == "own machine, measured rate"


def test_an_idle_simulator_is_paid_for() -> None:
    """Rented for the 12 hours of a run, or for its 604 s of work where these are longer."""
    run = rows(64_000, simulators=[SEVEN], run_s=12 * 3600)
    assert run["7B"].seconds == 12 * 3600
    assert run["7B"].usd == pytest.approx(60.0)
    assert run["serper"] == rows(64_000)["serper"]
    assert rows(64_000, simulators=[SEVEN], run_s=60)["7B"] == rows(64_000, simulators=[SEVEN])["7B"]


def test_zerosearchs_cost_table_is_reproduced() -> None:
    """arXiv:2505.04588: dollars for 64,000 searches in 12 hours."""
    published = {"SFT-3B": 17.7, "SFT-7B": 35.4, "SFT-14B": 70.8, "serpapi": 586.7}
    costs = published_costs()
    assert {cost.tier: cost.usd for cost in costs} == pytest.approx(published, rel=0.005)
    assert {cost.searches for cost in costs} == {64_000}
    assert [cost.seconds for cost in costs] == pytest.approx([12 * 3600] * 4)
    assert all("2505.04588" in cost.price for cost in costs)


@given(searches=st.integers(0, 10**9), words=st.integers(0, 500), gpus=st.integers(1, 64))
def test_costs_are_proportional_to_searches(searches: int, words: int, gpus: int) -> None:
    model = dataclasses.replace(SEVEN, gpus=gpus)
    settings = {"words": words, "simulators": [model, CPU]}
    for once, twice in zip(
        forecast_costs(searches, **settings), forecast_costs(2 * searches, **settings), strict=True
    ):
        assert twice.usd == pytest.approx(2 * once.usd)
        assert twice.tokens == pytest.approx(2 * once.tokens, abs=1)
        assert twice.calls == 2 * once.calls
        if once.seconds is not None:
            assert twice.seconds == pytest.approx(2 * once.seconds)


@given(gpus=st.integers(1, 64), billions=st.floats(0.1, 1_000))
def test_more_gpus_are_faster_for_the_same_money(gpus: int, billions: float) -> None:
    """Busy hours cost the same on any number of them, and grow with the model."""
    one = dataclasses.replace(SEVEN, gpus=1, billions=billions)
    many = dataclasses.replace(one, name="many", gpus=gpus)
    larger = dataclasses.replace(one, name="larger", billions=3 * billions)
    costs = rows(1_000, simulators=[one, many, larger])
    assert costs["many"].usd == pytest.approx(costs["7B"].usd)
    assert costs["many"].seconds == pytest.approx(costs["7B"].seconds / gpus)
    assert costs["larger"].usd == pytest.approx(3 * costs["7B"].usd)


def test_what_was_spent_stands_beside_the_forecast() -> None:
    budget = Budget(usd=10)
    for _ in range(1_100):
        budget.reserve(DIALECTS["serper"].price.usd)
    real = counted("serper", 1_000, budget.spent, seconds=90)
    assert (real.calls, real.usd, real.price) == (1_100, pytest.approx(1.1), "counted")
    lines = cost_table([*forecast_costs(1_000), real]).splitlines()
    tiers = [line.split("|")[1].strip() for line in lines[2:]]
    assert tiers == ["self", "serpapi", "serper", "serper", "tavily"]
    assert "counted" in lines[5]


def test_the_table_shows_unknown_and_tiny_figures_as_such() -> None:
    costs = [
        *forecast_costs(64_000, apis=()),
        Cost("a", 1_000, 1_000, None, 5_400.0, 1_234.5, "listed"),
        Cost("b", 1, 1, 0, 1.0, 0.001, "listed"),
    ]
    lines = cost_table(costs).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["tier", "searches", "simulator tokens", "hours", "US dollars", "price"]
    assert cells[2] == ["self", "64,000", "12,960,000", "–", "0.00", "the policy's own sampling"]
    assert cells[3] == ["a", "1,000", "–", "1.50", "1,234.50", "listed"]
    assert cells[4] == ["b", "1", "0", "< 0.01", "< 0.01", "listed"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: run_searches(-1, 2), "trajectories -1 is impossible: give 0 to 1e.15"),
        (lambda: run_searches(1, math.nan), "per_trajectory nan is impossible"),
        (lambda: forecast_costs(-5), "searches -5 is impossible"),
        (lambda: forecast_costs(1, documents=-1), "documents -1"),
        (lambda: forecast_costs(1, words=-1), "words -1"),
        (lambda: forecast_costs(1, run_s=-1), "run_s -1"),
        (lambda: forecast_costs(1, latency_s=0), "latency_s 0 is impossible: give more than 0"),
        (lambda: forecast_costs(1, in_flight=-2), "in_flight -2 is impossible"),
        (lambda: forecast_costs(1, apis=["serpr"]), "unknown search API 'serpr'; did you mean 'serper'"),
        (lambda: dataclasses.replace(SEVEN, measured=0), "measured 0 is impossible: give more than 0"),
        (lambda: dataclasses.replace(SEVEN, measured=-3.0), "measured -3.0 is impossible"),
        (lambda: dataclasses.replace(SEVEN, billions=0), "billions 0"),
        (lambda: dataclasses.replace(SEVEN, flops=math.inf), "flops inf"),
        (lambda: dataclasses.replace(SEVEN, utilisation=30), "utilisation 30 is impossible"),
        (lambda: dataclasses.replace(SEVEN, prompt_tokens=-1), "prompt_tokens -1"),
        (lambda: dataclasses.replace(SEVEN, usd_hour=-1), "usd_hour -1"),
        (lambda: dataclasses.replace(CPU, measured=None), "gpus 0: give its measured tokens per second"),
        (
            lambda: dataclasses.replace(CPU, usd_hour=0.1),
            "count the machine that is paid for as one GPU",
        ),
        (lambda: Cost("x", 1, 1, -1, None, 0.0, ""), "tokens -1"),
        (lambda: Cost("x", 1, 1, 0, -1.0, 0.0, ""), "seconds -1"),
        (lambda: Cost("x", 1, -1, 0, None, 0.0, ""), "calls -1"),
        (lambda: Cost("x", 1, 1, 0, None, math.nan, ""), "usd nan"),
    ],
)
def test_impossible_figures_are_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
