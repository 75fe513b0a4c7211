"""Blocks of a text, found whole or while it is written.

Inside `<information>` only its own tags count, nested ones are matched, and a block that is never
closed runs to the end: whatever a search returned, nothing in it is read as anything else. Elsewhere
an opening tag ends the block before it, and a closing tag without its opening tag is plain text.

Where a grammar lets blocks stand inside a thought, the thought comes in several parts: all but the
last are closed, since nothing is missing of them, and only the first has the opening tag. The closing
tag of the thought also ends what is still open inside it.

    >>> [(b.kind.value, b.closed) for b in scan("<think>a</think> <answer>b")]
    [('think', True), ('text', True), ('answer', False)]
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, Self

from innersearch.grammar.base import Block, Grammar
from innersearch.grammar.tags import TAGS
from innersearch.thoughts import spoken
from innersearch.types import Kind


def scan(text: str, grammar: Grammar = TAGS) -> list[Block]:
    """Cut `text` into blocks that cover it without gaps, in order. Empty text has no blocks."""
    return Scanner(grammar).feed(text).finish()


def last_answer(text: str, grammar: Grammar = TAGS) -> str | None:
    """The stripped content of the last closed answer block outside information, or None; where answers
    are untagged, what is said after the last thought.
    """
    if grammar.untagged:
        return spoken(text).last
    blocks = scan(text, grammar)
    answers = [b.content(text) for b in blocks if b.kind is Kind.ANSWER and b.closed]
    return answers[-1].strip() if answers else None


class Open(NamedTuple):
    """A block that has begun."""

    kind: Kind
    start: int
    content_start: int


class Mark(NamedTuple):
    """A point of a text to which its scanner can be rolled back."""

    blocks: int
    current: Open
    depth: int
    within: bool
    length: int
    tail: str


class Scanner:
    """Finds the blocks of a text that comes in pieces, in time proportional to it.

    Tags may be torn between pieces. Characters that are not to be read are fed as NUL.
    """

    def __init__(self, grammar: Grammar = TAGS) -> None:
        self._pattern, self._tags, self._reach = _table(grammar)
        self._nested, self._opaque = grammar.nested, grammar.opaque
        self._shut = Kind.THINK in grammar.opaque
        self.blocks: list[Block] = []
        """Those that have ended, in order."""
        self.current = Open(Kind.TEXT, 0, 0)
        """The one that has not."""
        self.length = 0
        """Characters so far."""
        self._depth = 0
        self._within = False
        self._tail = ""

    def feed(self, text: str) -> Self:
        """Read on."""
        text_from = self.length - len(self._tail)
        text = self._tail + text
        done = 0
        for tag in self._pattern.finditer(text):
            kind, opens = self._tags[tag[0]]
            self._take(kind, text_from + tag.start(), text_from + tag.end(), opens=opens)
            done = tag.end()
        self.length = text_from + len(text)
        self._tail = text[max(done, len(text) - self._reach + 1) :]
        return self

    def finish(self) -> list[Block]:
        """All blocks, the open one included, which may go on all the same."""
        if self.length == self.current.start:
            return list(self.blocks)
        closed = self.current.kind is Kind.TEXT
        return [*self.blocks, Block(*self.current, self.length, self.length, closed)]

    def end_turn(self) -> None:
        """What is open ends here, and so does the beginning of a tag."""
        self._end(self.length, closed=self.current.kind is Kind.TEXT)
        self._begin(Kind.TEXT, self.length)
        self._tail = ""

    def mark(self) -> Mark:
        """This point, to roll back to."""
        return Mark(len(self.blocks), self.current, self._depth, self._within, self.length, self._tail)

    def roll_back(self, mark: Mark) -> None:
        """Forget everything after `mark`."""
        del self.blocks[mark.blocks :]
        _, self.current, self._depth, self._within, self.length, self._tail = mark

    def _take(self, kind: Kind, start: int, end: int, *, opens: bool) -> None:
        now = self.current.kind
        if now is Kind.INFORMATION:
            if kind is Kind.INFORMATION:
                self._depth += 1 if opens else -1
                if not self._depth:
                    self._close(start, end)
        elif opens:
            nests = kind in self._nested and (self._within or now is Kind.THINK)
            parts = nests and now is Kind.THINK
            if parts or not (now in self._opaque or (self._within and not nests and self._shut)):
                self._end(start, closed=parts or now is Kind.TEXT)
                self.current, self._depth, self._within = Open(kind, start, end), 1, nests
        elif kind is now:
            self._close(start, end)
        elif kind is Kind.THINK and self._within and now not in self._opaque:
            self._end(start, closed=False)
            self._begin(Kind.THINK, start)
            self._close(start, end)

    def _close(self, start: int, end: int) -> None:
        """The closing tag of the current block stands there."""
        self.blocks.append(Block(*self.current, start, end, closed=True))
        self._begin(Kind.THINK if self._within else Kind.TEXT, end)

    def _end(self, end: int, *, closed: bool) -> None:
        """The current block ends there without a tag."""
        if end > self.current.start:
            self.blocks.append(Block(*self.current, end, end, closed))

    def _begin(self, kind: Kind, start: int) -> None:
        self.current, self._depth, self._within = Open(kind, start, start), 0, False


@lru_cache(maxsize=64)
def _table(grammar: Grammar) -> tuple[re.Pattern[str], dict[str, tuple[Kind, bool]], int]:
    """What finds a tag, what each of them says, and the length of the longest."""
    tags = {end: (kind, end == tag.opens) for kind, tag in grammar.tags.items() for end in tag}
    return re.compile("|".join(map(re.escape, tags))), tags, max(map(len, tags))
