"""Addresses of servers: what may stand in one, and how it may be shown."""

from __future__ import annotations

import re

import httpx2

from innersearch.errors import SearchError

_USER = re.compile(
    r"""(?<=:/|//)[^\s/?#,'"]*@|(?<=:/|//)[^\s@,'"]*:[^\s@,'"]*@""",
)
_PRINTABLE = re.compile(r"[^\x21-\x7e]")


def check_url(url: str, name: str, *, query: bool = False) -> httpx2.URL:
    """The parsed address of `name`. Nothing of an address that cannot be used is shown: it may hold a
    password.

    Args:
        url: The address.
        name: What is there, for errors.
        query: Whether a query may follow the path.

    Raises:
        SearchError: It is none, or holds more than scheme, host, port and path: a password in it would
            end up in records, and two searches that differ in the rest would share an identity.
    """
    try:
        parsed = httpx2.URL(url)
        port = parsed.port
    except (httpx2.InvalidURL, TypeError, ValueError):
        raise SearchError(
            f"the address of {name} cannot be read: write it as http://HOST:PORT/PATH"
        ) from None
    if parsed.scheme not in ("http", "https") or not parsed.host or "%" in parsed.host:
        raise SearchError(f"the address of {name} must begin with http:// or https:// and name a host")
    if parsed.userinfo or "@" in parsed.host:
        raise SearchError(
            f"the address of {name} must hold no user or password: give a key by its variable"
        )
    if (parsed.query and not query) or parsed.fragment:
        raise SearchError(f"the address of {name} must end with its path and hold no user or password")
    if port is not None and not 0 < port < 65536:
        raise SearchError(f"the address of {name} has no port from 1 to 65535")
    if any(len(label) > 63 for label in parsed.raw_host.decode("ascii").split(".")):
        raise SearchError(f"the address of {name} names a host with a part of over 63 characters")
    return parsed


def place(url: httpx2.URL) -> str:
    """An address as it may be shown: no user, password or query, and not endless."""
    shown = str(url.copy_with(userinfo=b"", query=None, fragment=None))
    return _PRINTABLE.sub("?", shown)[:300]


def without_users(text: str) -> str:
    """A text in which no address has a user or password.

    >>> without_users("unknown engine 'remote:http://me:secret@host/x'")
    "unknown engine 'remote:http://[hidden]@host/x'"
    """
    return _USER.sub("[hidden]@", text)
