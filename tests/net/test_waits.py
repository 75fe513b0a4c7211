"""How long servers ask to wait, in every spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime

import pytest

from innersearch.net.waits import LONGEST_GUESS_S, asked_wait

SOON = datetime(2026, 11, 30, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ms-retry-after-ms": "20"}, 0.02),
        ({"RateLimit-Reset": "12"}, 12),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "120"}, 120),
        ({"RateLimit-Remaining": "3", "RateLimit-Reset": "120"}, 0),
        ({"RateLimit": '"default";r=0;t=30'}, 30),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"RateLimit": '"burst";r=4;t=30'}, 0),
        ({"X-RateLimit-Reset": "5"}, 5),
        ({"X-Rate-Limit-Reset": "5"}, 5),
        ({"X-RateLimit-Reset-After": "1.25"}, 1.25),
        ({"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "1m30s"}, 90),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "6m0s"}, LONGEST_GUESS_S),
        ({"x-ratelimit-reset-requests": "2m59.56s", "x-ratelimit-remaining-requests": "0"}, 179.56),
        # Brave: one window of a second and one of a month.
        ({"X-RateLimit-Remaining": "0, 15000", "X-RateLimit-Reset": "1, 1419704"}, 1),
        ({"X-RateLimit-Remaining": "1, 0", "X-RateLimit-Reset": "1, 1419704"}, 1_419_704),
        # Without a word on what is left, a far reset is a guess.
        ({"X-RateLimit-Reset": "3500"}, LONGEST_GUESS_S),
        ({"Retry-After": "3500"}, 3500),
        ({}, 0),
    ],
)
def test_waits_are_read_in_seconds(headers: dict[str, str], wait: float) -> None:
    assert asked_wait(headers) == pytest.approx(wait)


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": format_datetime(SOON, usegmt=True)},
        {"X-RateLimit-Reset": str(int(SOON.timestamp()))},
        {"X-RateLimit-Reset": str(int(SOON.timestamp() * 1000))},
        {"X-RateLimit-Reset": f"{SOON.timestamp():.3f}"},
        {"anthropic-ratelimit-requests-reset": SOON.isoformat()},
        {"anthropic-ratelimit-requests-reset": SOON.strftime("%Y-%m-%dT%H:%M:%SZ")},
        {"X-RateLimit-Reset": format_datetime(SOON, usegmt=True)},
    ],
    ids=str,
)
def test_points_in_time_are_waited_for(headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("innersearch.net.waits.datetime", Clock)
    assert asked_wait(headers) == 40


class Clock(datetime):
    """It is always 40 seconds before `SOON`."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return (SOON - timedelta(seconds=40)).astimezone(tz)


@pytest.mark.parametrize(
    "value",
    [
        *("soon", "", "-3", "1e3", "nan", "inf", "²", "٣", "9" * 5_000, "1" * 400, "0x10", "1_000"),
        *("Mon, 99 Foo", "Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 10000 00:00:00 GMT"),
        *("Thu, 01 Jan 1970 00:00:00 +9999999999", "9999-99-99T00:00:00Z", "1m1m1", "m", "\x00", "1;2"),
        *("Thu, 01 Jan 1970 00:00:00 GMT", "," * 2_000, '"a";r=;t='),
    ],
    ids=lambda value: ascii(value[:30]),
)
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "ratelimit", "x-ratelimit-reset"])
def test_whatever_cannot_be_read_is_no_wait(name: str, value: str) -> None:
    assert asked_wait({name: value}) == 0
