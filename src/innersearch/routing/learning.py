"""The router that finds out in use that its policy's memory is out of date, and on what.

* `learning:SIGNAL:THRESHOLD`, with TOLERANCE (0.2) and CHECKS (0.05) behind it where they are others:
  as the gate of that signal and threshold. Besides, a kind of query is answered by the engine as long
  as more than TOLERANCE of what the policy is sure of there may well be contradicted (the upper 90 %
  bound of `Experience`, so that what is unknown is looked at first), and so is a share CHECKS of all
  queries, drawn by trajectory and turn.

As long as little is known of a kind, the policy writes first even where the engine answers anyway, and
the two are held against each other. Later that is done for the share CHECKS only, so that it costs few
tokens. TOLERANCE is the price of a search: how many answers one must save to be worth it.

What is seen is used from the next block of trajectories on, 16 at first and an eighth of all there have
been later on. So a decision depends on the questions before and their order alone, never on which
trajectory ended first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from innersearch.errors import RunError
from innersearch.random_draws import draw
from innersearch.routing.experience import Experience, load_experience
from innersearch.routing.kinds import contradicts, kind_of
from innersearch.routing.router import Query, Route, Router, Rule, read_gate
from innersearch.routing.signals import READS
from innersearch.types import Call, Trajectory

NAME = "learning"
TOLERANCE, CHECKS = 0.2, 0.05
_DOUBT = 0.1
"""How likely too much of a kind is out of date, for it to be searched: 1 − the level of the bound."""
_ENOUGH = 10.0
"""Checks of a kind, after which the engine is asked without letting the policy write."""
_BLOCK, _GROWTH = 16, 8
"""Trajectories of the first blocks, and by what their number is divided for those later on."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What a learning router was told."""

    signal: str
    threshold: float
    tolerance: float = TOLERANCE
    """Share of contradictions up to which memory is believed."""
    checks: float = CHECKS
    """Share of queries that are checked whatever is known."""

    def route(self, query: Query, known: Experience) -> Route:
        """The decision about a query, by what is known."""
        kind = kind_of(query.text)
        distrust = known.distrust(kind, self.tolerance)
        distrusted = distrust > _DOUBT
        checked = draw("check", *query.identity) < self.checks
        if distrusted and not checked and known.checks(kind) >= _ENOUGH:
            return Route("engine", "distrust", distrust, _DOUBT)
        return Route("policy first", self.signal, None, self.threshold, checked or distrusted)


def learning(told: Learning, text: str = "") -> Router:
    """The router before it has learnt anything; `Learner.router` is it with experience."""
    nothing = Experience()
    reads, signal = READS.get(told.signal), told.signal
    return Router(
        NAME, lambda query: told.route(query, nothing), text, None, reads, signal, learning=told
    )


class Learner:
    """Experience in the making, and the router that uses it.

    Args:
        told: What the router was told.
        start: File of what was found out before; it may be missing until `into` is called.
    """

    def __init__(self, told: Learning, start: str = "") -> None:
        self._start, self._told = start, told
        self.file: Path | None = Path(start) if start else None
        """Where it is written."""
        found = self.file is not None and self.file.is_file()
        self.experience = load_experience(self.file) if self.file and found else Experience()
        text = json.dumps(self.experience.record(), sort_keys=True)
        self.identity = hashlib.sha256(text.encode()).hexdigest()[:16]
        """Tells apart what was known at the start."""
        self._use()

    def into(self, file: Path) -> None:
        """Write to another file than the one that was read.

        Raises:
            RunError: There was none to read.
        """
        if self._start and self.file is not None and not self.file.is_file():
            raise RunError(f"no experience at {self.file}: leave --experience out to begin anew")
        self.file = file

    def route(self, query: Query) -> Route:
        """The decision about a query, by what was known before the block."""
        return self._told.route(query, self._known)

    def learn(self, trajectory: Trajectory) -> None:
        """Take in what a trajectory shows; in the order of the questions."""
        for kind, contradicted in observations(trajectory.calls, self._told.threshold):
            self.experience.add(kind, contradicted=contradicted)
        self.experience.questions += 1
        if self.experience.questions == self._end:
            self._use()
            self.save()

    @property
    def room(self) -> int:
        """Trajectories until what is seen is used."""
        return self._end - self.experience.questions

    def save(self) -> None:
        """Write what is known, if there is a place for it."""
        if self.file is not None:
            self.experience.save(self.file)

    def _use(self) -> None:
        self._known = self.experience.copy()
        self._end = self._known.questions + max(_BLOCK, self._known.questions // _GROWTH)


def observations(calls: Iterable[Call], threshold: float) -> Iterator[tuple[str, bool]]:
    """The checks among the calls of a trajectory: the kind of each query, and whether the engine
    contradicted what the policy was sure of.
    """
    for call in calls:
        decided = call.decision
        if decided is None or decided.own is None or decided.value is None or call.error:
            continue
        # Records keep five decimals: a run that is resumed must see the same checks.
        if decided.rule != NAME or round(decided.value, 5) >= round(threshold, 5):
            continue
        contradicted = contradicts(decided.own, call.input, call.documents)
        if contradicted is not None:
            yield kind_of(call.input), contradicted


def _read(values: Sequence[str]) -> Router | None:
    if not 2 <= len(values) <= 4 or (read := read_gate(values[:2])) is None:
        return None
    shares = [float(value) for value in values[2:]]
    told = Learning(*read, *shares)
    if not 0 < told.tolerance < 1 or not 0 <= told.checks <= 1:
        return None
    return learning(told)


RULE = Rule(
    "learning:SIGNAL:THRESHOLD, and behind it :TOLERANCE:CHECKS with 0 < TOLERANCE < 1 and 0 <= CHECKS "
    "<= 1, which are 0.2 and 0.05 otherwise",
    _read,
    "the gate, which finds out in use where memory is out of date",
)
