"""How long a server asks to wait, as headers say it.

`Retry-After` in seconds or as a date, also in milliseconds (`retry-after-ms`). Where it is missing, when
the limit of calls starts anew: `RateLimit` and `RateLimit-Reset` of the IETF, `X-RateLimit-Reset` and
its forms per kind of limit, in seconds, as a time since 1970 in seconds or milliseconds, as a duration
such as `1m30s`, or as a date; several windows in one header as Brave writes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_GUESS_S = 60.0
"""Longest wait until a limit starts anew where the server does not say that nothing is left of it."""

_RESET = re.compile(r"(?:x-)?(?:[a-z]+-)*?rate-?limit(?:-[a-z]+)*?-reset(?P<kind>(?:-[a-z]+)*)")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_DURATION = re.compile(r"(?:(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)(?P<unit>ms|us|µs|ns|[dhms]))")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_SINCE_1970 = 1e9
"""Numbers above this are points in time."""


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a server which turned a call away asks to wait; 0 where no header says it.

    Whatever cannot be read is passed over.
    """
    held = {name.lower(): value for name, value in headers.items()}
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (number := _number(held.get(name, ""))) is not None:
            return number / 1000
    if (wait := _retry_after(held.get("retry-after", ""))) is not None:
        return wait
    return max(_until_anew(held), default=0.0)


def _retry_after(text: str) -> float | None:
    number = _number(text)
    return _until(text) if number is None else number


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _until(text: str) -> float | None:
    """Seconds until a date of HTTP or ISO 8601; None if it is none."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(text.strip())
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            return max(0.0, (date - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _until_anew(headers: Mapping[str, str]) -> Iterator[float]:
    """Waits until each limit that may be used up starts anew."""
    for left, wait in _limits(headers):
        if left == 0:
            yield wait
        elif left is None:
            yield min(wait, LONGEST_GUESS_S)


def _limits(headers: Mapping[str, str]) -> Iterator[tuple[float | None, float]]:
    """What is left of each limit, if that is said, and the seconds until it starts anew."""
    for name, value in headers.items():
        if name == "ratelimit":
            yield from _ietf(value)
        elif _RESET.fullmatch(name):
            remaining = name.replace("-reset-after", "-reset").replace("-reset", "-remaining")
            left = [_number(part) for part in headers.get(remaining, "").split(",")]
            waits = [_duration(part) for part in _parts(value)]
            for place, wait in enumerate(waits):
                if wait is not None:
                    yield left[place] if place < len(left) else None, wait


def _parts(value: str) -> list[str]:
    """The windows of one header; a date holds a comma of its own."""
    return [value] if _until(value) is not None else value.split(",")


def _ietf(value: str) -> Iterator[tuple[float | None, float]]:
    """`"default";r=0;t=30`, or as earlier drafts had it `limit=9, remaining=0, reset=30`."""
    fields = {
        key.strip().lower(): _number(text)
        for key, _, text in (part.partition("=") for part in re.split(r"[;,]", value))
    }
    wait = fields.get("t", fields.get("reset"))
    if wait is not None:
        yield fields.get("r", fields.get("remaining")), wait


def _duration(text: str) -> float | None:
    """Seconds of a number, a point in time, `1m30s` or a date."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number <= _SINCE_1970:
            return number
        since = number / 1000 if number > 100 * _SINCE_1970 else number
        return max(0.0, since - datetime.now(UTC).timestamp())
    found = list(_DURATION.finditer(text))
    if found and "".join(match[0] for match in found) == text:
        return math.fsum(float(match["number"]) * _UNITS[match["unit"]] for match in found)
    return _until(text)
