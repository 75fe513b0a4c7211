"""What every request passes first: the token, its body within limits, and a place among those worked on.

Bodies are read before a request takes its place, so that clients that send slowly keep nobody from
being answered; those that take too long are dropped. A log line per request says what was asked for by
its path alone: addresses hold queries, and keys.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from innersearch.errors import InnersearchError
from innersearch.serve import tokens
from innersearch.serve.serving import Serving
from innersearch.serve.sessions import SCOPE

log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz", "/docs", "/openapi.json", "/"})
"""Paths that need no token and no place: they tell nothing that is searched."""
_RETRY_AFTER_S = 1


class _RefusedError(Exception):
    """A request that is not worked on."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


class Guard:
    """Lets requests in, and answers those that it does not."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self.app, self.serving = app, serving
        self._under_way = 0
        self._buffered = 0
        self._left, self._filled_at = 1.0, 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        answer = _Answer(send, self.serving.limits.send_s)
        started = time.perf_counter()
        try:
            await self._answer(scope, receive, answer)
        except _RefusedError as error:
            await self._refuse(scope, answer, error)
        except TimeoutError:
            await self._refuse(scope, answer, _RefusedError(504, "it took too long"))
        except InnersearchError as error:
            log.error("%s", error)
            await self._refuse(scope, answer, _RefusedError(500, str(error)))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            # Its text may hold what was sent.
            log.error("%s in %s:%s", type(error).__name__, where.filename, where.lineno)
            await self._refuse(scope, answer, _RefusedError(500, "something failed here"))
        finally:
            self._note(scope, answer, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        limits, token = self.serving.limits, self.serving.token
        if token is None and not tokens.is_local(scope):
            raise _RefusedError(
                403, "without a token only programs of this machine are answered, no pages of others"
            )
        if scope["path"] in OPEN:
            await self.app(scope, receive, answer)
            return
        known = token is None or tokens.is_one(token, tokens.shown(scope))
        later = not known and scope["path"].startswith(tokens.BODY_PATHS)
        if not known and not later:
            raise _RefusedError(401, "the token is missing or wrong: send it in place of the API's key")
        if self._under_way >= limits.in_flight or not self._may_begin():
            raise _busy()
        try:
            body = await self._body(scope, receive)
        except TimeoutError:
            raise _RefusedError(
                408, f"the body did not come within {limits.body_s:g} s", {"Connection": "close"}
            ) from None
        if later and not tokens.is_one(token or "", tokens.shown_in(body)):
            raise _RefusedError(401, "the token is missing or wrong: send it in place of the API's key")
        if self._under_way >= limits.in_flight:
            raise _busy()
        self._under_way += 1
        try:
            async with asyncio.timeout(limits.request_s):
                await self.app(scope, _replayed(body, receive), answer)
        finally:
            self._under_way -= 1

    def _may_begin(self) -> bool:
        """Whether the rate of requests allows one more; a second's worth may come at once."""
        rate, now = self.serving.limits.per_second, time.monotonic()
        if not rate:
            return True
        self._left = min(max(1.0, rate), self._left + rate * (now - self._filled_at))
        self._filled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request, if it comes in time and is not too long."""
        most = self.serving.limits.body_bytes
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > most:
            raise _too_long(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self.serving.limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _RefusedError(400, "the client left")
                    part = message.get("body", b"")
                    body += part
                    self._buffered += len(part)
                    if len(body) > most:
                        raise _too_long(most)
                    if self._buffered > self.serving.limits.buffered_bytes:
                        raise _busy()
                    if not message.get("more_body"):
                        return bytes(body)
        finally:
            self._buffered -= len(body)

    async def _refuse(self, scope: Scope, answer: _Answer, error: _RefusedError) -> None:
        if answer.status:
            return
        status, body = self.serving.refuse(scope["path"], error.status, str(error))
        text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"content-type": "application/json", "content-length": str(len(text))}
        headers |= error.headers
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await answer({"type": "http.response.start", "status": status, "headers": raw})
        await answer({"type": "http.response.body", "body": text})

    def _note(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        self.serving.metrics.request(route, answer.status, seconds)
        if log.isEnabledFor(logging.INFO) and scope["path"] not in OPEN:
            session = scope.get(SCOPE)
            in_session = f" session={session[:40]}" if session else ""
            log.info(
                "%s %s %d %.1f ms%s", scope["method"], route, answer.status, 1000 * seconds, in_session
            )


class _Answer:
    """Sends an answer, part by part, to a client that takes each in time."""

    def __init__(self, send: Send, limit_s: float) -> None:
        self._send, self._limit_s = send, limit_s
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        async with asyncio.timeout(self._limit_s):
            await self._send(message)


def _replayed(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body once more, and then whatever comes."""
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _busy() -> _RefusedError:
    return _RefusedError(
        429, "too many requests at once: come again", {"Retry-After": str(_RETRY_AFTER_S)}
    )


def _too_long(most: int) -> _RefusedError:
    return _RefusedError(413, f"the body is longer than {most:,} bytes", {"Connection": "close"})
