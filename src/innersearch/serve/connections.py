"""Connections that let nobody wait at the server's cost: headers that do not come, or do not end.

uvicorn has deadlines for silence between requests only. Bodies have theirs in `guard`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from innersearch.serve.limits import Limits


class _GuardedProtocol(HttpToolsProtocol):
    """HTTP with limits on headers, on connections, and on answers that are not taken."""

    limits = Limits()
    _due: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request; one connection too many is closed."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request is there."""
        super().on_message_begin()
        self._head = 0
        if self._due is None:
            self._wait()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        if self._counts(url):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if self._counts(name, value):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._stop_waiting()
        if self._head <= self.limits.head_bytes:
            super().on_headers_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while; whoever has not even taken the last answer is given up."""
        if self.transport.get_write_buffer_size():
            self._due = self.loop.call_later(self.limits.send_s, self.transport.abort)
        super().timeout_keep_alive_handler()

    def _counts(self, *parts: bytes) -> bool:
        self._head += sum(map(len, parts))
        if self._head > self.limits.head_bytes:
            self.transport.abort()
            return False
        return True

    def _wait(self) -> None:
        self._due = self.loop.call_later(self.limits.headers_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def protocol(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol of connections within some limits."""
    return type("GuardedProtocol", (_GuardedProtocol,), {"limits": limits})
