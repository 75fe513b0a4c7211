"""`/v1/chat/completions` and `/v1/models`: the agent, or in a session the model behind it.

Outside of sessions whoever asks gets an answer of the agent, which searches by itself. Below `/s/{id}`
the model answers alone, and what it writes is kept; see `innersearch.serve.model_url`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from innersearch.serve import model_url
from innersearch.serve.chat_api import (
    ApiError,
    ChatRequest,
    error_body,
    models_body,
    read_request,
    whole_as_chunks,
)
from innersearch.serve.model_url import ModelUrl
from innersearch.serve.sessions import Session
from innersearch.trajectories import to_line

if TYPE_CHECKING:
    from innersearch.serve.serving import Serving

T = TypeVar("T")
AGENT, MODEL = "agent", "model"
"""Under which names `Serving.parts` holds an `AgentEndpoint` and a `ModelUrl`."""
_GONE = 499
"""The client went away."""


class AgentEndpoint(Protocol):
    """Who answers outside of sessions."""

    name: str

    async def complete(self, request: ChatRequest) -> dict[str, Any]:
        """The whole answer; raises ApiError."""

    def stream(self, request: ChatRequest) -> AsyncIterator[str]:
        """The answer as it is written, as lines of server-sent events; raises ApiError."""


def router(serving: Serving) -> APIRouter:
    """The routes of the agent and of models of sessions."""
    routes = APIRouter(tags=["agent"])
    chat = _Chat(serving)
    if chat.agent is None and chat.model is None:
        return routes
    serving.refusals["/v1/"] = lambda status, message: (status, error_body(status, message))
    if chat.model is not None:
        # Searches may come before the first request to the model.
        serving.sessions.begun.append(chat.model.listen)
        routes.add_api_route("/trajectory", chat.trajectory, summary="What the model wrote so far")
    routes.add_api_route("/v1/models", chat.models, summary="The models")
    routes.add_api_route(
        "/v1/chat/completions", chat.complete, methods=["POST"], summary="Ask the agent, or the model"
    )
    return routes


class _Chat:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.agent: AgentEndpoint | None = serving.parts.get(AGENT)
        self.model: ModelUrl | None = serving.parts.get(MODEL)

    async def models(self, request: Request) -> Any:
        """The names of what can be asked."""
        if self.model is not None and self._serving.sessions.of(request) is not None:
            return models_body([model_url.NAME])
        return models_body([self.agent.name] if self.agent is not None else [])

    async def complete(self, request: Request) -> Response:
        """An answer, whole or as a stream."""
        session = self._serving.sessions.of(request)
        try:
            asked = read_request(await request.body())
            if session is not None and self.model is not None:
                return await self._of_model(self.model, session, request, asked)
            return await self._of_agent(request, asked)
        except ApiError as error:
            return JSONResponse(error.body, error.status)
        except ConnectionError:
            return Response(status_code=_GONE)

    async def _of_model(
        self, model: ModelUrl, session: Session, request: Request, asked: ChatRequest
    ) -> Response:
        answered = await while_connected(request, model.complete(session, asked))
        if not asked.stream:
            return JSONResponse(answered)
        return _stream(whole_as_chunks(answered, usage=asked.tells_usage))

    async def _of_agent(self, request: Request, asked: ChatRequest) -> Response:
        if self.agent is None:
            raise ApiError(404, "no agent is served here: begin a session with POST /sessions")
        if asked.stream:
            return _stream(self.agent.stream(asked))
        return JSONResponse(await while_connected(request, self.agent.complete(asked)))

    async def trajectory(self, request: Request) -> Response:
        """What the model of a session wrote so far, as one trajectory."""
        session = self._serving.sessions.of(request)
        if session is None or self.model is None:
            return JSONResponse({"detail": "a trajectory is that of a session: ask below /s/{id}"}, 404)
        line = to_line(self.model.trajectory(session))
        return Response(line, media_type="application/json")


def _stream(lines: Any) -> StreamingResponse:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, media_type="text/event-stream", headers=headers)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, unless the client goes away first: then it is cancelled.

    Raises:
        ConnectionError: The client went away.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ConnectionError
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
