"""Who answers the queries of a policy: an engine and a router, from settings."""

from __future__ import annotations

from pathlib import Path

from innersearch.assemble.engines import check_engine, open_engine
from innersearch.config import SearchSettings
from innersearch.routing.router import Router
from innersearch.tools.search import SearchTool


def open_search(
    settings: SearchSettings | None,
    budget_file: Path | None = None,
    *,
    max_outage_s: float = 600.0,
    router: Router | None = None,
) -> SearchTool:
    """Engine and router of some settings, or another router; without settings the policy searches its
    own memory.
    """
    if settings is None:
        return SearchTool.itself()
    if not (router or settings.rule).asks:
        return SearchTool.itself(settings)
    engine = open_engine(settings, budget_file, max_outage_s=max_outage_s)
    return SearchTool(engine, router or settings.rule, settings)


def demand_engine(settings: SearchSettings) -> None:
    """Check that the engine can be opened, if there is one; nothing is written.

    Raises:
        InnersearchError: As `open_search`.
    """
    if settings.rule.asks:
        check_engine(settings)
