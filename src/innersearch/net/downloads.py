"""Files from the network: within a size and a time, whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from innersearch.net.addresses import check_url, place
from innersearch.net.caller import Caller
from innersearch.net.calls import PermanentError
from innersearch.net.causes import broken
from innersearch.net.client import Connections
from innersearch.net.fetching import refusal
from innersearch.net.patience import CallSettings

MAX_FILE = 2_000_000_000
"""Longest file that is written, in bytes."""
CALLS = CallSettings(deadline_s=3600.0, max_outage_s=60.0)
"""How patiently a file is fetched."""

_SILENCE_S = 60.0
_HOPS = 8
"""Redirects that are followed; none holds a key, for none is sent."""


async def download(
    address: str, file: Path, name: str, *, most: int = MAX_FILE, calls: CallSettings = CALLS
) -> None:
    """Write what stands at `address` to `file`, which is taken away again if that fails.

    Raises:
        SearchError: The address cannot be used: no user or password may stand in it.
        TransientError: It cannot be reached, in all tries.
        PermanentError: It was refused, is longer than `most` bytes, does not say how long it is, or is
            compressed.
    """
    url = check_url(address, name, query=True)
    caller = Caller(name, calls, place=place(url))

    async def once() -> bool:
        await _write(url, file, name, most)
        return True

    try:
        await caller.call(once)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


async def _write(url: httpx2.URL, file: Path, name: str, most: int) -> None:
    async with _answer(url, name) as response:
        _demand_whole(response, name, most)
        written = 0
        try:
            with file.open("wb") as out:
                async for part in response.aiter_raw():
                    written += len(part)
                    if written > most:
                        raise _too_long(name, most)
                    await asyncio.to_thread(out.write, part)
        except httpx2.HTTPError as error:
            raise broken(error, name, response.request.url, begun=True) from None


@asynccontextmanager
async def _answer(url: httpx2.URL, name: str) -> AsyncIterator[httpx2.Response]:
    """The answer behind all redirects, its body unread."""
    for _ in range(_HOPS):
        connections = Connections(url, _SILENCE_S)
        request = connections.request("GET", url, headers={"Accept-Encoding": "identity"})
        try:
            response = await connections.client.send(request, stream=True)
            try:
                if response.is_success:
                    yield response
                    return
                if not response.has_redirect_location:
                    raise refusal(response, "", name)
                url = _next(response, name)
            finally:
                await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, OverflowError) as error:
            raise broken(error, name, url) from None
        finally:
            await connections.close()
    raise PermanentError(f"{name} leads from address to address", refused=True)


def _next(response: httpx2.Response, name: str) -> httpx2.URL:
    here = response.request.url
    target = check_url(str(here.join(response.headers["location"])), name, query=True)
    if here.scheme == "https" and target.scheme != "https":
        raise PermanentError(f"{name} leads away from https, to {place(target)}", refused=True)
    return target


def _demand_whole(response: httpx2.Response, name: str, most: int) -> None:
    """Refuse what is too long, and what could end early without anybody noticing."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > most):
        raise _too_long(name, most)
    if not length and "chunked" not in response.headers.get("transfer-encoding", "").lower():
        raise PermanentError(f"{name} comes without its length: a part could be taken for the whole")
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise PermanentError(f"{name} comes compressed, and was asked for as it is")


def _too_long(name: str, most: int) -> PermanentError:
    return PermanentError(f"{name} is longer than {most:,} bytes", reason="too long")
