"""Who answers the queries of a policy: an engine and a router, from settings."""

from __future__ import annotations

from pathlib import Path

from innersearch.assemble.engines import check_engine, open_engine
from innersearch.config import SearchSettings
from innersearch.rollout.episode import SearchPlan


def open_plan(
    settings: SearchSettings, budget_file: Path | None = None, *, max_outage_s: float = 600.0
) -> SearchPlan:
    """Engine and router of some settings."""
    engine = open_engine(settings, budget_file, max_outage_s=max_outage_s)
    return SearchPlan(engine, settings.rule, settings)


def demand_engine(settings: SearchSettings) -> None:
    """Check that the engine can be opened, if there is one; nothing is written.

    Raises:
        InnersearchError: As `open_plan`.
    """
    if settings.rule.asks:
        check_engine(settings)
