"""The commands and the Python of the documentation, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_PROGRAMS = "innersearch|python3?|make|pip|curl|apt-get|vllm|ray|git|npm|uvx|accelerate"
_BEGINS = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:{_PROGRAMS}|pytest|ruff)\b")
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_REMARK = re.compile(r"""((?:'[^']*'|"[^"]*"|[^'"])*?)(?:\s{2,}[^\s-]|\s+#\s).*""")


class Command(NamedTuple):
    """One line that somebody may type."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return [found[3] for found in _FENCE.finditer(page.read_text("utf-8")) if found[2] == language]


def commands() -> list[Command]:
    """All commands in fenced and indented blocks, without the remarks beside them."""
    return [Command(str(page.relative_to(ROOT)), text) for page in PAGES for text in _commands(page)]


def _commands(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    found = [(match.start(), match[3]) for match in _FENCE.finditer(text) if match[2] in _SHELLS]
    outside = _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    found += [(match.start(), match[0]) for match in _INDENTED.finditer(outside)]
    for _, block in sorted(found):
        for line in re.sub(r" *\\\n\s*", " ", block).splitlines():
            if _BEGINS.match(line.strip()) and len(_plain(line.strip()).split()) > 1:
                yield _plain(line.strip())


_SHELLS = ("", "bash", "console", "sh")
_INDENTED = re.compile(r"(?:^ {4}\S.*\n)+", re.MULTILINE)


def _plain(line: str) -> str:
    return match[1].rstrip() if (match := _REMARK.fullmatch(line)) else line
