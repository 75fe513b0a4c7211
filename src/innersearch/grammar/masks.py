"""From blocks in text to spans and loss mask of tokens: by the characters that each token stands for.

A token with one character inside a masked interval is masked. Nothing is ever encoded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from innersearch.grammar.base import Block
from innersearch.types import Kind


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
    labels, regions = _regions(sum(map(len, pieces)) + 1, blocks, rule)
    found = []
    for start, end in intervals(pieces):
        first = regions[start]
        if first == regions[end - 1]:
            found.append(labels[first])
            continue
        across = [labels[region] for region in dict.fromkeys(regions[start:end])]
        block = next((entry.block for entry in across if entry.returned), across[0].block)
        returned, masked = any(e.returned for e in across), any(e.masked for e in across)
        found.append(Label(block, returned, masked))
    return found


def _regions(length: int, blocks: Sequence[Block], rule: MaskRule) -> tuple[list[Label], list[int]]:
    """Runs of characters that are labelled alike, in order, and the run of each character."""
    labels, regions = [Label(None, returned=False, masked=False)], [0] * length

    def add(start: int, end: int, entry: Label) -> None:
        regions[start:end] = [len(labels)] * (end - start)
        labels.append(entry)

    for index, block in enumerate(blocks):
        # What is still open at the end also owns the tokens that complete no character there.
        end = block.end if block.closed else length
        add(block.start, end, Label(index, returned=False, masked=False))
        if block.kind is Kind.INFORMATION:
            first = rule.first_masked(block)
            if first is not None and first < block.content_start:
                add(first, block.content_start, Label(index, returned=False, masked=True))
            add(block.content_start, end, Label(index, returned=True, masked=first is not None))
    return labels, regions
