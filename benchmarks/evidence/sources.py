"""Where the figures in tables of README.md and docs/ come from, outside of the blocks that are written
anew.

`sources.toml` names for each such table what it is: `stored` (a file of results in the repository),
`command` (a script that prints it anew), `published` (other people's, with the paper beside it),
`settings` (no measurements), or `historical` (a document that says so at its top).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from benchmarks.evidence.page import BLOCK, documents
from benchmarks.evidence.plan import HERE, ROOT, Part, read_toml

WHOLE = "docs/evidence.md"
"""Written anew as a whole."""
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?:^\|.*\n?)+", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Source(Part):
    """What a table, or all of a document, is."""

    file: str
    under: str = ""
    """The heading it stands under; all tables of the document where there is none."""
    kind: Literal["stored", "command", "published", "settings", "historical"]
    source: str = ""
    """A path in the repository."""


class Sources(Part):
    """All of them."""

    table: tuple[Source, ...]


def tables_with_figures(text: str) -> Iterator[tuple[str, str]]:
    """The heading and the text of each table that has digits below its head, fenced ones included."""
    text = BLOCK.sub("", text)
    fences = [found.span() for found in _FENCE.finditer(text)]
    headings = [
        (found.start(), found[1])
        for found in _HEADING.finditer(text)
        if not any(start <= found.start() < end for start, end in fences)
    ]
    for found in _TABLE.finditer(text):
        body = found[0].splitlines()[2:]
        if any(re.search(r"\d", line) for line in body):
            yield next((name for at, name in reversed(headings) if at < found.start()), ""), found[0]


def complaints(root: Path = ROOT, file: Path = HERE / "sources.toml") -> list[str]:
    """Tables of figures without a source, and sources that are not there, a line for each."""
    sources = read_toml(file, Sources).table
    used: set[Source] = set()
    said = []
    for path in documents(root):
        name = str(path.relative_to(root))
        if name == WHOLE:
            continue
        for heading, table in tables_with_figures(path.read_text(encoding="utf-8")):
            fitting = [s for s in sources if s.file == name and s.under in ("", heading)]
            used.update(fitting)
            if not fitting:
                begin = table.splitlines()[0][:60]
                said.append(
                    f"{name}, under {heading!r}: the table {begin} has figures and no source: let a "
                    "block of evidence write it, or say in sources.toml where it comes from"
                )
    for source in sources:
        where = f"sources.toml, {source.file} under {source.under or 'any heading'!r}"
        if source not in used:
            said.append(f"{where}: there is no such table with figures")
        elif source.kind in ("stored", "command") and not (root / (source.source or "?")).exists():
            said.append(f"{where}: there is no {source.source}")
        elif source.kind == "historical" and "**Historical.**" not in (root / source.file).read_text():
            said.append(f"{where}: {source.file} does not say at its top that it is historical")
    return said
