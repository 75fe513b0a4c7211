"""Who answers a query, and how unsure a policy is of what it wrote itself."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innersearch.errors import ConfigError
from innersearch.routing.router import Query, Router, at_random, parse_router
from innersearch.routing.signals import SAMPLED, SIGNALS, Own

logprobs = st.lists(st.floats(-30, 0), max_size=8)


def writers(router: Router, queries: Sequence[Query]) -> list[str]:
    return [router.route(query).writer for query in queries if router.listens(query.index)]


def test_self_and_first_listen_only_as_long_as_they_must() -> None:
    queries = [Query(f"q{index}", index) for index in range(5)]
    assert writers(parse_router("self"), queries) == []
    assert writers(parse_router("first:0"), queries) == []
    assert writers(parse_router("first:2"), queries) == ["engine"] * 2
    assert writers(parse_router("always"), queries) == ["engine"] * 5


def doubt(values: Sequence[float]) -> float:
    """−p·log2 p over the tokens that were drawn (SSRL generation.py), written out."""
    total = 0.0
    for value in values:
        p = max(math.exp(value), 1e-10)
        total -= p * math.log(p, 2)
    return total / len(values) if values else 0.0


@given(logprobs, logprobs)
def test_entropy_trend_asks_first_and_where_doubt_grows(before: list[float], now: list[float]) -> None:
    router = parse_router("entropy-trend")
    one = Query("one", 0, before)
    assert router.route(one).writer == "engine"
    route = router.route(Query("two", 1, now, (one,)))
    assert route.value == pytest.approx(doubt(now), abs=1e-12)
    assert route.threshold == pytest.approx(doubt(before), abs=1e-12)
    assert (route.writer == "engine") == (route.value > route.threshold)


def test_a_random_router_asks_at_its_rate_and_looks_at_nothing_but_identity() -> None:
    router = parse_router("random:0.3")
    identities = [(f"question {number}", number % 4, turn) for number in range(2000) for turn in (1, 2)]
    draws = {i: router.route(Query("q", 0, identity=i)).writer == "engine" for i in identities}
    # Five standard deviations of 4,000 draws.
    assert abs(sum(draws.values()) / len(draws) - 0.3) < 0.037
    pairs = [draws[i] == draws[*i[:2], 2] for i in identities if i[2] == 1]
    assert abs(sum(pairs) / len(pairs) - 0.58) < 0.056
    random.Random(1).shuffle(identities)
    for i in identities:
        other = Query("other words", 3, (-1.0, -2.0), (Query("q", 2),), i)
        assert (router.route(other).writer == "engine") == draws[i]
    reseeded = [
        at_random(0.3, 1).route(Query("q", 0, identity=i)).writer == "engine" for i in identities
    ]
    assert reseeded != [draws[i] for i in identities]
    assert {at_random(0).route(Query("q", 0, identity=i)).writer for i in identities} == {"policy"}
    assert {at_random(1).route(Query("q", 0, identity=i)).writer for i in identities} == {"engine"}


def test_a_gate_lets_the_policy_write_first() -> None:
    for signal in SIGNALS:
        route = parse_router(f"gate:{signal}:-0.25").route(Query("q", 0))
        assert (route.writer, route.signal, route.threshold) == ("policy first", signal, -0.25)
    assert parse_router("gate:entropy:inf").route(Query("q", 0)).threshold == math.inf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allways", "did you mean 'always'"),
        ("", "known: always, entropy-trend"),
        ("first", "first:K with K >= 0"),
        ("first:-1", "first:K with K >= 0"),
        ("first:two", "invalid literal for int"),
        ("first:1:2", "write self"),
        ("always:1", "write self"),
        ("random:1.5", "0 <= RATE <= 1"),
        ("random:nan", "0 <= RATE <= 1"),
        ("random:often", "could not convert string to float"),
        ("gate:entropy", "gate:SIGNAL:THRESHOLD"),
        ("gate:entropy:nan", "gate:SIGNAL:THRESHOLD"),
        ("gate:doubt:1", "with a signal of entropy, max-entropy, min-prob, consistency"),
    ],
)
def test_what_is_no_router_is_refused_with_the_forms(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse_router(text)
    assert "\n" not in str(raised.value)
    assert repr(text) in str(raised.value)


@given(st.lists(st.tuples(st.floats(-30, 0), st.floats(0, 10)), min_size=1, max_size=8))
def test_signals_are_higher_for_whoever_is_less_sure(values: list[tuple[float, float]]) -> None:
    own = Own("x", [value for value, _ in values], [entropy for _, entropy in values])
    less = Own("x", [value - 1 for value, _ in values], [entropy + 1 for _, entropy in values])
    assert SIGNALS["entropy"](own) <= SIGNALS["max-entropy"](own) + 1e-9
    assert SIGNALS["entropy"](less) == pytest.approx(SIGNALS["entropy"](own) + 1)
    assert SIGNALS["max-entropy"](less) == pytest.approx(SIGNALS["max-entropy"](own) + 1)
    assert 0 <= SIGNALS["min-prob"](own) < SIGNALS["min-prob"](less) <= 1 or own.logprobs == [-30]


def test_whoever_wrote_nothing_is_as_unsure_as_can_be() -> None:
    nothing = Own("", (), ())
    assert SIGNALS["entropy"](nothing) == SIGNALS["max-entropy"](nothing) == math.inf
    assert SIGNALS["min-prob"](nothing) == 1.0


def test_consistency_is_the_disagreement_of_all_pairs() -> None:
    consistency = SIGNALS["consistency"]
    assert frozenset({"consistency"}) == SAMPLED
    assert consistency(Own("Belira founded it.", (), ())) == 0.0
    assert consistency(Own("Belira", (), (), ["Belira", "belira."])) == 0.0
    assert consistency(Own("Belira", (), (), ["Goltek", "Zorin"])) == 1.0
    # Of three pairs one agrees.
    assert consistency(Own("Belira", (), (), ["Belira", "Zorin"])) == pytest.approx(2 / 3)
