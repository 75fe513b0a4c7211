"""`innersearch mcp`: an engine and its pages as tools of the Model Context Protocol, over stdio."""

from __future__ import annotations

import asyncio

from cyclopts import App

from innersearch.config import SearchSettings

app = App(name="mcp", help_format="plaintext")


@app.default
def mcp(engine: str, *, pages: str = "") -> None:
    """Serve an engine as the tools search and fetch of the Model Context Protocol, over stdio.

    Clients start this command themselves; over HTTP `innersearch serve` has the same at /mcp. Examples:

        innersearch mcp world
        innersearch mcp bm25:runs/wiki
        innersearch mcp serper --pages web

    Args:
        engine: Engine that is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, or a search API
            such as serper; several, separated by commas, are fused.
        pages: Pages that fetch returns: corpus (of the engine), corpus:PATH, web, remote:URL, jina,
            firecrawl, or none; by default the corpus of the engine, and the web with a search API.
    """
    from innersearch.assemble.engines import open_engine
    from innersearch.assemble.pages import pages_beside
    from innersearch.serve.mcp_tools import mcp_server
    from innersearch.serve.pages import PART
    from innersearch.serve.serving import Serving

    settings = SearchSettings(router="always", engine=engine)
    serving = Serving(open_engine(settings))
    server = mcp_server(serving)
    serving.parts[PART] = beside = pages_beside(pages, settings, serving.engine)

    async def run() -> None:
        try:
            await server.run_stdio_async()
        finally:
            if beside is not None:
                await beside.close()
            if serving.engine is not None:
                await serving.engine.close()

    asyncio.run(run())
