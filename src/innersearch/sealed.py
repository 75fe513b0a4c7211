"""Benchmarks whose texts must never stand on a disk or on the web in plain words: BrowseComp.

Its rows are published sealed: XOR with the SHA-256 of a canary string that stands beside them, in base64
(openai/simple-evals, browsecomp_eval.py). That keeps no secret; it keeps texts out of crawls. So
questions are opened in memory only, files of them are kept as published, and records seal every text
again with the same canary.

    >>> sealed = seal("Who founded Coltek?", "canary")
    >>> sealed, unseal(sealed, "canary")
    ('tmiU7mbjcYIkBh7Q7P6XW2DF0g==', 'Who founded Coltek?')
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any

from innersearch.errors import DataError
from innersearch.types import Question

CANARY = "canary"
"""Where rows, the metadata of questions, and records keep what seals their texts."""
_TEXTS = ("question", "golden_answers", "answer", "answers")


def seal(text: str, canary: str) -> str:
    """The text as it may be written."""
    return base64.b64encode(_xor(text.encode(), canary)).decode()


def unseal(sealed: str, canary: str) -> str:
    """The text that was sealed.

    Raises:
        DataError: It was not sealed with that canary.
    """
    try:
        return _xor(base64.b64decode(sealed, validate=True), canary).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise DataError("a sealed text does not open with the canary beside it") from None


def _xor(data: bytes, canary: str) -> bytes:
    key = hashlib.sha256(canary.encode()).digest()
    return bytes(a ^ b for a, b in zip(data, cycle(key), strict=False))


def is_sealed(question: Question) -> bool:
    """Whether the question's texts must not be written in plain words."""
    return CANARY in question.metadata


def any_sealed(questions: Iterable[Question]) -> bool:
    """Whether any question is sealed."""
    return any(map(is_sealed, questions))


def seal_record(record: dict[str, Any], question: Question) -> dict[str, Any]:
    """A record as it may be written: as it is, or with its texts sealed and the canary beside them."""
    if not is_sealed(question):
        return record
    canary = question.metadata[CANARY]
    return _texts(record, lambda text: seal(text, canary)) | {CANARY: canary}


def unseal_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record as it was before `seal_record`."""
    if CANARY not in record:
        return record
    canary = record[CANARY]
    opened = _texts(record, lambda text: unseal(text, canary))
    return {key: value for key, value in opened.items() if key != CANARY}


def _texts(record: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(item) for item in value]
        return change(value) if isinstance(value, str) else value

    return {key: changed(value) if key in _TEXTS else value for key, value in record.items()}
