"""Who writes the information: the decision about every query, as data.

* `self`: the policy, in one uninterrupted generation (SSRL).
* `always`: the engine (Search-R1).
* `first:K`: the engine for the first K queries of a trajectory, then the policy (SSRL's Sim2Real).
* `entropy-trend`: the engine for the first query, and for a later one where the policy wrote it with
  more doubt than the one before (SSRL's entropy-guided search, generation.py 985-1038).
* `gate:SIGNAL:THRESHOLD`: the policy writes its own information first; where it is less sure than the
  threshold, that text is rolled back and a real result takes its place.
* `random:RATE`: the engine with a fixed probability: what a gate has to beat.

    >>> router = parse_router("first:1")
    >>> router.listens(0), router.route(Query("capital of Orlia", 0)).writer, router.listens(1)
    (True, 'engine', False)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from innersearch.errors import ConfigError, did_you_mean
from innersearch.random_draws import draw
from innersearch.routing.signals import READS, SIGNALS

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


@dataclass(frozen=True, slots=True)
class Route:
    """The decision about one query."""

    writer: Writer
    signal: str = ""
    value: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Router:
    """A rule that decides about queries."""

    name: str
    route: Callable[[Query], Route]
    """Who writes the information for a query."""
    until: int | None = None
    """Queries of a trajectory that it decides about, all by default; generation pauses after those
    only."""
    reads: str | None = None
    """What it must know of the policy's tokens: `logprobs` or `entropies`."""

    def listens(self, index: int) -> bool:
        """Whether generation pauses after query number `index` of a trajectory."""
        return self.until is None or index < self.until


def itself() -> Router:
    """The policy answers everything itself."""
    return Router("self", lambda query: Route("policy"), until=0)


def always() -> Router:
    """The engine answers everything."""
    return Router("always", lambda query: Route("engine"))


def first(count: int) -> Router:
    """The engine answers the first `count` queries of a trajectory."""
    return Router("first", lambda query: Route("engine"), until=count)


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

    return Router("random", route)


def gate(signal: str, threshold: float) -> Router:
    """The policy writes first; the engine replaces what `signal` puts above `threshold`."""
    route = Route("policy first", signal, None, threshold)
    return Router("gate", lambda query: route, reads=READS.get(signal))


_NAMES = ("self", "always", "first", "entropy-trend", "random", "gate")


def is_router(text: str) -> bool:
    """Whether `text` begins with the name of a router."""
    return text.partition(":")[0] in _NAMES


def parse_router(text: str) -> Router:
    """The router that `text` names, as in the module docstring.

    Raises:
        ConfigError: There is no such router, or its number is missing or out of range.
    """
    name, *values = text.split(":")
    try:
        match name, values:
            case "self", []:
                return itself()
            case "always", []:
                return always()
            case "entropy-trend", []:
                return entropy_trend()
            case "first", [count] if int(count) >= 0:
                return first(int(count))
            case "random", [rate] if 0 <= float(rate) <= 1:
                return at_random(float(rate))
            case "gate", [signal, threshold] if signal in SIGNALS and not math.isnan(float(threshold)):
                return gate(signal, float(threshold))
    except ValueError as error:
        raise ConfigError(f"router {text!r}: {error}; {_FORMS}") from error
    hint = _FORMS if is_router(text) else f"{did_you_mean(name, _NAMES)}; {_FORMS}"
    raise ConfigError(f"unknown router {text!r}; {hint}")


_FORMS = (
    "write self, always, first:K with K >= 0, entropy-trend, random:RATE with 0 <= RATE <= 1, or "
    f"gate:SIGNAL:THRESHOLD with a signal of {', '.join(SIGNALS)}"
)
