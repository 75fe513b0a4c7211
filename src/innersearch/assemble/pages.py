"""What a policy can use beside search, from settings: pages and their reader, and tools that have names.

    corpus                 the documents that the engine searches, joined by address or by id
    corpus:PATH            those of a corpus or an index
    web                    the web, read by this process: public addresses only (see `pages.web`)
    remote:URL             an `/access` endpoint, such as `innersearch serve`
    jina, firecrawl, tavily, exa     APIs that read pages; `NAME:URL` takes another address
    world, world:SEED      the pages of the embedded encyclopedia, whatever the engine finds of them

Packages of others add kinds under `innersearch.pages`; see `innersearch.pages.kinds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from innersearch.assemble.engines import ENGINES
from innersearch.config import RolloutSettings, SearchSettings
from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, did_you_mean
from innersearch.extensions import Offers
from innersearch.grammar import HARNESS, Grammar, grammar_of
from innersearch.net.addresses import without_users
from innersearch.net.patience import CallSettings
from innersearch.pages.base import Pages
from innersearch.pages.cached import CachedPages
from innersearch.pages.kinds import CORPUS, REMOTE, WEB, PagesKind, PagesOpening, documents_of
from innersearch.pages.readers import Reader, reader_of
from innersearch.search.base import Engine
from innersearch.tools.base import Tool
from innersearch.tools.harness import SCHEMAS, Harness
from innersearch.tools.kinds import ToolKind, open_tools, tool_kinds
from innersearch.tools.opening import NAME, SCHEMA, OpenTool
from innersearch.types import Kind, Source

PAGES: Offers[PagesKind] = Offers(
    "innersearch.pages",
    PagesKind,
    "kind of pages",
    {"corpus": CORPUS, "web": WEB, **REMOTE, "world": "innersearch.world.engine:PAGES"},
)
"""Every kind of pages that can be named."""


def open_pages(name: str, settings: SearchSettings, engine: Engine | None = None) -> Pages:
    """The pages of a name, kept in the cache of the searches if there is one.

    Args:
        name: As above.
        settings: Cache, limits and patience are those of searches.
        engine: Who answers queries.

    Raises:
        ConfigError: There are none of that name, or they need something that is not there.
        SearchError: They cannot be opened.
    """
    parsed, kind = _kind(name)
    opening = PagesOpening(settings, engine)
    pages = kind.open(parsed, opening)
    if not settings.cache or not kind.kept:
        return pages
    return CachedPages(pages, Path(settings.cache), "replay" if settings.offline else "record")


def pages_beside(name: str, settings: SearchSettings, engine: Engine | None) -> Pages | None:
    """The pages that are served beside an engine: those of a name, or none of the name `none`; where
    nothing is said those of its corpus, and the web beside a search API if what reads it is installed.

    Raises:
        ConfigError: As `open_pages`.
        SearchError: As `open_pages`.
    """
    if name:
        return None if name == "none" else open_pages(name, settings, engine)
    if engine is not None and engine.source is Source.WEB:
        from innersearch.pages.extraction import is_installed

        return open_pages("web", settings) if is_installed() else None
    try:
        return open_pages("corpus", settings, engine)
    except ConfigError:
        return None


def tools_of(
    settings: RolloutSettings,
    search: SearchSettings,
    engine: Engine | None = None,
    given: Sequence[Tool | str] = (),
) -> tuple[Tool, ...]:
    """All that a policy can use beside search: what settings name, and what is given.

    Raises:
        ConfigError: There is no such tool, no such pages, or two tools would go by one name.
        SearchError: Pages cannot be opened.
    """
    tools = open_tools([*_named(settings), *given])
    if settings.grammar == HARNESS.name:
        tools = (*_harness(settings, search, engine), *tools)
    if not settings.pages:
        return tools
    return OpenTool(
        open_pages(settings.pages, search, engine), _reader(settings, search), settings.only_seen
    ), *tools


def tool_kinds_of(settings: RolloutSettings) -> list[ToolKind]:
    """The kinds of tools that settings name, for prompts that show them.

    Raises:
        ConfigError: There is no such tool.
    """
    kinds = tool_kinds(_named(settings))
    if settings.grammar == HARNESS.name:
        kinds += [ToolKind(schema, _unopened) for schema in SCHEMAS]
    opened = ToolKind(SCHEMA, lambda: tools_of(settings, SearchSettings())[0])
    return [opened, *kinds] if settings.pages else kinds


def demand_tools(
    settings: RolloutSettings,
    search: SearchSettings,
    given: Sequence[Tool] = (),
    *,
    grammar: Grammar | None = None,
    engine: Engine | None = None,
) -> None:
    """Check that what a policy may ask for is there, before anything is opened.

    Raises:
        ConfigError: The grammar opens pages and there are none; or as `tools_of`.
    """
    names = [tool.schema.name for tool in given] + [kind.schema.name for kind in tool_kinds_of(settings)]
    grammar = grammar or grammar_of(settings.grammar)
    if grammar is HARNESS:
        _demand_gathering(settings, search, engine)
    if Kind.OPEN in grammar.reads and NAME not in names:
        raise ConfigError(
            f"the grammar {grammar.name} opens pages, and there are none: set rollout.pages (--pages), "
            "for example to corpus, web or remote:URL"
        )
    if not settings.pages:
        return
    if names.count(NAME) > 1:
        raise ConfigError("two tools are called open: leave rollout.pages out, or the other one")
    parsed, kind = _kind(settings.pages)
    if kind is CORPUS and not parsed.place and engine is None:
        _demand_corpus(search)
    if kind.check is not None:
        kind.check(parsed, PagesOpening(search, engine))
    if settings.reader.startswith("model:"):
        _demand_model(settings.reader.removeprefix("model:"))


def _demand_gathering(settings: RolloutSettings, search: SearchSettings, engine: Engine | None) -> None:
    """Check that an agent that gathers documents has an engine, and sees what it has gathered."""
    if engine is None and not (search.engine and search.rule.every):
        raise ConfigError(
            "the grammar harness gathers what an engine finds, and none answers every query: set "
            "search.engine and search.router = always (--search ENGINE)"
        )
    if settings.context.startswith("shorten"):
        raise ConfigError(
            f"the grammar harness shows its memory in prompts that are made anew, and the context "
            f"{settings.context} goes on in old ones: take render:5"
        )


def _harness(
    settings: RolloutSettings, search: SearchSettings, engine: Engine | None
) -> tuple[Tool, ...]:
    if engine is None:
        raise ConfigError("the grammar harness gathers what an engine finds, and there is none")
    judge = None
    if settings.harness.verify != "policy":
        from innersearch.simulator.verifying import open_judge

        judge = open_judge(settings.harness.verify.removeprefix("judge:"), search)
    corpus = documents_of(engine)
    return Harness(engine, search, settings.harness, corpus, judge).tools()


def _unopened() -> Tool:
    raise ConfigError("the tools of the grammar harness are opened together: see tools_of")


def _demand_corpus(search: SearchSettings) -> None:
    for name in search.engines:
        kind = ENGINES.find(name.kind)
        if len(search.engines) > 1 or (kind is not None and kind.network):
            raise ConfigError(
                f"the engine {without_users(search.engine)} has no corpus on this machine: write "
                "corpus:PATH with a corpus or an index, or take other pages, such as web"
            )


def _demand_model(name: str) -> None:
    if name.startswith(("http://", "https://")):
        if not name.partition("#")[2]:
            raise ConfigError("the address of the reader lacks its model: write model:URL#NAME")
        return
    from innersearch.policy.gguf import model_directory
    from innersearch.policy.loading import demand_loadable, load_tokenizer

    path = model_directory(name)
    demand_loadable(path, load_tokenizer(path))


def _named(settings: RolloutSettings) -> list[str]:
    if NAME in settings.tools and not settings.pages:
        raise ConfigError("rollout.tools has open: say which pages are opened with rollout.pages")
    return [name for name in settings.tools if name != NAME]


def _kind(name: str) -> tuple[EngineName, PagesKind]:
    parsed = EngineName.parse(name)
    kind = PAGES.find(parsed.kind)
    if kind is None:
        hint = did_you_mean(parsed.kind, PAGES.names())
        raise ConfigError(f"no pages {without_users(name)!r}; {hint}")
    if ":" in kind.form and not parsed.place:
        raise ConfigError(f"pages {name!r} lack their place: write {kind.form}")
    return parsed, kind


def _reader(settings: RolloutSettings, search: SearchSettings) -> Reader:
    plain = reader_of(settings.reader)
    if plain is not None:
        return plain
    from innersearch.simulator.loading import open_writer
    from innersearch.simulator.reading import ModelReader

    name, writing = settings.reader.removeprefix("model:"), search.simulator
    calls = CallSettings(deadline_s=search.deadline_s or 180.0)
    how = writing.model_dump(include={"temperature", "max_new_tokens", "seed"})
    return ModelReader(name, open_writer(name, writing, calls), how)
