"""Who writes the information: the decision about every query, as data.

* `self`: the policy, in one uninterrupted generation (SSRL).
* `always`: the engine (Search-R1).
* `first:K`: the engine for the first K queries of a trajectory, then the policy (SSRL's Sim2Real).
* `entropy-trend`: the engine for the first query, and for a later one where the policy wrote it with
  more doubt than the one before (SSRL's entropy-guided search, generation.py 985-1038).
* `gate:SIGNAL:THRESHOLD`: the policy writes its own information first; where it is less sure than the
  threshold, that text is rolled back and a real result takes its place.
  The signal `query-entropy` looks at the query alone, before anything is written or rolled back.
* `learning:SIGNAL:THRESHOLD`: that gate, which in use finds out where memory is out of date; see
  `innersearch.routing.learning`.
* `random:RATE`: the engine with a fixed probability: what a gate has to beat.

    >>> router = parse_router("first:1")
    >>> router.listens(0), router.route(Query("capital of Orlia", 0)).writer, router.listens(1)
    (True, 'engine', False)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from innersearch.errors import ConfigError, did_you_mean
from innersearch.extensions import Offers
from innersearch.random_draws import draw
from innersearch.routing.signals import QUERY_ENTROPY, READS, SIGNALS

if TYPE_CHECKING:
    from innersearch.routing.learning import Learning

Writer = Literal["engine", "policy", "policy first"]


@dataclass(frozen=True, slots=True)
class Query:
    """What a router may look at."""

    text: str
    index: int
    """Searches before it in its trajectory."""
    logprobs: Sequence[float] = ()
    """Of the tokens of the query; natural log."""
    earlier: tuple[Query, ...] = ()
    """The queries before it in its trajectory."""
    identity: tuple[str | int, ...] = ()
    """Trajectory and turn, for draws that depend on nothing else."""
    entropies: Sequence[float] = ()
    """Of the distributions its tokens were drawn from, nats."""


@dataclass(frozen=True, slots=True)
class Route:
    """The decision about one query."""

    writer: Writer
    signal: str = ""
    value: float | None = None
    threshold: float | None = None
    check: bool = False
    """Whether the engine is asked though the policy, which writes first, may be sure."""


@dataclass(frozen=True, slots=True)
class Router:
    """A rule that decides about queries."""

    name: str
    route: Callable[[Query], Route]
    """Who writes the information for a query."""
    text: str = ""
    """As recipes and the command line write it; of one made in Python its name."""
    until: int | None = None
    """Queries of a trajectory that it decides about, all by default; generation pauses after those
    only."""
    reads: str | None = None
    """What it must know of the policy's tokens: `logprobs` or `entropies`."""
    signal: str = ""
    """Of `SIGNALS`, what it looks at once the policy has written."""
    asks: bool = True
    """Whether there is an engine; without one the policy writes all information itself."""
    every: bool = False
    """Whether the engine answers every query."""
    learning: Learning | None = None
    """What it was told, if it learns in use."""

    def __str__(self) -> str:
        return self.text or self.name

    def listens(self, index: int) -> bool:
        """Whether generation pauses after query number `index` of a trajectory."""
        return self.until is None or index < self.until


def itself() -> Router:
    """The policy answers everything itself."""
    return Router("self", lambda query: Route("policy"), until=0, asks=False)


def always() -> Router:
    """The engine answers everything."""
    return Router("always", lambda query: Route("engine"), every=True)


def first(count: int) -> Router:
    """The engine answers the first `count` queries of a trajectory."""
    return Router("first", lambda query: Route("engine"), f"first:{count}", until=count)


def entropy_trend() -> Router:
    """The engine answers the first query, and those written with more doubt than their predecessor.

    Doubt is the mean of −p·log2 p over the query's tokens, p the probability of the token that was
    drawn, not below 1e-10; 0 for an empty query.
    """

    def route(query: Query) -> Route:
        doubt, before = _doubt(query), query.earlier and _doubt(query.earlier[-1])
        if not isinstance(before, float):
            return Route("engine", "query entropy", doubt)
        return Route("engine" if doubt > before else "policy", "query entropy", doubt, before)

    return Router("entropy-trend", route, reads="logprobs")


def _doubt(query: Query) -> float:
    chosen = [max(math.exp(logprob), 1e-10) for logprob in query.logprobs]
    return statistics.fmean(-p * math.log2(p) for p in chosen) if chosen else 0.0


