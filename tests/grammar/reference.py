"""Readers of grammars that share no code with the library: a recursive parser, a walk over letters."""

from __future__ import annotations

from typing import NamedTuple

from innersearch.grammar import Block, Grammar
from innersearch.types import Kind


class _Tag(NamedTuple):
    start: int
    end: int
    kind: Kind
    opens: bool


class Reference:
    """The blocks of a text by recursive descent."""

    def __init__(self, grammar: Grammar, text: str) -> None:
        self._grammar, self._text = grammar, text
        self._tags = list(self._find())
        self.blocks: list[Block] = []
        self._read()

    def _find(self) -> list[_Tag]:
        found, at = [], 0
        ends = [(k, end == t.opens, end) for k, t in self._grammar.tags.items() for end in t]
        while at < len(self._text):
            here = [(k, opens, end) for k, opens, end in ends if self._text.startswith(end, at)]
            for kind, opens, end in here[:1]:
                found.append(_Tag(at, at + len(end), kind, opens))
                at += len(end) - 1
            at += 1
        return found

    def _emit(
        self, kind: Kind, start: int, content: int, content_end: int, end: int, closed: bool
    ) -> None:
        if end > start:
            self.blocks.append(Block(kind, start, content, content_end, end, closed))

    def _read(self) -> None:
        start = 0
        while self._tags:
            tag = self._tags.pop(0)
            if tag.opens:
                self._emit(Kind.TEXT, start, start, tag.start, tag.start, True)
                start = self._block(tag, inside=False)
        self._emit(Kind.TEXT, start, start, len(self._text), len(self._text), True)

    def _block(self, opened: _Tag, *, inside: bool) -> int:
        kind, start, content = opened.kind, opened.start, opened.end
        if kind is Kind.INFORMATION:
            return self._information(opened)
        opaque = self._grammar.opaque
        while self._tags:
            tag = self._tags[0]
            nests = tag.kind in self._grammar.nested
            if kind is Kind.THINK and tag.opens and nests:
                self._emit(kind, start, content, tag.start, tag.start, True)
                start = content = self._block(self._tags.pop(0), inside=True)
            elif tag.kind is kind and not tag.opens:
                self._emit(kind, start, content, tag.start, self._tags.pop(0).end, True)
                return tag.end
            elif kind in opaque or (inside and tag.opens and not nests and Kind.THINK in opaque):
                self._tags.pop(0)
            elif tag.opens or (inside and tag.kind is Kind.THINK):
                self._emit(kind, start, content, tag.start, tag.start, False)
                return tag.start
            else:
                self._tags.pop(0)
        self._emit(kind, start, content, len(self._text), len(self._text), False)
        return len(self._text)

    def _information(self, opened: _Tag) -> int:
        depth = 1
        while self._tags:
            tag = self._tags.pop(0)
            if tag.kind is Kind.INFORMATION:
                depth += 1 if tag.opens else -1
            if not depth:
                self._emit(Kind.INFORMATION, opened.start, opened.end, tag.start, tag.end, True)
                return tag.end
        end = len(self._text)
        self._emit(Kind.INFORMATION, opened.start, opened.end, end, end, False)
        return end


def hidden_letters(grammar: Grammar, text: str) -> list[bool]:
    """Letter by letter, and once more for the end: content and closing tag of information."""
    hidden = [False] * (len(text) + 1)
    for block in Reference(grammar, text).blocks:
        if block.kind is Kind.INFORMATION:
            end = block.end if block.closed else len(text) + 1
            hidden[block.content_start : end] = [True] * (end - block.content_start)
    return hidden
