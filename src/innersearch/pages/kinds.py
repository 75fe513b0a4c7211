"""Kinds of pages: how each is written, and what opens it.

A package of somebody else offers its own under `innersearch.pages`:

    KIND = PagesKind("wiki", "wiki:DIR", lambda name, opening: WikiPages(name.place))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from innersearch.config import SearchSettings
from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, DataError, did_you_mean
from innersearch.net.patience import CallSettings
from innersearch.pages.base import Pages
from innersearch.pages.corpus import CorpusPages
from innersearch.search.base import Engine
from innersearch.search.index import store
from innersearch.search.index.corpus import read_corpus
from innersearch.search.wrappers.budget import Budget
from innersearch.types import Document


@dataclass(frozen=True, slots=True)
class PagesOpening:
    """What there is to open pages with."""

    settings: SearchSettings
    """Cache, limits and patience are those of searches."""
    engine: Engine | None = None
    """Who answers queries; None as long as it is not open."""

    @property
    def offline(self) -> bool:
        """Whether they are only replayed from a cache."""
        return bool(self.settings.cache and self.settings.offline)

    def calls(self, deadline_s: float = 60.0, in_flight: int = 16) -> CallSettings:
        """How patiently an endpoint is called: as the settings say where they do."""
        settings = self.settings
        return CallSettings(
            deadline_s=settings.deadline_s or deadline_s,
            in_flight=settings.in_flight or in_flight,
            per_second=settings.per_second,
        )

    def budget(self) -> Budget:
        """Limits of paid calls: as many as of searches, counted for themselves."""
        return Budget(self.settings.max_calls or None, self.settings.max_usd or None)


@dataclass(frozen=True, slots=True)
class PagesKind:
    """A kind of pages."""

    name: str
    """What stands before the colon."""
    form: str
    """How it is written, with its place if it needs one."""
    open: Callable[[EngineName, PagesOpening], Pages]
    """Raises ConfigError or SearchError, saying what to do."""
    check: Callable[[EngineName, PagesOpening], None] | None = None
    """Finds out cheaply whether it can be opened; raises the same."""
    kept: bool = True
    """Whether its pages are worth keeping in a cache."""


def _corpus(name: EngineName, opening: PagesOpening) -> Pages:
    if not name.place:
        return corpus_of(opening.engine)
    path = Path(name.place).expanduser()
    if (path / store.SETTINGS).is_file():
        documents = store.open_documents(path)
        sha256 = store.read_settings(path).documents_sha256
        return CorpusPages(documents, {"documents_sha256": sha256}, documents.close)
    try:
        held = tuple(read_corpus(path))
    except DataError as error:
        raise ConfigError(f"pages {name.text}: {error}") from error
    return CorpusPages(held, {"documents_sha256": store.documents_sha256(held)})


def corpus_of(engine: Engine | None) -> CorpusPages:
    """The pages of the corpus that an engine searches; its documents are not closed with them.

    Raises:
        ConfigError: It searches none of this machine.
    """
    inner = _with_documents(engine)
    documents = getattr(inner, "documents", None)
    if inner is None or documents is None:
        raise ConfigError(
            f"the engine {engine.name if engine else '(none)'} has no corpus on this machine: write "
            "corpus:PATH with a corpus or an index, or take other pages, such as web"
        )
    return CorpusPages(documents, inner.identity)


def documents_of(engine: Engine | None) -> Sequence[Document] | None:
    """The corpus that an engine searches; None where it is not on this machine."""
    return getattr(_with_documents(engine), "documents", None)


def _with_documents(engine: Engine | None) -> Engine | None:
    """The engine inside that holds documents."""
    inner = engine
    while inner is not None and not hasattr(inner, "documents"):
        inner = getattr(inner, "inner", None)
    return inner


def _check_corpus(name: EngineName, opening: PagesOpening) -> None:
    path = Path(name.place).expanduser()
    if name.place and not path.exists():
        raise ConfigError(f"pages {name.text}: {path} does not exist; give a corpus or an index of one")
    if not name.place and opening.engine is None and not opening.settings.rule.asks:
        raise ConfigError(
            "pages corpus are those of the engine, and none is asked: set search.engine and "
            "search.router, or write corpus:PATH"
        )


def _web(name: EngineName, opening: PagesOpening) -> Pages:
    from innersearch.pages.web import WebPages

    allowed, obeys = _web_options(name)
    return WebPages(allowed, obeys=obeys)


def _web_options(name: EngineName) -> tuple[list[str], bool]:
    address, _, options = name.place.partition("#")
    allowed: list[str] = []
    obeys = True
    for option in filter(None, options.split("&")):
        key, _, value = option.partition("=")
        if key == "allow" and value:
            allowed.append(value)
        elif key == "robots" and value in ("yes", "no"):
            obeys = value == "yes"
        else:
            hint = did_you_mean(key, ("allow", "robots"))
            raise ConfigError(f"pages web have no option {option!r}: allow=HOST:PORT, robots=no; {hint}")
    if address:
        raise ConfigError(f"pages {name.text!r}: nothing but options stands behind web: write web")
    return allowed, obeys


def _check_web(name: EngineName, opening: PagesOpening) -> None:
    from innersearch.net.guarded import Guard
    from innersearch.pages.extraction import demand_extraction

    Guard(_web_options(name)[0])
    if not opening.offline:
        demand_extraction()


def _remote(name: EngineName, opening: PagesOpening) -> Pages:
    from innersearch.pages.remote import DIALECTS, RemotePages

    address, _, options = name.place.partition("#")
    key, _, variable = options.partition("=")
    if options and (key != "key" or not variable):
        raise ConfigError(
            f"pages {name.kind} have no option {options!r} after the #: write key=VARIABLE"
        )
    return RemotePages(
        DIALECTS[name.kind],
        address,
        calls=opening.calls(),
        budget=opening.budget(),
        key_variable=variable or None,
        offline=opening.offline,
    )


def _check_remote(name: EngineName, opening: PagesOpening) -> None:
    asyncio.run(_remote(name, opening).close())


CORPUS = PagesKind("corpus", "corpus", _corpus, _check_corpus, kept=False)
WEB = PagesKind("web", "web", _web, _check_web)
REMOTE = {
    name: PagesKind(name, "remote:URL" if name == "remote" else name, _remote, _check_remote)
    for name in ("remote", "jina", "firecrawl", "tavily", "exa")
}
