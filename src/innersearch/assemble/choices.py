"""Who answers the queries of a model: what somebody chose, and for the rest what the model expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innersearch.assemble.engines import price_usd
from innersearch.config import SearchSettings, SimulatorSettings
from innersearch.config.conventions import Conventions
from innersearch.routing.router import Router, parse_router


@dataclass(frozen=True, kw_only=True)
class SearchChoice:
    """A rule, an engine and limits, as far as they were given."""

    rule: Router | None
    """None for the gate that was calibrated for the model."""
    learning: bool = False
    """Whether that gate learns in use."""
    engine: str = ""
    """As in `SearchSettings`; what the model expects where none is given."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Other values of `SearchSettings`."""

    @property
    def only_real(self) -> bool:
        """Whether an engine answers every query, so that the model need not play one."""
        return self.rule is not None and self.rule.every

    def settings(self, model: str, conventions: Conventions) -> SearchSettings:
        """The settings for a model directory.

        Raises:
            RunError: It has no gate, and that was asked for.
            SearchError: The address of the engine cannot be one.
        """
        router = self.rule or _calibrated(model, learning=self.learning)
        chosen: dict[str, Any] = {"router": str(router), "engine": self.engine or conventions.engine}
        chosen |= {**conventions.search, **self.given}
        if conventions.simulator:
            chosen["simulator"] = SimulatorSettings(**conventions.simulator)
        settings = SearchSettings(**chosen)
        settings.demand_addresses()
        return settings


def _calibrated(model: str, *, learning: bool) -> Router:
    from innersearch.routing.gate import gate_router, load_gate

    return parse_router(gate_router(load_gate(Path(model)), learning=learning))


def cached_in(settings: SearchSettings | None, folder: Path) -> SearchSettings | None:
    """The same, with results that cost money kept in `folder`, unless another cache was given."""
    if settings is None or settings.cache or not price_usd(settings.engines):
        return settings
    return settings.model_copy(update={"cache": str(folder / "searches.sqlite")})
