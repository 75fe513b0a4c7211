"""Where the characters of each token begin, worked out only for runs of tokens that are asked for.

Tokens that complete a character together begin where the first of them does. Most runs are documents,
all of which is one thing, so that nobody asks where one of their tokens begins.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, islice
from operator import attrgetter


class _Run:
    """Tokens that came at once."""

    def __init__(self, pieces: Sequence[str], token: int, start: int, end: int) -> None:
        self.token, self.start = token, start
        self.last = end - len(pieces[-1])
        """Where the last one begins."""
        self._pieces = pieces

    @cached_property
    def starts(self) -> list[int]:
        """Where each begins."""
        lengths = map(len, islice(self._pieces, len(self._pieces) - 1))
        return list(accumulate(lengths, initial=self.start))


class Places:
    """Where the characters of each token of a segment begin."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._count = 0

    def __len__(self) -> int:
        """Tokens so far."""
        return self._count

    def add(self, pieces: Sequence[str], start: int, end: int) -> None:
        """Tokens that complete the characters `[start, end)` come next."""
        if pieces:
            self._runs.append(_Run(pieces, self._count, start, end))
            self._count += len(pieces)

    def cut(self, count: int) -> None:
        """Keep the first tokens only, up to where some came at once."""
        while self._runs and self._runs[-1].token >= count:
            self._runs.pop()
        self._count = count

    def start(self, token: int) -> int:
        """Where a token begins."""
        run = self._runs[bisect_right(self._runs, token, key=attrgetter("token")) - 1]
        return run.start if token == run.token else run.starts[token - run.token]

    def first_from(self, character: int) -> int:
        """The first token that begins there or later."""
        place = bisect_left(self._runs, character, key=attrgetter("last"))
        if place == len(self._runs):
            return self._count
        run = self._runs[place]
        return run.token if run.start >= character else run.token + bisect_left(run.starts, character)

    def last_until(self, character: int) -> int:
        """The last token that begins there or before."""
        place = bisect_right(self._runs, character, key=attrgetter("start"))
        if place < len(self._runs) and self._runs[place - 1].last <= character:
            return self._runs[place].token - 1
        run = self._runs[place - 1]
        if run.last <= character:
            return self._count - 1
        return run.token + bisect_right(run.starts, character) - 1
