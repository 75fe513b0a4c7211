"""How patiently a server is called, and what calling took."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from innersearch.errors import ConfigError

_MAY_BE_ZERO = ("per_second", "max_outage_s")


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How patiently a server is called. Times are seconds.

    Raises:
        ConfigError: A number is not positive, or tries are fewer than failures make an outage.
    """

    deadline_s: float = 30.0
    """Longest call, from its start to the last byte of the answer."""
    tries: int = 5
    """Calls made for a search while the server is up; those turned away for coming too often do not
    count."""
    backoff_s: float = 0.5
    """First wait between tries; doubles each time, plus at random up to the first wait again."""
    backoff_max_s: float = 30.0
    """Longest wait between tries, jitter apart, unless the server asks for a longer one."""
    in_flight: int = 32
    """Calls under way at once."""
    per_second: float = 0.0
    """Calls begun per second at most; 0 for as many as the server takes."""
    open_after: int = 5
    """Transient failures in a row, over all searches, that make an outage."""
    probe_s: float = 1.0
    """Wait before the first probe; doubles after each failed one."""
    probe_max_s: float = 15.0
    """Longest wait between probes."""
    max_outage_s: float = 600.0
    """Outage after which waiting searches fail. No wait that a server asks for is longer."""
    first_s: float = 60.0
    """The same as long as the server has never answered: the address may be wrong."""

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
                raise ConfigError(f"{name} must be above 0, got {value}")
        if self.tries < self.open_after:
            raise ConfigError(
                f"tries {self.tries} is below open_after {self.open_after}: a search alone would give "
                "up before an outage is noticed; raise tries or lower open_after"
            )


@dataclass(slots=True)
class CallCounts:
    """What calling took so far, for the record of a run."""

    searches: int = 0
    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Failed calls by reason."""
    lost: int = 0
    """Searches that failed in the end."""
    retries: int = 0
    refusals: int = 0
    """Calls turned away for coming too often; they cost nothing."""
    outages: int = 0
    waited_s: float = 0.0
    """Seconds spent between calls, summed over the searches that waited."""


def as_record(counts: CallCounts) -> dict[str, Any]:
    """The counts as JSON can hold them."""
    return {name: getattr(counts, name) for name in CallCounts.__slots__} | {
        "failures": dict(sorted(counts.failures.items()))
    }
