"""Random numbers that depend on a name and on nothing else: not on order, batch or machine."""

from __future__ import annotations

import hashlib


def number(*name: str | int) -> int:
    """A number of 64 bits that belongs to `name`."""
    digest = hashlib.blake2b(repr(name).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def draw(*name: str | int) -> float:
    """A number in [0, 1) that belongs to `name`."""
    return number(*name) / 2**64
