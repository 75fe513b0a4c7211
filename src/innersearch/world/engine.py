"""The embedded encyclopedia as an engine, and its pages."""

from __future__ import annotations

from functools import partial

from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, DataError
from innersearch.pages.corpus import CorpusPages
from innersearch.pages.kinds import PagesKind, PagesOpening
from innersearch.search.base import Engine
from innersearch.search.kinds import EngineKind, Opening
from innersearch.world.bundled import BUNDLED_SEED, NAME, VERSION, seed_of
from innersearch.world.encyclopedia import Encyclopedia
from innersearch.world.further import further_passages
from innersearch.world.pages import leads, passages


def world_engine(seed: int = BUNDLED_SEED, *, leads_only: bool = False) -> Engine:
    """BM25 over the sections of a world's pages, or over their leads alone, for agents that open pages.

    It corrects misspelled names, as web search does.
    """
    from innersearch.search.index.bm25 import BM25Engine, BM25Parameters

    world = Encyclopedia.generate(seed)
    documents = leads(world) if leads_only else [*passages(world), *further_passages(world)]
    return BM25Engine.from_documents(documents, BM25Parameters(spelling=True))


def _open(name: EngineName, opening: Opening, *, leads_only: bool = False) -> Engine:
    try:
        return world_engine(seed_of(name.place), leads_only=leads_only)
    except DataError as error:
        raise ConfigError(str(error)) from error


KIND = EngineKind(
    NAME, f"{NAME}[:SEED]", _open, summary="the embedded encyclopedia, with spelling correction"
)
LEADS = EngineKind(
    f"{NAME}-leads",
    f"{NAME}-leads[:SEED]",
    partial(_open, leads_only=True),
    summary="the first lines of its pages only; the rest is there to be opened",
)


def world_pages(seed: int = BUNDLED_SEED) -> CorpusPages:
    """The whole pages of a world, for engines that find no more than their leads."""
    world = Encyclopedia.generate(seed)
    documents = [*passages(world), *further_passages(world)]
    return CorpusPages(documents, {"world": seed, "version": VERSION})


def _open_pages(name: EngineName, opening: PagesOpening) -> CorpusPages:
    try:
        return world_pages(seed_of(name.place))
    except DataError as error:
        raise ConfigError(str(error)) from error


def _check_pages(name: EngineName, opening: PagesOpening) -> None:
    try:
        seed_of(name.place)
    except DataError as error:
        raise ConfigError(str(error)) from error


PAGES = PagesKind(NAME, NAME, _open_pages, _check_pages, kept=False)
