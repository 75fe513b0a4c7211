"""How a memory changes: documents are discovered, curated and judged.

>>> from innersearch.config.harness import HarnessSettings
>>> found = discover(Memory(), "who", [Document("a", "", "Zo rules.")], HarnessSettings())
>>> curate(found, ["a", "b"], [], {"a": "high"}, HarnessSettings())[1]
'curated 1/30; refused, since no search returned them: b'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from innersearch.config.harness import HarnessSettings
from innersearch.memory.state import Importance, LogLine, Memory, Verdict
from innersearch.types import Document

_RUN = 5
"""Words of a run by which documents are compared."""


def discover(
    memory: Memory,
    query: str,
    documents: Sequence[Document],
    settings: HarnessSettings,
    tool: str = "search",
) -> Memory:
    """The memory with what a call returned: into the pool, but for copies of what is there.

    The first documents that are ever found enter the curated set as fair, once. What is known already
    changes nothing but the log.
    """
    pool, texts = list(memory.pool), dict(memory.texts)
    found_by, copies = dict(memory.found_by), dict(memory.copies)
    for document in documents:
        if document.id in texts or document.id in copies:
            continue
        if original := _original(document, texts, settings.dedup):
            copies[document.id] = original
            continue
        pool.append(document.id)
        texts[document.id], found_by[document.id] = document, query
    new = pool[len(memory.pool) :]
    curated = dict(memory.curated)
    if new and not memory.seeded:
        room = max(0, min(settings.auto_seed, settings.curated - len(curated)))
        curated |= {name: Importance.FAIR for name in new[:room] if name not in curated}
    return replace(
        memory,
        pool=tuple(pool),
        texts=texts,
        curated=curated,
        found_by=found_by,
        copies=copies,
        seeded=memory.seeded or bool(new),
        log=(*memory.log, LogLine(tool, query, len(documents), len(new))),
    )


def curate(
    memory: Memory,
    add: Sequence[str],
    remove: Sequence[str],
    importance: Mapping[str, str],
    settings: HarnessSettings,
) -> tuple[Memory, str]:
    """The memory with another curated set, and what became of the request.

    Only documents of the pool can be chosen. Where the set is full, a newcomer takes the place of the
    least important one, the latest of several, if it outranks it, and is refused otherwise. The same
    request once more changes nothing.
    """
    wanted = dict.fromkeys([*add, *(name for name in importance if name in memory.curated)])
    unknown = [name for name in wanted if name not in memory.texts]
    curated = {name: level for name, level in memory.curated.items() if name not in set(remove) - {*add}}
    for name in wanted:
        if name in curated and name in importance:
            curated[name] = _importance(importance, name)
    newcomers = [name for name in wanted if name in memory.texts and name not in curated]
    refused, evicted = [], []
    for name in sorted(newcomers, key=lambda name: _importance(importance, name).rank):
        level = _importance(importance, name)
        if len(curated) >= settings.curated:
            worst = max(reversed(curated), key=lambda other: curated[other].rank)
            if curated[worst].rank <= level.rank:
                refused.append(name)
                continue
            del curated[worst]
            evicted.append(worst)
        curated[name] = level
    said = f"curated {len(curated)}/{settings.curated}"
    said += _named("refused, since no search returned them", unknown)
    said += _named("refused, since the set is full and they do not outrank any of it", refused)
    said += _named("removed for more important ones", evicted)
    return replace(memory, curated=curated), said


def verdict(memory: Memory, verdicts: Iterable[Verdict]) -> Memory:
    """The memory with what was said about documents and claims; the last word counts."""
    kept = {(one.document, one.claim): one for one in memory.verdicts}
    for one in verdicts:
        if one.document in memory.texts:
            kept[one.document, one.claim] = one
    return replace(memory, verdicts=tuple(kept.values()))


def _importance(given: Mapping[str, str], name: str) -> Importance:
    """What was said of a document; fair where it is none of the levels."""
    level = given.get(name)
    return Importance(level) if level in set(Importance) else Importance.FAIR


def _named(what: str, names: Sequence[str]) -> str:
    return f"; {what}: {', '.join(names)}" if names else ""


def _original(document: Document, texts: Mapping[str, Document], limit: float) -> str | None:
    """The document of the pool of which one is a copy."""
    if not limit:
        return None
    own = _runs(document.text)
    for name, other in texts.items():
        theirs = _runs(other.text)
        if own and len(own & theirs) >= limit * len(own | theirs):
            return name
    return None


@lru_cache(maxsize=4096)
def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """The runs of words of a text; a short one is one run."""
    words = text.lower().split()
    if not words:
        return frozenset()
    return frozenset(tuple(words[n : n + _RUN]) for n in range(max(1, len(words) - _RUN + 1)))
