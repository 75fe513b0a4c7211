"""When searches are answered badly on purpose: the curriculum and its draws."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from innersearch.config import NoiseSettings
from innersearch.search.base import SearchRequest
from innersearch.search.curriculum import Curriculum

CURVES = ("exponential", "linear", "constant", "competence")


def curriculum(steps: int = 100, seed: int = 0, **settings: Any) -> Curriculum:
    return Curriculum(NoiseSettings(**settings), steps, seed)


# The curve


@pytest.mark.parametrize(("part", "value"), [(25, 0.104), (50, 0.25), (75, 0.457), (100, 0.75)])
def test_the_published_curve_has_the_published_values(part: int, value: float) -> None:
    assert round(curriculum(end=0.75).at(part), 3) == value


def test_the_published_curve_is_the_published_formula() -> None:
    """p(i) = p_s + (b^(i/m) − 1)/(b − 1)·(p_e − p_s), written out once more."""
    for start, end, base, steps in ((0, 0.75, 4, 203), (0.25, 0.5, 4, 203), (0.1, 1, 16, 7)):
        curve = curriculum(steps, start=start, end=end, base=base)
        for i in range(1, steps + 1):
            expected = start + (base ** (i / steps) - 1) / (base - 1) * (end - start)
            assert curve.at(i) == pytest.approx(expected, abs=1e-12)


def test_the_other_curves() -> None:
    linear = curriculum(200, curve="linear", start=0.2, end=0.6)
    assert [linear.at(step) for step in (1, 50, 100, 200)] == pytest.approx([0.202, 0.3, 0.4, 0.6])
    constant = curriculum(200, curve="constant", start=0.9, end=0.5)
    assert {constant.at(step) for step in range(201)} == {0.5}
    late, early = (curriculum(200, end=1, base=base) for base in (64, 1.01))
    assert late.at(100) < 0.12 < 0.49 < early.at(100) < 0.5


@pytest.mark.parametrize("curve", CURVES)
def test_steps_outside_of_training_have_the_noise_of_its_end(curve: str) -> None:
    noise = curriculum(50, curve=curve, start=0.1, end=0.7)
    noise.observe(1.0)
    assert [noise.at(step) for step in (0, 50, 51, 10_000)] == pytest.approx([0.7] * 4)


@pytest.mark.parametrize("curve", ["exponential", "linear"])
def test_noise_grows_and_stays_between_its_ends(curve: str) -> None:
    noise = curriculum(173, curve=curve, start=0.2, end=0.9)
    values = [noise.at(step) for step in range(1, 200)]
    assert all(before <= after for before, after in pairwise(values))
    assert 0.2 < values[0] < 0.21
    assert max(values) == pytest.approx(0.9)


def test_competence_follows_the_em_that_was_observed() -> None:
    noise = curriculum(100, curve="competence", start=0.1, end=0.7, competent=0.8)
    assert noise.at(1) == noise.at(99) == pytest.approx(0.1)
    noise.observe(0.4)
    assert noise.at(2) == pytest.approx(0.1 + 0.5 * 0.6)
    noise.observe(0.2)
    assert noise.at(3) == pytest.approx(0.1 + 0.3 / 0.8 * 0.6)
    for _ in range(10):
        noise.observe(0.8)
    assert noise.at(13) == pytest.approx(0.7), "the first steps are forgotten"
    for _ in range(10):
        noise.observe(1.0)
    assert noise.at(23) == pytest.approx(0.7), "never beyond its end"
    for _ in range(10):
        noise.observe(0.0)
    assert noise.at(33) == pytest.approx(0.1), "and it comes back"


def test_competence_depends_on_nothing_but_what_was_observed() -> None:
    draw = random.Random(1)
    seen = [draw.random() for _ in range(40)]
    one, resumed = (curriculum(curve="competence", end=1.0) for _ in range(2))
    values = []
    for em in seen:
        one.observe(em)
        values.append(one.at(5))
    for em in seen:
        resumed.observe(em)
    assert resumed.at(5) == values[-1]
    assert len(set(values)) > 30


# The draw of a query


def asked(*identity: str | int, step: int = 0, query: str = "q") -> SearchRequest:
    return SearchRequest(query, None, identity, step)


@pytest.mark.parametrize(("seed", "curve"), list(enumerate(CURVES)))
def test_the_realised_rate_is_the_scheduled_one_in_every_decile(seed: int, curve: str) -> None:
    """200 steps with 600 queries each: a decile has 12,000, and its deviation is below half a point."""
    noise = curriculum(200, seed, curve=curve, start=0.05, end=0.75)
    rates, wanted = [], []
    for step in range(1, 201):
        labels = [
            noise.label(asked(f"{step}/{question}", repetition, search, step=step))
            for question in range(60)
            for repetition in range(5)
            for search in range(2)
        ]
        rates.append(labels.count("noisy") / len(labels))
        wanted.append(noise.at(step))
        noise.observe(step / 250)
    for first in range(0, 200, 20):
        decile = slice(first, first + 20)
        assert abs(statistics.fmean(rates[decile]) - statistics.fmean(wanted[decile])) < 0.02
    assert curve == "constant" or wanted[-1] - wanted[0] > 0.5


def test_a_draw_depends_on_seed_and_identity_alone() -> None:
    queries = [asked(f"{n % 50}", n % 7, n % 3, step=1 + n % 9, query=f"q{n}") for n in range(2000)]
    noise = curriculum(9, seed=3, curve="constant", end=0.4)
    labels = {query: noise.label(query) for query in queries}
    shuffled = random.Random(0).sample(queries, len(queries))
    assert {
        query: curriculum(9, 3, curve="constant", end=0.4).label(query) for query in shuffled
    } == labels
    by_identity: dict[tuple[Any, ...], set[str]] = {}
    for query, label in labels.items():
        by_identity.setdefault(query.identity, set()).add(label)
    assert {len(drawn) for drawn in by_identity.values()} == {1}, "neither step nor text changes a draw"


@pytest.mark.parametrize("changed", ["group", "repetition", "search", "seed"])
def test_draws_are_independent_of_one_another(changed: str) -> None:
    """How often two draws agree that differ in one number: 0.4² + 0.6² of 4,000 pairs."""
    one = curriculum(seed=1, curve="constant", end=0.4)
    other = curriculum(seed=2 if changed == "seed" else 1, curve="constant", end=0.4)
    agree = 0
    for n in range(4000):
        more = {name: int(name == changed) for name in ("group", "repetition", "search")}
        before = asked(f"g{n}", 0, 0)
        after = asked(f"g{n}" + "x" * more["group"], more["repetition"], more["search"])
        agree += one.label(before) == other.label(after)
    assert abs(agree / 4000 - 0.52) < 4 * (0.52 * 0.48 / 4000) ** 0.5


def test_the_ends_of_the_scale_are_never_and_always() -> None:
    for end, label in ((0.0, "useful"), (1.0, "noisy")):
        noise = curriculum(curve="constant", end=end)
        assert {noise.label(asked("g", n)) for n in range(3000)} == {label}
        assert noise.silent == (label == "useful")


def test_more_noise_never_makes_a_noisy_query_useful() -> None:
    """The schedule moves a threshold over numbers that stay."""
    noise = curriculum(30, end=1.0)
    for n in range(300):
        labels = [noise.label(asked("g", n, step=step)) for step in range(1, 31)]
        assert labels == sorted(labels, reverse=True), "useful first, then noisy"


# Impossible settings


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_probability_outside_of_its_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=rf"{name}\n.*(greater|less) than or equal") as refused:
        NoiseSettings(**{"end": 1.0, name: value})
    assert [error["input"] for error in refused.value.errors()] == [value]


@pytest.mark.parametrize("curve", ["exponential", "linear", "competence"])
def test_noise_that_would_shrink_is_refused(curve: str) -> None:
    with pytest.raises(ValidationError, match=r"start 0\.75 is above end 0\.25.*constant"):
        NoiseSettings(curve=curve, start=0.75, end=0.25)


@pytest.mark.parametrize("wrong", [{"base": 1.0}, {"base": 0.5}, {"competent": 0}, {"curve": "cosine"}])
def test_other_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(ValidationError, match=name):
        NoiseSettings(**wrong)
    with pytest.raises(ValidationError, match="finite"):
        NoiseSettings(end=float("nan"))
