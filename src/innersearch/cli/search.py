"""`innersearch search`: what an engine finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt

from innersearch.assemble.engines import open_engine
from innersearch.cli.console import printable, stderr
from innersearch.cli.results import AsJson, show
from innersearch.config import SearchSettings
from innersearch.errors import SearchError
from innersearch.search.base import Engine, SearchResult
from innersearch.types import Document

app = App(name="search", help_format="plaintext")

_SHOWN = 500
"""Characters of a document."""


@app.default
def search(
    engine: str,
    query: str,
    *,
    k: Annotated[PositiveInt, Parameter(alias="-k")] = 3,
    cache: Path | None = None,
    offline: bool = False,
    full: bool = False,
    as_json: AsJson = False,
) -> None:
    """Ask an engine one query and print what it finds.

    Scores are the engine's own. Examples:

        innersearch search world "employer of Zerorn"
        innersearch search bm25:runs/wiki "Nobel Prize in Physics 1921" -k 5
        innersearch search remote:http://127.0.0.1:8000 "capital of Peru"
        innersearch search serper "capital of Peru" --cache searches.sqlite

    Args:
        engine: Engine that is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, or a search API
            such as serper.
        query: Query that it is asked.
        k: Documents that are shown at most.
        cache: Keep the result in this file, or take it from there.
        offline: Answer from the cache only.
        full: Print documents whole; by default their first 500 characters.
        as_json: Print the result as JSON, in place of text and tables.
    """
    settings = SearchSettings(engine=engine, cache=str(cache) if cache else "", offline=offline)
    result = asyncio.run(_ask(open_engine(settings, max_outage_s=15.0), query, k))
    if result.error is not None:
        raise SearchError(f"the search failed: {result.error}")
    shown = enumerate(result.documents, 1)
    lines = [line for number, document in shown for line in _lines(number, document, full=full)]
    show(result, "\n".join(lines) or "no documents found", as_json=as_json)
    if result.partial is not None:
        stderr.print(f"innersearch: a part of the engine failed: {result.partial}", style="yellow")


def _lines(number: int, document: Document, *, full: bool) -> Iterator[str]:
    """A document as it is printed; whatever it holds, each of its lines is seen to be its own."""
    score = "" if document.score is None else f"  {document.score:.2f}"
    yield f"{number}  {' '.join(document.title.split()) or document.id}{score}"
    if document.url:
        yield f"   {' '.join(document.url.split())}"
    text = printable(document.text).strip()
    cut = len(text) - _SHOWN
    if cut > 0 and not full:
        text = f"{text[:_SHOWN]}… ({cut:,} characters more: --full)"
    for line in text.splitlines():
        yield f"   {line}"


async def _ask(engine: Engine, query: str, k: int) -> SearchResult:
    try:
        [result] = await engine.search([query], k)
        return result
    finally:
        await engine.close()
