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
    A,B                          both, fused

Places that hold a comma, an @ or a quote are written in double quotes; see `names`.

Calls over the network are retried and wait out outages; those to search APIs count against the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from innersearch.config import SearchSettings
from innersearch.config.names import EngineName, engine_names
from innersearch.errors import ConfigError, did_you_mean
from innersearch.net.addresses import without_users
from innersearch.net.patience import CallSettings
from innersearch.rows.files import directory
from innersearch.search.base import Engine, InformedEngine
from innersearch.search.curriculum import Curriculum
from innersearch.search.remote.dialects import DIALECTS
from innersearch.search.remote.places import read_place
from innersearch.search.wrappers.budget import Budget, Budgeted
from innersearch.search.wrappers.cached import CachedEngine
from innersearch.search.wrappers.degraded import DegradedEngine
from innersearch.search.wrappers.reliable import Reliable
from innersearch.world.bundled import BUNDLED_SEED
from innersearch.world.encyclopedia import Encyclopedia

_LOCAL = ("bm25", "dense", "remote")
_WRITING_S = 180.0
"""Longest call of a simulator: hundreds of tokens, from a server that writes hundreds at once."""


def open_engine(
    settings: SearchSettings,
    budget_file: Path | None = None,
    *,
    own: Mapping[str, Callable[[str], Engine]] | None = None,
    max_outage_s: float = 600.0,
    curriculum: Curriculum | None = None,
    others: Sequence[str] = (),
) -> Engine:
    """The engine that `settings` names, with its cache, budget, retries, limits and noise around it.

    Args:
        settings: Names the engine.
        budget_file: Where calls are counted, so that a resumed run goes on counting.
        own: Further kinds of engine, and what opens them, given what stands behind the colon.
        max_outage_s: Seconds to wait for an engine over the network that does not answer.
        curriculum: When results are noisy; by default as at the end of training.
        others: Questions whose results stand for another question's.

    Raises:
        ConfigError: There is no engine of that name.
        SearchError: It cannot be opened.
    """
    settings.demand_addresses()
    if settings.cache and settings.offline and not settings.engine:
        return CachedEngine(None, Path(settings.cache), "replay")
    curriculum = curriculum or Curriculum(settings.noise)
    names = settings.engines
    if not names:
        raise ConfigError(
            "no engine given: name one with --engine (in a recipe search.engine), for example bm25:DIR"
        )
    budget = Budget(settings.max_calls or None, settings.max_usd or None, path=budget_file)
    calls = call_settings(settings, max_outage_s)
    # Whoever only replays needs no key.
    offline = bool(settings.cache and settings.offline)
    kinds: dict[str, Callable[[str], Engine]] = {
        "world": lambda _: world_engine(),
        "simulated": partial(_simulated, settings, max_outage_s, curriculum),
        **(own or {}),
    }
    engines = [_open(name, kinds, budget, settings, calls, offline=offline) for name in names]
    if len(engines) > 1:
        for name, engine in zip(names, engines, strict=True):
            engine.name = name.text
    engine = engines[0] if len(engines) == 1 else _fused(engines)
    if settings.cache:
        cache = Path(settings.cache)
        engine = CachedEngine(engine, cache, "replay" if settings.offline else "record")
    if curriculum.silent or isinstance(engine, InformedEngine):
        return engine
    return DegradedEngine(engine, curriculum, others)


def call_settings(
    settings: SearchSettings, max_outage_s: float, *, deadline_s: float = 30.0, in_flight: int = 32
) -> CallSettings:
    """How patiently an engine over the network is called: as its settings say where they do."""
    return CallSettings(
        deadline_s=settings.deadline_s or deadline_s,
        in_flight=settings.in_flight or in_flight,
        per_second=settings.per_second,
        max_outage_s=max_outage_s,
    )


def price_usd(engine: str) -> float:
    """List price of one search with the engines named, in US dollars."""
    kinds = [name.kind for name in engine_names(engine)]
    return sum(DIALECTS[kind].price.usd for kind in kinds if kind in DIALECTS)


def _open(
    name: EngineName,
    own: Mapping[str, Callable[[str], Engine]],
    budget: Budget,
    settings: SearchSettings,
    calls: CallSettings,
    *,
    offline: bool,
) -> Engine:
    kind, place = name.kind, name.place
    if kind == "dense" and name.rest:
        return _open_dense(name, settings, calls.max_outage_s, offline=offline)
    if kind in own:
        return own[kind](place)
    if kind in DIALECTS:
        from innersearch.search.remote.web import WebEngine

        at = read_place(name)
        calls = at.patience(calls)
        engine = WebEngine(
            kind, base_url=at.address or None, offline=offline, silence_s=calls.deadline_s
        )
        return Reliable(Budgeted(engine, budget), calls)
    if kind not in _LOCAL:
        hint = did_you_mean(kind, [*own, *_LOCAL, *DIALECTS])
        raise ConfigError(f"unknown engine {without_users(name.text)!r}; {hint}")
    if not place:
        place = {"bm25": "DIR", "dense": "DIR@MODEL", "remote": "URL"}[kind]
        raise ConfigError(f"engine {name.text!r} lacks its place: write {kind}:{place}")
    if kind == "remote":
        from innersearch.search.remote.retrieve import RemoteEngine

        at = read_place(name)
        calls = at.patience(calls)
        remote = RemoteEngine(at.address, offline=offline, silence_s=calls.deadline_s, **at.remote)
        return Reliable(remote, calls)
    from innersearch.search.index.bm25 import BM25Engine

    return BM25Engine.open(directory(place))


def _open_dense(
    name: EngineName, settings: SearchSettings, max_outage_s: float, *, offline: bool
) -> Engine:
    from innersearch.search.index.dense import DenseEngine, published_faiss
    from innersearch.search.index.encoders import open_encoder

    first, encoder = name.parts("@")
    if not encoder:
        raise ConfigError(f"engine {name.text} lacks its encoder: write dense:DIR@MODEL")
    calls = call_settings(settings, max_outage_s, deadline_s=60.0, in_flight=8)
    opened = open_encoder(encoder, offline=offline, calls=calls)
    folder = directory(first)
    published = published_faiss(folder)
    if published is not None:
        return DenseEngine.open_faiss(*published, opened)
    return DenseEngine.open(folder, opened)


def _simulated(
    settings: SearchSettings, max_outage_s: float, curriculum: Curriculum, place: str
) -> Engine:
    from innersearch.simulator.loading import is_address, open_simulator

    demand_alone(settings)
    calls = call_settings(settings, max_outage_s, deadline_s=_WRITING_S)
    writing = settings.simulator
    if settings.in_flight and is_address(place):
        writing = writing.model_copy(update={"max_batch": settings.in_flight})
    return open_simulator(place, writing, curriculum, calls)


def demand_alone(settings: SearchSettings) -> None:
    """Check that a simulator is neither fused nor cached.

    Raises:
        ConfigError: It is.
    """
    if settings.cache or len(settings.engines) > 1:
        raise ConfigError(
            "a simulator writes for each trajectory its own documents: it can be neither fused nor "
            "cached; the same query, question and label are written once anyway"
        )


def world_engine() -> Engine:
    """BM25 over the embedded encyclopedia; it corrects misspelled names, as web search does."""
    from innersearch.search.index.bm25 import BM25Engine, BM25Parameters

    documents = Encyclopedia.generate(BUNDLED_SEED).documents()
    return BM25Engine.from_documents(documents, BM25Parameters(spelling=True))


def _fused(engines: list[Engine]) -> Engine:
    from innersearch.search.wrappers.fused import FusedEngine

    return FusedEngine(engines)
