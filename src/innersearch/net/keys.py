"""Keys of servers: read from their environment variables, sent, and shown nowhere.

A key is read for each request and held nowhere; it stands in no error, record, representation, identity
or log, and is blotted out of what servers send back, however they wrote it.
"""

from __future__ import annotations

import base64
import html.entities
import logging
import os
import re
from functools import lru_cache
from typing import Self

from innersearch.errors import SearchError

_SHORTEST = 8
_BLOT = "[key]"


class Key:
    """The key of a server: the name of an environment variable, and its value only when it is needed.

    One of fewer than 8 characters is no secret and is not blotted out; most APIs have none so short.

    Raises:
        SearchError: The variable is not set, or holds no key.
    """

    def __init__(
        self, variable: str, name: str, *, shortest: int = _SHORTEST, needed: bool = True
    ) -> None:
        self.variable, self._name, self._shortest = variable, name, shortest
        if needed:
            self.read()

    @classmethod
    def if_set(cls, variable: str, name: str, *, shortest: int = 1) -> Self | None:
        """The key, or None where the variable is not set.

        Raises:
            SearchError: It holds no key.
        """
        if variable not in os.environ:
            return None
        return cls(variable, name, shortest=shortest)

    def read(self) -> str:
        """The key."""
        value = os.environ.get(self.variable, "").strip()
        if not value:
            raise SearchError(f"{self._name} needs a key: set the environment variable {self.variable}")
        if not value.isascii() or not value.isprintable() or " " in value or len(value) < self._shortest:
            raise SearchError(f"{self.variable} holds no key: its value is short or has odd characters")
        return value

    def bearer(self) -> dict[str, str]:
        """The header that most servers want."""
        return {"Authorization": f"Bearer {self.read()}"}

    def blot(self, text: str) -> str:
        """What a server sent, without the key in any of its spellings."""
        key = os.environ.get(self.variable, "").strip()
        return _spellings(key).sub(_BLOT, text) if len(key) >= _SHORTEST else text


@lru_cache(maxsize=32)
def _spellings(key: str) -> re.Pattern[str]:
    """The key as it is, percent-encoded, escaped as in JSON or HTML, mixed, in hexadecimal or base64."""
    plain = "".join(f"(?:{'|'.join(_character(c))})" for c in key)
    return re.compile("|".join([plain, f"(?i:{key.encode().hex()})", *map(re.escape, _base64(key))]))


def _character(character: str) -> list[str]:
    code = ord(character)
    names = [name for name, code_ in html.entities.name2codepoint.items() if code_ == code]
    names += ["apos"] * (character == "'") + ["sol"] * (character == "/") + ["plus"] * (character == "+")
    names += ["equals"] * (character == "=") + ["colon"] * (character == ":")
    return [
        *([] if character == "\\" else [rf"\\*{re.escape(character)}"]),
        *([r"\\+"] if character == "\\" else []),
        rf"(?i:%(?:25)*{code:02x})",
        rf"(?i:\\+u00{code:02x})",
        rf"(?i:\\+x{code:02x})",
        rf"&(?:amp;)*\#0*{code};",
        rf"(?i:&(?:amp;)*\#x0*{code:x};)",
        *(rf"&(?:amp;)*{name};" for name in names),
    ]


def _base64(key: str) -> set[str]:
    """What is the same of all base64 texts that hold the key, whatever stands before and behind it."""
    found = set()
    for before in range(3):
        raw = b"\0" * before + key.encode()
        encoded = base64.b64encode(raw).decode().rstrip("=")
        # The first and last character also depend on the neighbours.
        inner = encoded[(0, 2, 3)[before] : len(encoded) if len(raw) % 3 == 0 else -1]
        found |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return found


class _HideKeys(logging.Filter):
    """The client logs addresses, where SerpAPI takes its key, and the headers of answers."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Key] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = re.sub(r"(?i)((?:api_?)?(?:key|token)=)[^&\s]+", r"\1[hidden]", record.getMessage())
        for key in self.keys.values():
            text = key.blot(text)
        record.msg, record.args = text, ()
        return True


_hide_keys = _HideKeys()
_LOGGERS = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "proxy", "socks")))


def hide_in_logs(key: Key | None) -> None:
    """Take keys out of what the client logs."""
    if key is not None:
        _hide_keys.keys.setdefault(key.variable, key)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_hide_keys)
