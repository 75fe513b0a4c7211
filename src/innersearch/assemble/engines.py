"""Engines by name, as recipes and the command line write them.

    bm25:DIR                     an index made by `innersearch index`
    dense:DIR@MODEL              the same with vectors; MODEL is the encoder's directory, or the address
                                 of an embeddings endpoint and its model, URL#NAME; DIR may also hold a
                                 published faiss index (.index or .faiss) and its corpus (.jsonl)
    remote:URL                   a Search-R1 `/retrieve` server; `#single&key=VARIABLE&deadline=60` says
                                 how it is asked (see `places`)
    serper, serpapi, tavily, brave, exa, perplexity, searxng:URL
                                 search APIs; `NAME:URL` takes another address
    world                        the embedded encyclopedia
    simulated:MODEL              a language model that plays the search engine
    self:MODEL                   a policy that writes what it knows, as it does when it searches itself
    A,B                          both, fused

Packages of others add kinds under `innersearch.engines`; see `innersearch.search.kinds`. Places that
hold a comma, an @ or a quote are written in double quotes; see `innersearch.config.names`.

Calls over the network are retried and wait out outages; those to search APIs count against the budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from innersearch.config import SearchSettings
from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, did_you_mean
from innersearch.extensions import Offers
from innersearch.net.addresses import without_users
from innersearch.search.base import Engine, InformedEngine
from innersearch.search.curriculum import Curriculum
from innersearch.search.kinds import EngineKind, Opening
from innersearch.search.remote.kinds import REMOTE, WEB
from innersearch.search.wrappers.budget import Budget
from innersearch.search.wrappers.cached import CachedEngine
from innersearch.search.wrappers.degraded import DegradedEngine

ENGINES: Offers[EngineKind] = Offers(
    "innersearch.engines",
    EngineKind,
    "engine",
    {
        "world": "innersearch.world.engine:KIND",
        "world-leads": "innersearch.world.engine:LEADS",
        "world-1": "innersearch.world_1.engine:KIND",
        "bm25": "innersearch.search.index.bm25:KIND",
        "dense": "innersearch.search.index.dense:KIND",
        "simulated": "innersearch.simulator.loading:KIND",
        "self": "innersearch.assemble.itself:KIND",
        "remote": REMOTE,
        **WEB,
    },
)
"""Every kind of engine that can be named."""


def open_engine(
    settings: SearchSettings,
    budget_file: Path | None = None,
    *,
    engine: Engine | None = None,
    kinds: Sequence[EngineKind] = (),
    max_outage_s: float = 600.0,
    curriculum: Curriculum | None = None,
    others: Sequence[str] = (),
) -> Engine:
    """The engine that `settings` names, with its cache, budget, retries, limits and noise around it.

    Args:
        settings: Names the engine.
        budget_file: Where calls are counted, so that a resumed run goes on counting.
        engine: An engine of one's own in place of the one that is named.
        kinds: Further kinds of engine that may be named.
        max_outage_s: Seconds to wait for an engine over the network that does not answer.
        curriculum: When results are noisy; by default as at the end of training.
        others: Questions whose results stand for another question's.

    Raises:
        ConfigError: There is no engine of that name.
        SearchError: It cannot be opened.
    """
    settings.demand_addresses()
    if engine is None and settings.cache and settings.offline and not settings.engine:
        return CachedEngine(None, Path(settings.cache), "replay")
    opening = _opening(settings, budget_file, max_outage_s, curriculum)
    engine = engine or _named(opening, kinds)
    if settings.cache:
        cache = Path(settings.cache)
        engine = CachedEngine(engine, cache, "replay" if settings.offline else "record")
    if opening.curriculum.silent or isinstance(engine, InformedEngine):
        return engine
    return DegradedEngine(engine, opening.curriculum, others)


def check_engine(settings: SearchSettings, *, kinds: Sequence[EngineKind] = ()) -> None:
    """Check that the engine can be opened; nothing is written, and no weights of simulators are read.

    Raises:
        InnersearchError: As `open_engine`.
    """
    if settings.engine:
        opening = _opening(settings, None, 600.0, None)
        [(name, kind), *others] = _found(settings, kinds)
        if kind.check is not None and not others:
            kind.check(name, opening)
            return
    # A cache that is recorded would be made.
    looked_at = settings if settings.offline else settings.model_copy(update={"cache": ""})
    asyncio.run(open_engine(looked_at, kinds=kinds).close())


def price_usd(names: Iterable[EngineName]) -> float:
    """List price of one search with the engines named, in US dollars."""
    found = [ENGINES.find(name.kind) for name in names]
    return sum(kind.price_usd for kind in found if kind is not None)


def _opening(
    settings: SearchSettings,
    budget_file: Path | None,
    max_outage_s: float,
    curriculum: Curriculum | None,
) -> Opening:
    budget = Budget(settings.max_calls or None, settings.max_usd or None, path=budget_file)
    return Opening(settings, budget, curriculum or Curriculum(settings.noise), max_outage_s)


def _found(settings: SearchSettings, kinds: Sequence[EngineKind]) -> list[tuple[EngineName, EngineKind]]:
    """The engines that settings name, each with its kind; those that must stand alone do."""
    found = [(name, _kind(name, kinds)) for name in settings.engines]
    if not found:
        raise ConfigError(
            "no engine given: name one with --engine (in a recipe search.engine), for example bm25:DIR"
        )
    if any(kind.alone for _, kind in found) and (settings.cache or len(found) > 1):
        raise ConfigError(
            "a simulator writes for each trajectory its own documents: it can be neither fused nor "
            "cached; the same query, question and label are written once anyway"
        )
    return found


def _kind(name: EngineName, kinds: Sequence[EngineKind]) -> EngineKind:
    given = {kind.name: kind for kind in kinds}
    kind = given.get(name.kind) or ENGINES.find(name.kind)
    if kind is None:
        hint = did_you_mean(name.kind, [*given, *ENGINES.names()])
        raise ConfigError(f"unknown engine {without_users(name.text)!r}; {hint}")
    kind.demand_form(name)
    return kind


def _named(opening: Opening, kinds: Sequence[EngineKind]) -> Engine:
    """The engine that is named; several are fused."""
    found = _found(opening.settings, kinds)
    engines = [kind.open(name, opening) for name, kind in found]
    if len(engines) == 1:
        return engines[0]
    from innersearch.search.wrappers.fused import FusedEngine

    for (name, _), engine in zip(found, engines, strict=True):
        engine.name = name.text
    return FusedEngine(engines)
