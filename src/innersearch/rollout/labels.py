"""What each token of a segment is, noted while the segment is written.

A scanner reads the text of the tokens as it comes. The blocks that it finds make regions of characters
that are alike; a token is what its characters are, as `innersearch.grammar.label` says it of a whole
text. A region near the end may still change, since what looks like text may begin a tag, so the last few
tokens wait until it cannot. Every token is looked at once, most of them a run at a time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from innersearch.grammar import Block, Grammar, MaskRule, Scanner
from innersearch.grammar import Mark as ScannerMark
from innersearch.rollout.places import Places
from innersearch.types import Kind, Source


class Part(NamedTuple):
    """What a run of tokens is."""

    kind: Kind
    source: Source
    call_id: int | None
    loss: bool


class Author(NamedTuple):
    """Who put tokens there, and whether they are the result of a call or stand around one."""

    source: Source
    result: bool = False


class _Region(NamedTuple):
    """What a run of characters is."""

    kind: Kind
    call_id: int | None
    returned: bool = False
    masked: bool = False


_BEYOND = _Region(Kind.TEXT, None)
"""Where no block is."""


class Mark(NamedTuple):
    """A point to which labels can be rolled back."""

    scanner: ScannerMark
    tokens: int
    labelled: int
    parts: int
    authors: int
    author: int
    regions: int
    blocks: int
    call: int | None
    calls: int
    asked: int
    returned: int
    injected: int


class Asked(NamedTuple):
    """A block that asks for something, and the id of its first call."""

    block: int
    """Its position among the blocks of the scanner."""
    call_id: int
    turn: int


class Labels:
    """The labels of the tokens of one segment.

    Args:
        grammar: How its text is read.
        rule: What carries no loss.
        first_call: Calls before it in its trajectory.
    """

    def __init__(self, grammar: Grammar, rule: MaskRule, first_call: int = 0) -> None:
        self.scanner = Scanner(grammar)
        self.places = Places()
        """Where the characters of each token begin."""
        self.asked: list[Asked] = []
        """All blocks that ask for something."""
        self.returned: list[tuple[int, int]] = []
        """All blocks of information with the call that they belong to."""
        self.injected: list[tuple[int, int]] = []
        """Characters that the policy did not write, from and to."""
        self.calls = first_call
        """Calls so far, which is the id of the next."""
        self.turn = 0
        """Replies before the one that is being written."""
        self.touched = 0
        """Steps of labelling so far."""
        self.read = 0
        """Characters read so far."""
        self._rule, self._asking = rule, grammar.reads.keys() - {Kind.ANSWER}
        self._reach = max(map(len, grammar.markup))
        self._parts: list[Part] = []
        self._ends: list[int] = []
        self._labelled = 0
        self._authors: list[tuple[int, Author]] = []
        self._author = 0
        self._cuts: list[int] = []
        self._regions: list[_Region] = []
        self._blocks = 0
        self._call: int | None = None
        self._memory: dict[tuple[_Region, Author], Part] = {}

    def add(self, pieces: Sequence[str], visible: str, author: Author, *, hidden: bool = False) -> None:
        """Note tokens that complete `pieces`; `visible` is what the grammar reads of them, nothing where
        it is hidden.
        """
        if not self._authors or self._authors[-1][1] != author:
            self._authors.append((len(self.places), author))
        start = self.scanner.length
        self.scanner.feed(visible)
        self.places.add(pieces, start, self.scanner.length)
        self.read += len(visible)
        # What is hidden begins no tag.
        self._settle(self.scanner.length if hidden and visible else self._settled())

    def end_turn(self) -> None:
        """What is open ends here."""
        self.scanner.end_turn()

    def mark(self) -> Mark:
        """This point, to roll back to."""
        return Mark(
            self.scanner.mark(),
            len(self.places),
            self._labelled,
            len(self._parts),
            len(self._authors),
            self._author,
            len(self._regions),
            self._blocks,
            self._call,
            self.calls,
            len(self.asked),
            len(self.returned),
            len(self.injected),
        )

    def roll_back(self, mark: Mark) -> None:
        """Forget everything after `mark`."""
        self.scanner.roll_back(mark.scanner)
        self.places.cut(mark.tokens)
        for noted, kept in (
            (self._parts, mark.parts),
            (self._ends, mark.parts),
            (self._authors, mark.authors),
            (self._cuts, mark.regions),
            (self._regions, mark.regions),
            (self.asked, mark.asked),
            (self.returned, mark.returned),
            (self.injected, mark.injected),
        ):
            del noted[kept:]
        self._labelled, self._author, self._blocks = mark.labelled, mark.author, mark.blocks
        self._call, self.calls = mark.call, mark.calls
        if self._ends:
            self._ends[-1] = mark.labelled

    def runs(self) -> list[tuple[Part, int, int]]:
        """All runs of tokens that are alike: what they are, first token and end. Nothing can be added
        any more.
        """
        self._settle(self.scanner.length)
        if self._labelled < len(self.places):
            # Tokens that complete no character belong to what was closed by no tag of its own.
            self._note(self._unclosed(), len(self.places))
        starts = [0, *self._ends[:-1]]
        return list(zip(self._parts, starts, self._ends, strict=True)) if self._parts else []

    def asked_since(self, block: int) -> list[Asked]:
        """The blocks that ask for something from a position on."""
        return self.asked[bisect_left(self.asked, block, key=itemgetter(0)) :]

    def is_injected(self, block: Block) -> bool:
        """Whether anything in a block was put there."""
        after = bisect_right(self.injected, block.start, key=itemgetter(1))
        return after < len(self.injected) and self.injected[after][0] < block.end

    def authors(self) -> list[tuple[Source, int, int]]:
        """All runs of tokens with the same author: who, first token and end."""
        bounds = [*(start for start, _ in self._authors), len(self.places)]
        runs = zip(self._authors, pairwise(bounds), strict=True)
        return [(author.source, start, end) for (_, author), (start, end) in runs]

    def tokens(self, start: int, end: int) -> range:
        """The tokens with a character in `[start, end)`, or on both sides of it where it is empty."""
        places = self.places
        first = places.start(places.last_until(start))
        return range(places.first_from(first), places.first_from(end))

    def _settled(self) -> int:
        """Characters that nothing that follows can make something else."""
        scanner = self.scanner
        return max(scanner.current.content_start, scanner.length - self._reach + 1)

    def _unclosed(self) -> _Region:
        """The last block without its closing tag, with which `label` ends as well."""
        found = next((block for block in reversed(self.scanner.finish()) if not block.closed), None)
        if found is None:
            return _BEYOND
        place = bisect_right(self._cuts, found.start) - 1
        return self._regions[place + (found.kind is Kind.INFORMATION)]

    def _find_regions(self, limit: int) -> None:
        """Note the regions of blocks that begin before `limit`."""
        blocks, current = self.scanner.blocks, self.scanner.current
        for index in range(self._blocks, len(blocks)):
            block = blocks[index]
            self._add_regions(index, block.kind, block.start, block.content_start)
        self._blocks = max(self._blocks, len(blocks))
        if self._blocks == len(blocks) and current.start < limit:
            self._add_regions(len(blocks), *current)
            self._blocks += 1

    def _add_regions(self, index: int, kind: Kind, start: int, content_start: int) -> None:
        if kind in self._asking:
            self._call = self.calls
            self.asked.append(Asked(index, self.calls, self.turn))
            self.calls += 1
        call = self._call if kind is Kind.INFORMATION or kind in self._asking else None
        if kind is not Kind.INFORMATION:
            self._add_region(start, _Region(kind, call))
            return
        if call is not None:
            self.returned.append((index, call))
        masked = self._rule.information
        self._add_region(start, _Region(kind, call, masked=masked and self._rule.opening_tag))
        self._add_region(content_start, _Region(kind, call, returned=True, masked=masked))

    def _add_region(self, start: int, region: _Region) -> None:
        self._cuts.append(start)
        self._regions.append(region)

    def _settle(self, limit: int) -> None:
        """Label the tokens that end before `limit`."""
        self._find_regions(limit)
        places, cuts, count = self.places, self._cuts, len(self.places)
        while self._labelled < count and (start := places.start(self._labelled)) < limit:
            place = bisect_right(cuts, start) - 1
            end = min(limit, cuts[place + 1]) if place + 1 < len(cuts) else limit
            after = places.first_from(end)
            reach = places.start(after) if after < count else self.scanner.length
            inside = after if reach <= end else places.first_from(places.start(after - 1))
            if inside > self._labelled:
                self._note(self._regions[place], inside)
            elif reach <= limit:
                self._note(self._across(place, reach), after)
            else:
                return

    def _across(self, place: int, end: int) -> _Region:
        """What a token is that begins in a region and ends in another."""
        regions = self._regions[place : bisect_left(self._cuts, end, place)]
        first = next((region for region in regions if region.returned), regions[0])
        returned, masked = any(r.returned for r in regions), any(r.masked for r in regions)
        return first._replace(returned=returned, masked=masked)

    def _note(self, region: _Region, until: int) -> None:
        """The tokens up to `until` that have no label yet are in a region."""
        while self._labelled < until:
            self.touched += 1
            if self._author + 1 < len(self._authors):
                if self._authors[self._author + 1][0] <= self._labelled:
                    self._author += 1
                    continue
                end = min(until, self._authors[self._author + 1][0])
            else:
                end = until
            part = self._part(region, self._authors[self._author][1])
            if self._parts and self._parts[-1] == part:
                self._ends[-1] = end
            else:
                self._parts.append(part)
                self._ends.append(end)
            self._labelled = end

    def _part(self, region: _Region, author: Author) -> Part:
        part = self._memory.get((region, author))
        if part is None:
            part = self._memory[region, author] = _part(region, author)
        return part


def _part(region: _Region, author: Author) -> Part:
    if author.result:
        return Part(Kind.INFORMATION, author.source, region.call_id, loss=False)
    if author.source is not Source.POLICY:
        return Part(region.kind, author.source, region.call_id, loss=False)
    source = Source.SELF_SEARCH if region.returned else Source.POLICY
    return Part(region.kind, source, region.call_id, loss=not region.masked)
