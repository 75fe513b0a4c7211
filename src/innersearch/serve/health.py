"""`/healthz`: whether a server is up, and what it serves; `/metrics`: what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response

if TYPE_CHECKING:
    from innersearch.serve.serving import Serving


def router(serving: Serving) -> APIRouter:
    """The routes that say how a server is."""
    routes = APIRouter(tags=["server"])

    @routes.get("/healthz", summary="Whether the server is up")
    async def healthz() -> dict[str, Any]:
        name = serving.engine.name if serving.engine is not None else None
        return {"status": "ok", "engine": name, "sessions": len(serving.sessions)}

    @routes.get("/metrics", summary="What the server did, for Prometheus")
    async def metrics() -> Response:
        return Response(serving.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
