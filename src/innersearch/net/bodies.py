"""Bodies of answers, read within a limit: what is compressed grows by no more than is read of it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

import httpx2

from innersearch.net.calls import PermanentError

ACCEPTED = "gzip, deflate"
"""Compressions that are asked for."""


SMALL = 1_000_000
"""Bytes that a body may grow to whatever its ratio is."""


async def read_body(
    response: httpx2.Response, name: str, most: int, *, ratio: float | None = None
) -> bytes:
    """The body, decompressed.

    Args:
        response: Whose body it is.
        name: Who sent it, for errors.
        most: Longest body, in bytes after decompression.
        ratio: How many times its size a body of over `SMALL` bytes may be unpacked to.

    Raises:
        PermanentError: It is longer, or its compression is unknown, broken or cut off.
    """
    body = bytearray()
    async for part in _decompressed(response, name, most):
        body += part
        if len(body) > most:
            raise PermanentError(f"{name} sent more than {most:,} bytes", reason="too long")
        if ratio is not None and len(body) > max(SMALL, ratio * response.num_bytes_downloaded):
            said = f"{name} sent a body that unpacks to over {ratio:g} times its size"
            raise PermanentError(said, reason="too long")
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
