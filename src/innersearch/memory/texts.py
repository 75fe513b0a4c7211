"""A memory as text, in several degrees of detail: none of them leaves out a curated id or a verdict."""

from __future__ import annotations

import re
from collections.abc import Iterator

from innersearch.config.harness import HarnessSettings
from innersearch.memory.state import Answer, Importance, Memory
from innersearch.types import Document

DETAILS = 4
"""Degrees of detail; 0 is the fullest."""
_SNIPPET = (120, 60, 0, 0)
"""Characters of a document."""
_POOL = ((50, 30), (12, 20), (0, 16), (0, 0))
"""Documents of the pool that are shown with and without their beginning, the newest."""
_LOG = (12, 6, 2, 0)
_REASONS = (True, False, False, False)
_ENTITY = re.compile(
    r"\b(?:[A-Z][\w'-]+(?: (?:of |the )?[A-Z][\w'-]+){0,3}|1\d{3}|20\d{2})\b",
)
"""Runs of capitalised words, and years."""
_BRIDGED = 5
"""Documents that are named with each entity."""


def write(memory: Memory, settings: HarnessSettings, detail: int = 0) -> str:
    """The memory in a degree of detail, as it is now.

    Args:
        memory: What is written.
        settings: Limits that it says.
        detail: 0 is the fullest, `DETAILS` − 1 what must never be missing: curated ids and verdicts.
    """
    parts = [
        _curated(memory, settings, _SNIPPET[detail]),
        _verdicts(memory, reasons=_REASONS[detail]),
        _pool(memory, *_POOL[detail], _SNIPPET[detail]),
        _log(memory, _LOG[detail]),
        _bridges(memory, settings) if detail == 0 else "",
    ]
    return "\n".join(part for part in parts if part)


def _curated(memory: Memory, settings: HarnessSettings, characters: int) -> str:
    lines = [f"Curated {len(memory.curated)}/{settings.curated}:"]
    for level in Importance:
        names = [name for name, own in memory.curated.items() if own is level]
        if not names:
            continue
        if characters:
            lines += [f"{level}:", *(_snippet(memory.texts[name], characters) for name in names)]
        else:
            lines.append(f"{level}: {', '.join(names)}")
    return "\n".join(lines)


def _verdicts(memory: Memory, *, reasons: bool) -> str:
    """By claim and answer."""
    grouped: dict[tuple[str, Answer], list[str]] = {}
    for one in memory.verdicts:
        because = f" ({one.reason})" if reasons and one.reason else ""
        grouped.setdefault((one.claim, one.answer), []).append(one.document + because)
    return "\n".join(f"{claim} {answer}: {', '.join(said)}" for (claim, answer), said in grouped.items())


def _pool(memory: Memory, snippets: int, ids: int, characters: int) -> str:
    rest = [name for name in reversed(memory.pool) if name not in memory.curated]
    lines = [_snippet(memory.texts[name], characters) for name in rest[:snippets]]
    if others := rest[snippets : snippets + ids]:
        lines.append(f"{', '.join(others)}")
    if not lines:
        return ""
    copies = f", {len(memory.copies)} copies left out" if memory.copies else ""
    return "\n".join([f"Not curated, {len(rest)} of {len(memory.pool)} found{copies}:", *lines])


def _log(memory: Memory, lines: int) -> str:
    last = memory.log[len(memory.log) - lines :] if lines else ()
    said = (f"{one.tool} {one.input}: {one.returned} returned, {one.new} new" for one in last)
    return "\n".join(["Searches:", *said]) if last else ""


def _bridges(memory: Memory, settings: HarnessSettings) -> str:
    shared = sorted(
        (item for item in entities(memory).items() if len(item[1]) > 1),
        key=lambda item: -len(item[1]),
    )[: settings.entities]
    lines = (f"{name}: {', '.join(found[:_BRIDGED])}" for name, found in shared)
    return "\n".join(["In several documents:", *lines]) if shared else ""


def entities(memory: Memory) -> dict[str, list[str]]:
    """Names and years, and the documents of the pool in which each stands."""
    found: dict[str, list[str]] = {}
    for name in memory.pool:
        for entity in dict.fromkeys(_named(memory.texts[name])):
            found.setdefault(entity, []).append(name)
    return found


def _named(document: Document) -> Iterator[str]:
    for found in _ENTITY.finditer(f"{document.title}. {document.text}"):
        yield found[0]


def _snippet(document: Document, characters: int) -> str:
    """A document in one line, as far as there is room for it."""
    said = " ".join(f"{document.title}: {document.text}".split()).removeprefix(": ")
    return f"[{document.id}] {said[:characters].rstrip()}" if characters else document.id
