"""The application of a server: routes of every module, each also below `/s/{id}/…`, and its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from innersearch import __version__
from innersearch.serve import ask_page, chat, gateway, health, mcp, pages, sessions
from innersearch.serve.guard import Guard
from innersearch.serve.recording import Recording
from innersearch.serve.serving import Serving, UnknownEngineError
from innersearch.serve.sessions import UnknownSessionError

ROUTERS: list[Callable[[Serving], APIRouter]] = [
    health.router,
    sessions.router,
    gateway.router,
    chat.router,
    pages.router,
    mcp.router,
    ask_page.router,
]
"""One function per module, which adds no routes where what it serves is not there."""


def build_app(serving: Serving) -> FastAPI:
    """The application; it closes the engine when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if serving.tape is not None:
                stack.callback(serving.tape.close)
            for engine in (serving.engine, *serving.engines.values()):
                if engine is not None:
                    stack.push_async_callback(engine.close)
            for enter in serving.during:
                await stack.enter_async_context(enter())
            yield

    app = FastAPI(title="innersearch", version=__version__, lifespan=lifespan)
    for make in ROUTERS:
        app.include_router(make(serving))
    for unknown in (UnknownSessionError, UnknownEngineError):
        app.add_exception_handler(unknown, _handler(serving, lambda error: (404, str(error))))
    app.add_exception_handler(RequestValidationError, _handler(serving, _invalid))
    app.add_exception_handler(
        HTTPException, _handler(serving, lambda error: (error.status_code, str(error.detail)))
    )
    # The last one is the first that a request meets.
    if serving.tape is not None:
        app.add_middleware(Recording, serving=serving, tape=serving.tape)
    app.add_middleware(Guard, serving=serving)
    app.add_middleware(Below)
    return app


class Below:
    """Takes `/s/{id}` and `/with/{engine}` off a path and notes them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        for start, noted in (("/s/", sessions.SCOPE), ("/with/", sessions.ENGINE)):
            path = scope.get("path", "")
            if path.startswith(start):
                name, slash, rest = path[len(start) :].partition("/")
                scope = {**scope, "path": slash + rest or "/", noted: name}
                scope["raw_path"] = scope["path"].encode("utf-8", "replace")
        await self.app(scope, receive, send)


def _invalid(error: Any) -> tuple[int, str]:
    """What is wrong with a request, without what was sent."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    return 422, f"{place or 'the request'}: {first['msg']}"


def _handler(serving: Serving, read: Callable[[Any], tuple[int, str]]) -> Any:
    async def handle(request: Request, error: Exception) -> JSONResponse:
        status, body = serving.refuse(request.scope["path"], *read(error))
        return JSONResponse(body, status, getattr(error, "headers", None))

    return handle
