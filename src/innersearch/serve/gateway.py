"""The gateway: one engine, answering as every search API that agents already call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter

from innersearch.search.base import InformedEngine, SearchRequest, SearchResult, ask
from innersearch.serve.sessions import Session

if TYPE_CHECKING:
    from innersearch.serve.serving import Serving


async def search(
    serving: Serving, session: Session | None, queries: Sequence[str], k: int
) -> list[SearchResult]:
    """One result per query, in order, for a session if there is one, which hears of them."""
    results = await _search(serving, session, queries, k)
    if session is not None and serving.engine is not None:
        for listener in session.listeners:
            for query, result in zip(queries, results, strict=True):
                listener(serving.engine, query, result)
    return results


async def _search(
    serving: Serving, session: Session | None, queries: Sequence[str], k: int
) -> list[SearchResult]:
    engine = serving.engine
    if engine is None:
        return [SearchResult(error="nothing is served that could be searched")] * len(queries)
    if not isinstance(engine, InformedEngine):
        if session is not None:
            session.searches += len(queries)
        return await engine.search(queries, k)
    asked = [
        session.asks(query) if session else SearchRequest(query, identity=(query,)) for query in queries
    ]
    return list(await asyncio.gather(*(ask(engine, one, k) for one in asked)))


def router(serving: Serving) -> APIRouter:
    """The routes of every dialect."""
    return APIRouter(tags=["search"])
