"""Connections to addresses that others chose: they lead to public addresses, or nowhere.

Where an address comes out of a page, a redirect or what a model wrote, it may point into the network
of whoever runs this: at its own services, at machines beside it, at the keys that clouds hand out. So a
name is looked up here, every address it has is checked, and the connection is made to one that was
checked, not to the name, which may mean something else a moment later. This happens where connections
begin, and so for each redirect as well. Host and SNI stay those of the name.

An address counts if it is global unicast; one that carries another inside, as IPv4 in IPv6, counts if
the inner one does too. Hosts that are allowed by name and port are not checked. No proxy is taken: it
would look names up itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Any

import httpcore2
import httpx2

from innersearch.errors import SearchError
from innersearch.net.addresses import place
from innersearch.net.calls import PermanentError
from innersearch.net.client import trusted

PORTS = {"http": 80, "https": 443}
"""The ports that are asked, unless another is allowed with its host."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Every address of a name; raises OSError where it has none."""

_Address = IPv4Address | IPv6Address
_UNICAST_6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        # What older releases of Python call global, and Azure's address for the machines in it.
        *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15"),
        *("224.0.0.0/3", "168.63.129.16/32"),
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
_TEREDO, _SIX_TO_FOUR = IPv6Network("2001::/32"), IPv6Network("2002::/16")
_CARRIERS = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""IPv4-compatible, IPv4-mapped, IPv4-translated, NAT64: the last 32 bits are an IPv4 address."""
_ISATAP = (0x00005EFE, 0x02005EFE)
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?", re.ASCII)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?\.?", re.ASCII)
_TRIED = 4
"""Addresses of one name that are tried at most."""


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public network, and whatever it carries inside as well.

    >>> is_public("93.184.216.34"), is_public("::ffff:127.0.0.1"), is_public("2002:7f00:1::")
    (True, False, False)
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return _is_public(address) and all(map(_is_public, _carried(address)))


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if address in _NAT64:
            return True
        if address not in _UNICAST_6:
            return False
        if address in _TEREDO or address in _SIX_TO_FOUR:
            # What they carry decides; releases of Python differ about the wrapping.
            return True
    blocked = any(address in network for network in _NOT_PUBLIC if network.version == address.version)
    return address.is_global and not address.is_multicast and not blocked


def _carried(address: _Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses inside an IPv6 address."""
    if not isinstance(address, IPv6Address):
        return
    if any(address in network for network in _CARRIERS) or int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


async def look_up(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as the system knows it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


class Guard:
    """Says where a connection may lead.

    Args:
        allowed: Hosts that are asked whatever their address is, each as HOST:PORT; without a port both
            usual ones.
        resolve: Who looks names up.

    Raises:
        SearchError: What is allowed cannot be read.
    """

    def __init__(self, allowed: Collection[str] = (), resolve: Resolve = look_up) -> None:
        self._allowed = frozenset(pair for text in allowed for pair in _pairs(text))
        self._resolve = resolve

    def demand(self, url: httpx2.URL) -> None:
        """Check all that an address says before anything is looked up.

        Raises:
            PermanentError: It is no address of a page, or names what cannot be public.
        """
        if url.scheme not in PORTS:
            raise refused(url, "only http and https are read")
        if url.userinfo or "@" in url.netloc.decode("ascii", "replace"):
            raise refused(url, "it holds a user or a password")
        host, port = _host(url), PORTS[url.scheme] if url.port is None else url.port
        if (host, port) in self._allowed:
            return
        if port not in PORTS.values():
            raise refused(url, f"port {port} is not asked")
        if _literal(host) is None and not _is_name(host):
            raise refused(url, "it names no host")
        if (literal := _literal(host)) is not None and not is_public(literal):
            raise refused(url, "it is no public address")

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Where to connect for a host: its addresses, all of which were checked.

        Raises:
            PermanentError: One of them is not public.
            OSError: It has none.
        """
        bare = host.lower().strip("[]")
        allowed = (bare, port) in self._allowed
        literal = _literal(bare)
        found = [literal] if literal is not None else list(await self._resolve(bare, port))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no addresses")
        if not allowed and not all(map(is_public, found)):
            raise PermanentError(
                "the page cannot be opened: its host has no public address",
                reason="not public",
                sent=False,
            )
        return found[:_TRIED]


def refused(url: httpx2.URL, why: str) -> PermanentError:
    """An address that is not asked."""
    where = place(url) if url.scheme in PORTS else "that address"
    return PermanentError(f"{where} is not opened: {why}", reason="refused address", sent=False)


def _pairs(text: str) -> Iterable[tuple[str, int]]:
    host, colon, digits = text.strip().lower().rpartition(":")
    if colon and digits.isdecimal() and host and not host.endswith(":"):
        return [(host.strip("[]"), int(digits))]
    if text.strip() and "/" not in text:
        return [(text.strip().lower().strip("[]"), port) for port in PORTS.values()]
    raise SearchError(f"what is allowed is a host or HOST:PORT, given {text!r:.80}")


def _host(url: httpx2.URL) -> str:
    return url.raw_host.decode("ascii", "replace").lower().strip("[]")


def _literal(host: str) -> str | None:
    """The host, if it is an IP address as the standards write them."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    """Whether a host is a name, and no number in disguise such as 127.1, 0x7f.1 or 2130706433."""
    last = host.rstrip(".").rpartition(".")[2]
    return (
        len(host) <= 253
        and _HOST.fullmatch(host) is not None
        and ".." not in host
        and not _NUMBER.fullmatch(last)
    )


class _Dialling(httpcore2.AsyncNetworkBackend):
    """Makes connections to addresses that a guard let through."""

    def __init__(self, guard: Guard, dial: httpcore2.AsyncNetworkBackend) -> None:
        self._guard, self._dial = guard, dial

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await self._guard.addresses(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the host cannot be looked up") from error
        *first, last = addresses
        for address in first:
            try:
                return await self._dial.connect_tcp(address, port, timeout, *args, **kwargs)
            except httpcore2.ConnectError:
                continue
        return await self._dial.connect_tcp(last, port, timeout, *args, **kwargs)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Transport(httpx2.AsyncHTTPTransport):
    def __init__(self, guard: Guard, dial: httpcore2.AsyncNetworkBackend) -> None:
        super().__init__(verify=(context := trusted()), trust_env=False)
        if not isinstance(getattr(self, "_pool", None), httpcore2.AsyncConnectionPool):
            raise SearchError("this version of httpx2 is not known: install the one of constraints.txt")
        self._guard = guard
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context, keepalive_expiry=5.0, network_backend=_Dialling(guard, dial)
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._guard.demand(request.url)
        return await super().handle_async_request(request)


def guarded_client(
    guard: Guard, *, dial: httpcore2.AsyncNetworkBackend | None = None
) -> httpx2.AsyncClient:
    """A client that connects only where a guard lets it, and follows no redirects by itself.

    `dial` makes the connections, each to an IP address; by default sockets of this machine.
    """
    transport = _Transport(guard, dial or httpcore2.AnyIOBackend())
    return httpx2.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)
