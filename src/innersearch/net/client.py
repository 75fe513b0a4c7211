"""The one place that makes HTTP clients: which proxy they take, and whom they trust.

Proxies come from HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, in capital or small letters; NO_PROXY names
hosts that are asked directly: a name with all below it, an IP address, a network, or `*`. Certificates
come from the system, SSL_CERT_FILE or SSL_CERT_DIR. A variable that cannot be used is named before
anything is sent, and only if it matters for the address that is to be asked.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.request import getproxies_environment

import httpx2

from innersearch.errors import SearchError

_SCHEMES = ("http", "https", "socks5", "socks5h")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class Connections:
    """A client of one's own for one address, or one that is shared.

    Args:
        address: What is asked.
        timeout_s: Longest silence.
        shared: Somebody else's client, who closes it.
        offline: Whether to make none before it is needed, for whoever only replays sends nothing.

    Raises:
        SearchError: As `new_client`.
    """

    def __init__(
        self,
        address: httpx2.URL | str,
        timeout_s: float = 30.0,
        *,
        shared: httpx2.AsyncClient | None = None,
        offline: bool = False,
    ) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._shared, self._own = shared, None if shared or offline else new_client(address, timeout_s)

    @property
    def client(self) -> httpx2.AsyncClient:
        """The client."""
        if self._shared is not None:
            return self._shared
        if self._own is None:
            self._own = new_client(self._address, self._timeout_s)
        return self._own

    def request(
        self,
        method: str,
        url: httpx2.URL | str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Request:
        """A request, with a JSON body or none; halves of surrogate pairs become question marks."""
        if body is None:
            return self.client.build_request(method, url, headers=headers)
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        head = {"Content-Type": "application/json", **(headers or {})}
        return self.client.build_request(method, url, content=content, headers=head)

    async def close(self) -> None:
        """Close the client, unless it is shared."""
        if self._own is not None:
            await self._own.aclose()


def new_client(address: httpx2.URL | str, timeout_s: float = 30.0) -> httpx2.AsyncClient:
    """A client for one address that follows no redirects, for they could carry a key elsewhere.

    `timeout_s` limits silence; whoever calls limits the calls under way.

    Raises:
        SearchError: A variable with a proxy or with certificates cannot be used.
    """
    address = httpx2.URL(address)
    proxy = _proxy(address)
    # Without TLS nobody is trusted, and no file need be read for it.
    secure = address.scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
    context = trusted() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if proxy is not None and proxy.url.scheme == "https":
        proxy.ssl_context = context
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout_s, connect=min(30.0, timeout_s), pool=None),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
        follow_redirects=False,
        trust_env=False,
        verify=context,
        proxy=proxy,
    )


def proxy_variable(address: httpx2.URL) -> str | None:
    """The environment variable whose proxy stands between here and an address."""
    proxies = getproxies_environment()
    if _is_direct(address, proxies.get("no", "")):
        return None
    scheme = next((name for name in (address.scheme, "all") if proxies.get(name)), None)
    if scheme is None:
        return None
    small = f"{scheme}_proxy"
    return small if os.environ.get(small) else small.upper()


def _proxy(address: httpx2.URL) -> httpx2.Proxy | None:
    variable = proxy_variable(address)
    if variable is None:
        return None
    given = getproxies_environment()[variable.lower().removesuffix("_proxy")]
    scheme = given.partition("://")[0].lower() if "://" in given else "http"
    if scheme not in _SCHEMES:
        hint = "write socks5://" if scheme.startswith("socks") else f"write {', '.join(_SCHEMES)}"
        raise SearchError(
            f"{variable} names a proxy of a kind that cannot be used: {hint}, or name "
            f"{address.host} in NO_PROXY"
        )
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise SearchError(
            f"{variable} names a SOCKS proxy, which needs socksio: pip install socksio, or name "
            f"{address.host} in NO_PROXY"
        )
    try:
        url = httpx2.URL(given if "://" in given else f"http://{given}")
        if not url.host or not 0 < (url.port or 1) < 65536:
            raise ValueError
        return httpx2.Proxy(url)
    except (httpx2.InvalidURL, ValueError):
        raise SearchError(
            f"{variable} holds no address of a proxy: write http://HOST:PORT, or name {address.host} in "
            "NO_PROXY"
        ) from None


def _is_direct(address: httpx2.URL, listed: str) -> bool:
    """Whether NO_PROXY holds the host of an address."""
    names = [name for part in listed.split(",") for name in part.split()]
    return any(name == "*" or _covers(name, address) for name in names)


def _covers(name: str, address: httpx2.URL) -> bool:
    host = address.host.lower()
    port = address.port or {"http": 80, "https": 443}.get(address.scheme)
    name = name.rpartition("://")[2].lower()
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name.strip("[]"), strict=False)
    except (ValueError, TypeError):
        pass
    bare, colon, digits = name.rpartition(":")
    if colon and digits.isdecimal() and len(digits) < 6:
        if int(digits) != port:
            return False
        name = bare
    name = name.strip("[]").removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def trusted() -> ssl.SSLContext:
    """Whose certificates are accepted.

    Raises:
        SearchError: A variable names certificates that cannot be read.
    """
    variable = trust_variable()
    return _read_trusted(variable, os.environ[variable] if variable else "")


@lru_cache(maxsize=4)
def _read_trusted(variable: str | None, value: str) -> ssl.SSLContext:
    if variable is not None:
        given, is_file = Path(value), variable == _CERTIFICATES[0]
        if not (given.is_file() if is_file else given.is_dir()):
            kind = "file" if is_file else "directory"
            raise SearchError(
                f"{variable} names no {kind} of certificates: correct it, or take it out of the "
                f"environment; given {value!r}"
            )
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        why = variable or "the file of this machine's authorities"
        raise SearchError(
            f"{why} cannot be read as certificates ({type(error).__name__}): correct it, or take it out "
            "of the environment"
        ) from None


def trust_variable() -> str | None:
    """The environment variable that says whose certificates are accepted, if one is set."""
    return next((name for name in _CERTIFICATES if os.environ.get(name)), None)