def at_random(rate: float, seed: int = 0) -> Router:
    """The engine answers each query with probability `rate`, drawn from the query's identity."""

    def route(query: Query) -> Route:
        drawn = draw(seed, *query.identity)
        return Route("engine" if drawn < rate else "policy", "random draw", drawn, rate)

    return Router("random", route, f"random:{rate!r}")


def gate(signal: str, threshold: float) -> Router:
    """The policy writes first; the engine replaces what `signal` puts above `threshold`. A signal of the
    query decides before anything is written.
    """
    text, reads = f"gate:{signal}:{threshold!r}", READS.get(signal)
    if signal == QUERY_ENTROPY:
        return Router("gate", lambda query: _by_query(query, threshold), text, reads=reads)
    route = Route("policy first", signal, None, threshold)
    return Router("gate", lambda query: route, text, reads=reads, signal=signal)


def _by_query(query: Query, threshold: float) -> Route:
    value = statistics.fmean(query.entropies) if query.entropies else math.inf
    return Route("engine" if value > threshold else "policy", QUERY_ENTROPY, value, threshold)


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of router that can be named: a package offers one under `innersearch.routers`."""

    form: str
    """How it is written, values and their limits included: `first:K with K >= 0`."""
    make: Callable[[Sequence[str]], Router | None]
    """The router of the texts behind its name, between colons; None where they are too many, too few or
    out of range; ValueError where one is no number."""
    summary: str = ""
    """Who answers, in some words."""


def _plain(make: Callable[[], Router]) -> Callable[[Sequence[str]], Router | None]:
    return lambda values: None if values else make()


def _first(values: Sequence[str]) -> Router | None:
    return first(int(values[0])) if len(values) == 1 and int(values[0]) >= 0 else None


def _random(values: Sequence[str]) -> Router | None:
    return at_random(float(values[0])) if len(values) == 1 and 0 <= float(values[0]) <= 1 else None


def read_gate(values: Sequence[str]) -> tuple[str, float] | None:
    """A signal of what the policy wrote, and a threshold; None if they are none."""
    if len(values) != 2 or values[0] not in SIGNALS or math.isnan(float(values[1])):
        return None
    return values[0], float(values[1])


def _gate(values: Sequence[str]) -> Router | None:
    if len(values) == 2 and values[0] == QUERY_ENTROPY and not math.isnan(float(values[1])):
        return gate(QUERY_ENTROPY, float(values[1]))
    read = read_gate(values)
    return gate(*read) if read else None


ROUTERS: Offers[Rule] = Offers(
    "innersearch.routers",
    Rule,
    "router",
    {
        "self": Rule("self", _plain(itself), "the policy answers everything itself"),
        "always": Rule("always", _plain(always), "the engine answers everything"),
        "first": Rule(
            "first:K with K >= 0", _first, "the engine answers the first K queries of a trajectory"
        ),
        "entropy-trend": Rule(
            "entropy-trend", _plain(entropy_trend), "the engine answers where doubt has grown"
        ),
        "random": Rule(
            "random:RATE with 0 <= RATE <= 1", _random, "the engine answers with a fixed probability"
        ),
        "gate": Rule(
            f"gate:SIGNAL:THRESHOLD with a signal of {', '.join((*SIGNALS, QUERY_ENTROPY))}",
            _gate,
            "the policy writes first, the engine replaces what it is unsure of",
        ),
        "learning": "innersearch.routing.learning:RULE",
    },
)
"""Every router that can be named."""


def is_router(text: str) -> bool:
    """Whether `text` begins with the name of a router."""
    return ROUTERS.find(text.partition(":")[0]) is not None


@cache
def parse_router(text: str) -> Router:
    """The router that `text` names, as in the module docstring.

    Raises:
        ConfigError: There is no such router, or its number is missing or out of range.
    """
    name, *values = text.split(":")
    rule = ROUTERS.find(name)
    if rule is None:
        raise ConfigError(f"unknown router {text!r}; {did_you_mean(name, ROUTERS.names())}; {_forms()}")
    try:
        router = rule.make(values)
    except ValueError as error:
        raise ConfigError(f"router {text!r}: {error}; {_forms()}") from error
    if router is None:
        raise ConfigError(f"unknown router {text!r}; {_forms()}")
    return replace(router, text=text)


def _forms() -> str:
    forms = [rule.form for name in ROUTERS.names() if (rule := ROUTERS.find(name))]
    return f"write {', '.join(forms[:-1])}, or {forms[-1]}"
