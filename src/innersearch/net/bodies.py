"""Bodies of answers, read within a limit: what is compressed grows by no more than is read of it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

import httpx2

from innersearch.net.calls import PermanentError

ACCEPTED = "gzip, deflate"
"""Compressions that are asked for."""


async def read_body(response: httpx2.Response, name: str, most: int) -> bytes:
    """The body, decompressed.

    Raises:
        PermanentError: It is longer than `most` bytes, or its compression is unknown, broken or cut off.
    """
    body = bytearray()
    async for part in _decompressed(response, name, most):
        body += part
        if len(body) > most:
            raise PermanentError(f"{name} sent more than {most:,} bytes", reason="too long")
    return bytes(body)


async def _decompressed(response: httpx2.Response, name: str, most: int) -> AsyncIterator[bytes]:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    parts = response.aiter_raw()
    if encoding in ("", "identity"):
        async for part in parts:
            yield part
    elif encoding in ("gzip", "x-gzip", "deflate"):
        async for part in _inflated(parts, name, most):
            yield part
    else:
        raise PermanentError(f"{name} sent a body in a compression not asked for", reason="malformed")


async def _inflated(parts: AsyncIterator[bytes], name: str, most: int) -> AsyncIterator[bytes]:
    inflating, started = zlib.decompressobj(wbits=47), False
    async for part in parts:
        try:
            try:
                piece = inflating.decompress(part, most + 1)
            except zlib.error:
                if started:
                    raise
                # Some send deflate without its header.
                inflating = zlib.decompressobj(wbits=-15)
                piece = inflating.decompress(part, most + 1)
        except zlib.error:
            raise _broken(name) from None
        started = started or bool(part)
        yield piece
    if started and not inflating.eof:
        raise _broken(name)


def _broken(name: str) -> PermanentError:
    return PermanentError(f"{name} sent a body that cannot be decompressed", reason="malformed")
