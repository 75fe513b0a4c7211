"""Kinds of engines: how each is written, what a search costs, and what opens it.

An engine says all of that beside its code, as a value; a package of somebody else offers its own under
`innersearch.engines`, or hands it to `open_engine`:

    def open_elastic(name: EngineName, opening: Opening) -> Engine:
        return Reliable(Budgeted(Elastic(name.place), opening.budget), opening.calls())

    KIND = EngineKind("elastic", "elastic:URL", open_elastic, price_usd=0.0001, network=True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from innersearch.config import SearchSettings
from innersearch.config.names import EngineName
from innersearch.errors import ConfigError
from innersearch.net.patience import CallSettings
from innersearch.search.base import Engine
from innersearch.search.curriculum import Curriculum
from innersearch.search.wrappers.budget import Budget


@dataclass(frozen=True, slots=True)
class Opening:
    """What there is to open an engine with."""

    settings: SearchSettings
    budget: Budget
    """Counts calls that cost money; whoever wants its calls counted is wrapped in `Budgeted`."""
    curriculum: Curriculum
    """When results are to be noisy, for engines that write noise themselves."""
    max_outage_s: float = 600.0
    """Seconds to wait for an engine over the network that does not answer."""

    @property
    def offline(self) -> bool:
        """Whether it is only replayed from a cache: such an engine needs no key and no server."""
        return bool(self.settings.cache and self.settings.offline)

    def calls(self, *, deadline_s: float = 30.0, in_flight: int = 32) -> CallSettings:
        """How patiently an engine over the network is called: as the settings say where they do."""
        return CallSettings(
            deadline_s=self.settings.deadline_s or deadline_s,
            in_flight=self.settings.in_flight or in_flight,
            per_second=self.settings.per_second,
            max_outage_s=self.max_outage_s,
        )


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A kind of engine."""

    name: str
    """What stands before the colon."""
    form: str
    """How it is written, with its place if it needs one, or in brackets if it may have one: `bm25:DIR`,
    `world[:SEED]`."""
    open: Callable[[EngineName, Opening], Engine]
    """Raises ConfigError, SearchError or ModelError, each saying what to do."""
    price_usd: float = 0.0
    """List price of one search, in US dollars."""
    network: bool = False
    """Whether it is asked over a network; then options may stand behind a #, and its place may be left
    out if it has a public address."""
    alone: bool = False
    """Whether it writes for each trajectory its own documents, and can be neither fused nor cached."""
    check: Callable[[EngineName, Opening], None] | None = None
    """Finds out whether it can be opened without opening it, where that would take long; raises the
    same."""
    summary: str = ""
    """What answers, in some words."""

    def demand_form(self, name: EngineName) -> None:
        """Check that a name has a place where one is needed, and none where not.

        Raises:
            ConfigError: It does not.
        """
        possible = ":" in self.form
        if possible and "[" not in self.form and not name.place:
            raise ConfigError(f"engine {name.text!r} lacks its place: write {self.form}")
        if not possible and name.rest and not self.network:
            raise ConfigError(f"engine {name.text!r}: nothing stands behind it: write {self.form}")
