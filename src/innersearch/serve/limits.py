"""What one client may ask of a server, so that none can take it from the others."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from innersearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server. Times are seconds.

    Raises:
        ConfigError: One is no number above 0.
    """

    body_bytes: int = 1_000_000
    """Longest body of a request."""
    queries: int = 512
    """Most queries of one request."""
    k: int = 100
    """Most documents per query."""
    query_chars: int = 10_000
    """Longest query, where an API has no limit of its own."""
    head_bytes: int = 65_536
    """Longest address and headers of a request."""
    buffered_bytes: int = 100_000_000
    """Bodies that are being read, all together."""
    connections: int = 8_192
    """Most connections."""
    in_flight: int = 256
    """Requests worked on at once; the next one is told to come again (HTTP 429)."""
    per_second: float = 0.0
    """Requests per second, of all clients together; 0 for no limit."""
    headers_s: float = 10.0
    """Longest wait for the headers of a request."""
    body_s: float = 15.0
    """Longest wait for the body of a request."""
    request_s: float = 600.0
    """Longest work on a request."""
    send_s: float = 60.0
    """Longest wait for a client to take a part of its answer."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not math.isfinite(value) or value < 0 or (value == 0 and each.name != "per_second"):
                raise ConfigError(f"the limit {each.name} must be above 0, got {value}")
