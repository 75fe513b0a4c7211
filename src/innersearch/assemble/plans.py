"""Who answers the queries of a policy: an engine and a router, from settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

from innersearch.assemble.engines import demand_alone, open_engine
from innersearch.config import SearchSettings
from innersearch.rollout.episode import SearchPlan


def open_plan(
    settings: SearchSettings, budget_file: Path | None = None, *, max_outage_s: float = 600.0
) -> SearchPlan:
    """Engine and router of some settings."""
    engine = open_engine(settings, budget_file, max_outage_s=max_outage_s)
    return SearchPlan(engine, settings.rule, settings)


def demand_engine(settings: SearchSettings) -> None:
    """Check that the router is known and the engine can be opened; nothing is written.

    Of a simulator's directory all is looked at but the weights.

    Raises:
        InnersearchError: As `open_plan`.
    """
    from innersearch.simulator.loading import demand_simulator, is_address

    if not settings.rule.asks:
        return
    for name in settings.engines:
        if name.kind == "simulated" and name.place and not is_address(name.place):
            demand_alone(settings)
            demand_simulator(name.place, settings.simulator)
            return
    # A cache that is recorded would be made.
    looked_at = settings if settings.offline else settings.model_copy(update={"cache": ""})
    asyncio.run(open_engine(looked_at).close())
