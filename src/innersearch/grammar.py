"""The tag grammar: blocks in text, and from them the spans and loss mask of tokens.

`scan` cuts a text into blocks. Inside `<information>` only its own tags count, nested ones are
matched, and a block that is never closed runs to the end: whatever a search returned, nothing in it
is read as anything else. Elsewhere an opening tag ends the block before it, and a closing tag
without its opening tag is plain text.

`label` carries blocks over to tokens by the characters each token stands for. A token with one
character inside a masked interval is masked. Nothing is ever encoded again.

    >>> [(b.kind.value, b.closed) for b in scan("<think>a</think> <answer>b")]
    [('think', True), ('text', True), ('answer', False)]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from innersearch.types import Kind

TAGGED = (Kind.THINK, Kind.SEARCH, Kind.INFORMATION, Kind.ANSWER)
"""The kinds that have tags."""

_NAMES = "|".join(TAGGED)
_TAG = re.compile(rf"<(?P<slash>/?)(?P<name>{_NAMES})>")
_TAG_LIKE = re.compile(
    rf"[<＜﹤]\s*(?P<inner>/?\s*(?:{_NAMES})\b[^<>＜＞﹤﹥]{{0,64}})[>＞﹥]", re.IGNORECASE
)


def opening(kind: Kind) -> str:
    """The opening tag, for example `<search>`."""
    return f"<{kind}>"


def closing(kind: Kind) -> str:
    """The closing tag, for example `</search>`."""
    return f"</{kind}>"


def render(kind: Kind, content: str) -> str:
    """`content` between the tags of `kind`."""
    return f"{opening(kind)}{content}{closing(kind)}"


def neutralise(text: str) -> str:
    """Text of a document, with everything that looks like a protocol tag put in square brackets.

    >>> neutralise("x</information><ANSWER >y")
    'x[/information][ANSWER ]y'
    """
    return _TAG_LIKE.sub(r"[\g<inner>]", text)


class Block(NamedTuple):
    """One block of a text, in character offsets; `[content_start, content_end)` excludes the tags."""

    kind: Kind
    start: int
    content_start: int
    content_end: int
    end: int
    closed: bool

    def content(self, text: str) -> str:
        """What stands between the tags."""
        return text[self.content_start : self.content_end]


class _Open(NamedTuple):
    kind: Kind
    start: int
    content_start: int


def scan(text: str) -> list[Block]:
    """Cut `text` into blocks that cover it without gaps, in order. Empty text has no blocks."""
    blocks: list[Block] = []
    current = _Open(Kind.TEXT, 0, 0)
    depth = 0

    def close(content_end: int, end: int, *, closed: bool) -> None:
        if end > current.start:
            blocks.append(Block(*current, content_end, end, closed))

    for tag in _TAG.finditer(text):
        kind, opens = Kind(tag["name"]), not tag["slash"]
        if current.kind is Kind.INFORMATION:
            if kind is not Kind.INFORMATION:
                continue
            depth += 1 if opens else -1
            if depth:
                continue
            close(tag.start(), tag.end(), closed=True)
            current = _Open(Kind.TEXT, tag.end(), tag.end())
        elif opens:
            close(tag.start(), tag.start(), closed=current.kind is Kind.TEXT)
            current = _Open(kind, tag.start(), tag.end())
            depth = 1
        elif kind is current.kind:
            close(tag.start(), tag.end(), closed=True)
            current = _Open(Kind.TEXT, tag.end(), tag.end())
    close(len(text), len(text), closed=current.kind is Kind.TEXT)
    return blocks


def last_answer(text: str) -> str | None:
    """The stripped content of the last closed answer block outside information, or None."""
    answers = [b.content(text) for b in scan(text) if b.kind is Kind.ANSWER and b.closed]
    return answers[-1].strip() if answers else None


@dataclass(frozen=True, slots=True)
class MaskRule:
    """Which characters carry no loss: the one place that decides it.

    The default masks the content and the closing tag of information; writing the opening tag is the
    policy's own decision and stays in the loss.
    """

    information: bool = True
    opening_tag: bool = False

    def first_masked(self, block: Block) -> int | None:
        """Where the masked characters of an information block begin; None if it is not masked."""
        if not self.information:
            return None
        return block.start if self.opening_tag else block.content_start


def intervals(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Character interval `[start, end)` of each token, given the text that each token completed.

    A token that only begins a character ("" in `pieces`) shares the interval of the token that
    completes it; at the very end it stands for one character yet to come.

    >>> intervals(["ab", "", "é", ""])
    [(0, 2), (2, 3), (2, 3), (3, 4)]
    """
    result: list[tuple[int, int]] = []
    start, waiting = 0, 0
    for piece in pieces:
        waiting += 1
        if piece:
            result += [(start, start + len(piece))] * waiting
            start, waiting = start + len(piece), 0
    return result + [(start, start + 1)] * waiting


class Label(NamedTuple):
    """What the grammar says of one token."""

    block: int | None
    """Position of its block in the given blocks; None after the end of the last closed one."""
    returned: bool
    """Whether it stands for content or closing tag of information: what a search returned."""
    masked: bool
    """Whether it carries no loss."""


def label(pieces: Sequence[str], blocks: Sequence[Block], rule: MaskRule) -> list[Label]:
    """Label tokens by the blocks that `scan` found in their text, "".join(pieces).

    A token is masked if any of its characters is, and returned if any of its characters is; it
    belongs to the block of its first returned character, or else of its first character.
    """
    length = sum(map(len, pieces))
    owner: list[int | None] = [None] * (length + 1)
    returned, masked = bytearray(length + 1), bytearray(length + 1)
    for index, block in enumerate(blocks):
        # What is still open at the end also owns the tokens that complete no character there.
        end = block.end if block.closed else length + 1
        owner[block.start : end] = [index] * (end - block.start)
        if block.kind is Kind.INFORMATION:
            returned[block.content_start : end] = b"\1" * (end - block.content_start)
            first = rule.first_masked(block)
            if first is not None:
                masked[first:end] = b"\1" * (end - first)
    labels = []
    for start, end in intervals(pieces):
        offset = returned.find(1, start, end)
        block_index = owner[offset if offset >= 0 else start]
        labels.append(Label(block_index, offset >= 0, 1 in masked[start:end]))
    return labels
