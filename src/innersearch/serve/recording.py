"""Between the guard and the routes: keeps every answer, or gives those that were kept."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from innersearch.serve.guard import OPEN
from innersearch.serve.serving import Serving
from innersearch.serve.tape import Answer, Asked, Tape

_NEVER = (*OPEN, "/metrics", "/mcp")
"""Paths that are not kept: they are about this server, or streams without end."""


class Recording:
    """Records or replays."""

    def __init__(self, app: ASGIApp, serving: Serving, tape: Tape) -> None:
        self.app, self.serving, self.tape = app, serving, tape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and keep what comes, or answer it from the record."""
        if scope["type"] != "http" or scope["path"] in _NEVER:
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        asked = Asked.of(scope, body)
        if self.tape.mode == "replay":
            await self._replay(scope, asked, send)
            return
        kept = _Kept(self.tape, asked, send)
        await self.app(scope, _again(body, receive), kept)

    async def _replay(self, scope: Scope, asked: Asked, send: Send) -> None:
        answer = await self.tape.find(asked)
        if answer is None:
            said = f"{self.tape.path.name} is replayed and holds no answer to this: record it"
            status, body = self.serving.refuse(scope["path"], 404, said)
            answer = Answer(status, (("content-type", "application/json"),), json.dumps(body).encode())
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


class _Kept:
    """Sends an answer on, its last part once all of it is kept."""

    def __init__(self, tape: Tape, asked: Asked, send: Send) -> None:
        self._tape, self._asked, self._send = tape, asked, send
        self._start: Message = {}
        self._started = False
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # It waits for the first part of the body: what cannot be kept can still be refused.
            self._start = message
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            await self._tape.keep(self._asked, self._answer())
        if not self._started:
            self._started = True
            await self._send(self._start)
        await self._send(message)

    def _answer(self) -> Answer:
        headers: list[Any] = self._start.get("headers", [])
        pairs = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        return Answer(self._start["status"], pairs, bytes(self._body))


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
