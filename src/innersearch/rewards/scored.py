"""A trajectory as measures see it, read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

from innersearch.grammar import TAGS, Block, Grammar, scan
from innersearch.grammar.transcript import transcript
from innersearch.thoughts import spoken
from innersearch.types import Call, Kind, Source, Trajectory

_POLICY_WRITTEN = (Source.POLICY, Source.SELF_SEARCH)


class Scored:
    """What a trajectory's policy wrote, what it called, and the gold answers.

    Args:
        trajectory: The trajectory.
        grammar: How its policy writes.
        direct: Whether all that stands after its last thought is the answer: the baseline without
            search.
    """

    def __init__(self, trajectory: Trajectory, grammar: Grammar = TAGS, *, direct: bool = False) -> None:
        self.trajectory, self.grammar, self._direct = trajectory, grammar, direct

    @cached_property
    def text(self) -> str:
        """What the policy wrote, with a placeholder for each result of a search."""
        return transcript(self.trajectory, self.grammar)

    @cached_property
    def blocks(self) -> list[Block]:
        """The blocks of that text."""
        return scan(self.text, self.grammar)

    @cached_property
    def answer(self) -> str | None:
        """The answer of the policy, or None; that of a program stands in its trajectory."""
        if self.trajectory.agent is not None:
            return self.trajectory.answer
        if self._direct or self.grammar.untagged:
            return spoken(self.text).last
        answers = (b for b in reversed(self.blocks) if b.kind is Kind.ANSWER and b.closed)
        last = next(answers, None)
        return last and last.content(self.text).strip()

    @property
    def golds(self) -> Sequence[str]:
        """The gold answers."""
        return self.trajectory.question.golden_answers

    @property
    def calls(self) -> Sequence[Call]:
        """Whatever was asked for."""
        return self.trajectory.calls

    @cached_property
    def replies(self) -> list[str]:
        """What stands between the results: of each stretch all that the policy wrote, and what the
        framework wrote for it at its beginning.
        """
        return [text for text, _ in self._stretches]

    @property
    def readings(self) -> list[bool]:
        """Of each of them, whether it stands between two parts of a page."""
        return [between for _, between in self._stretches]

    @cached_property
    def _stretches(self) -> list[tuple[str, bool]]:
        found = [""]
        sources: list[Source | None] = [None]
        """What stands before each, and at last what stands behind."""
        for segment in self.trajectory.segments:
            # What came back stands in the prompt of a new segment; a thought about it goes on there.
            if found[-1] and self._asks(found[-1]):
                found.append("")
                sources.append(None)
            for span in segment.spans:
                if span.source is Source.TEMPLATE:
                    continue
                if span.source in _POLICY_WRITTEN or span.kind is not Kind.INFORMATION:
                    found[-1] += span.text
                elif found[-1]:
                    found.append("")
                    sources.append(span.source)
                elif Source.PAGE is span.source:
                    sources[-1] = span.source
        pages = [source is Source.PAGE for source in (*sources, None)]
        between = (before and after for before, after in pairwise(pages))
        return [one for one in zip(found, between, strict=True) if one[0].strip()]

    def _asks(self, text: str) -> bool:
        return any(block.kind in self.grammar.reads for block in scan(text, self.grammar))
