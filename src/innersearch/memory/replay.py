"""A memory from the record of a trajectory: what its calls asked for, and what they returned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from innersearch.config.harness import HarnessSettings
from innersearch.memory.changes import curate, discover, verdict
from innersearch.memory.state import Answer, Memory, Verdict
from innersearch.types import Call

FINDS = ("search", "fan_out", "grep", "read")
"""Tools that bring documents into the pool."""


def replay(calls: Iterable[Call], settings: HarnessSettings) -> Memory:
    """The memory after these calls; failed ones changed nothing."""
    memory = Memory()
    for call in calls:
        memory = after(memory, call, settings)
    return memory


def after(memory: Memory, call: Call, settings: HarnessSettings) -> Memory:
    """The memory after one more call."""
    if call.error is not None:
        return memory
    if call.tool in FINDS:
        return discover(memory, call.input, call.documents, settings, call.tool)
    if call.tool == "curate":
        return curate(memory, *wanted(arguments(call.input)), settings)[0]
    if call.tool == "verify":
        claim = claim_of(arguments(call.input))
        said = (Verdict(one.id, claim, Answer(one.title), one.text) for one in call.documents)
        return verdict(memory, said)
    return memory


def arguments(text: str) -> dict[str, Any]:
    """The arguments of a call that is recorded with all of them."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def wanted(given: Mapping[str, Any]) -> tuple[list[str], list[str], dict[str, str]]:
    """What a call of `curate` adds and removes, and how important it says that is."""
    levels = given.get("importance")
    add = ids(given.get("add"))
    if isinstance(levels, str):
        levels = dict.fromkeys(add, levels)
    named = levels if isinstance(levels, dict) else {}
    rated = {name.strip(): level.strip() for name, level in named.items() if isinstance(level, str)}
    return add, ids(given.get("remove")), rated


def verdicts(given: Mapping[str, Any]) -> list[Verdict]:
    """What a call of `verify` says: one answer for all its documents, or one for each."""
    claim, names, said = claim_of(given), ids(given.get("ids")), given.get("verdict")
    answers = ids(said) if isinstance(said, list) else [said] * len(names)
    reasons = given.get("reason")
    because = ids(reasons) if isinstance(reasons, list) else [reasons] * len(names)
    return [
        Verdict(name, claim, _answer(_at(answers, place)), str(_at(because, place) or ""))
        for place, name in enumerate(names)
    ]


def claim_of(given: Mapping[str, Any]) -> str:
    """What a call of `verify` is about, in one line."""
    return " ".join(str(given.get("claim") or "").split())


def ids(value: Any) -> list[str]:
    """Texts, given as one or as a list."""
    if isinstance(value, str):
        return [value.strip()] if value.strip() else []
    listed = value if isinstance(value, list) else []
    return [text.strip() for text in listed if isinstance(text, str) and text.strip()]


def _answer(said: object) -> Answer:
    text = str(said).strip().lower()
    return Answer(text) if text in set(Answer) else Answer.UNKNOWN


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None
