"""Engines over the network as they are named: what is asked, where, and how.

    KIND[:URL][#OPTION[=VALUE][&OPTION[=VALUE]…]]

    remote:http://127.0.0.1:8000#single&key=RETRIEVER_TOKEN&deadline=120
    brave#per_second=1

Of every engine `deadline` (seconds of one call), `in_flight` (calls at once) and `per_second` can be
set; of `remote` also `key` (the environment variable of a bearer token), `single` (the server takes one
query at a time), `batch` (queries of one call) and `version` (what it has indexed, in one's own words).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, did_you_mean
from innersearch.net.patience import CallSettings

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine over the network is, and how it is asked."""

    kind: str
    address: str = ""
    calls: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the usual `CallSettings`."""
    remote: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `RemoteEngine`."""

    def patience(self, usual: CallSettings) -> CallSettings:
        """How patiently it is called."""
        return replace(usual, **self.calls)


def read_place(name: EngineName) -> Place:
    """The place of an engine, taken apart.

    Raises:
        ConfigError: There is no such option, or not with such a value.
    """
    kind = name.kind
    address, marked, options = name.place.partition("#")
    if marked and not options:
        raise ConfigError(f"engine {kind}: nothing follows the #; write for example #deadline=60")
    calls: dict[str, Any] = {}
    remote: dict[str, Any] = {}
    for option in filter(None, options.split("&")):
        key, given, value = option.partition("=")
        _set(kind, key, unquote(value) if given else None, calls, remote)
    return Place(kind, address, calls, remote)


def _set(
    kind: str, option: str, value: str | None, calls: dict[str, Any], remote: dict[str, Any]
) -> None:
    known = [*_CALLS, *(_REMOTE if kind == "remote" else ())]
    if option not in known:
        raise ConfigError(
            f"engine {kind} has no option {option!r} after the #; {did_you_mean(option, known)}"
        )
    where, (name, read, wanted) = (
        (calls, _CALLS[option]) if option in _CALLS else (remote, _REMOTE[option])
    )
    if name in where:
        raise ConfigError(f"engine {kind}: option {option!r} is given twice")
    try:
        where[name] = read(value)
    except (ValueError, OverflowError):
        # What was given may be a key in the wrong place.
        raise ConfigError(f"engine {kind}: option {option!r} must be {wanted}") from None


def _seconds(value: str | None) -> float:
    number = float(value or "")
    if not 0 < number < math.inf:
        raise ValueError
    return number


def _count(value: str | None) -> int:
    number = int(value or "")
    if not 0 < number <= 10_000:
        raise ValueError
    return number


def _yes(value: str | None) -> bool:
    if value not in (None, "", "1", "true", "yes"):
        raise ValueError
    return True


def _variable(value: str | None) -> str:
    if value is None or not _VARIABLE.fullmatch(value):
        raise ValueError
    return value


def _words(value: str | None) -> str:
    if not value:
        raise ValueError
    return value


_Option = tuple[str, Callable[[str | None], Any], str]
_CALLS: dict[str, _Option] = {
    "deadline": ("deadline_s", _seconds, "seconds above 0"),
    "in_flight": ("in_flight", _count, "a number from 1 to 10,000"),
    "per_second": ("per_second", _seconds, "a number above 0"),
}
_REMOTE: dict[str, _Option] = {
    "key": (
        "key_variable",
        _variable,
        "the name of an environment variable in capital letters; the key itself is written nowhere",
    ),
    "single": ("singular", _yes, "given without a value"),
    "batch": ("batch", _count, "a number from 1 to 10,000"),
    "version": ("version", _words, "some words, %-encoded where need be"),
}
