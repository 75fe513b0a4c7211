"""Hears what an episode writes, token by token, and tells it by kinds: thoughts, queries, answers.

It stands between an episode and its policy. What was put in between two generations is found in the
prompt of the second. What the policy writes first and may take back, as a gate makes it, is told once it
stays; what is taken back after it was told stays told, and the text goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from innersearch.grammar import Scanner
from innersearch.policy.base import Completion, Request, Sampler
from innersearch.rollout.rules import Rules
from innersearch.token_text import Speller
from innersearch.types import Kind


class Part(NamedTuple):
    """A part of what stands in a trajectory."""

    kind: Kind
    text: str
    own: bool
    """Whether the policy wrote it."""


@dataclass(slots=True)
class _Piece:
    text: str
    own: bool


class Listening:
    """A sampler that tells what it samples.

    Args:
        sampler: Who samples.
        rules: How the text is read.
        prompt_ids: The prompt of the episode.
        hear: Told of each part; nobody by default.
        temperature: In place of that of the session.
        seed: Further name of the random numbers.
        unique: Name of the episode, among all that share the sampler.
    """

    def __init__(
        self,
        sampler: Sampler,
        rules: Rules,
        prompt_ids: Sequence[int],
        hear: Callable[[Part], None] | None = None,
        *,
        temperature: float | None = None,
        seed: int | None = None,
        unique: str = "",
    ) -> None:
        self.context = sampler.context
        self.content = ""
        """The answer so far."""
        self.reasoning = ""
        """All else so far."""
        self._sampler, self._rules, self._hear = sampler, rules, hear
        self._temperature, self._seed, self._unique = temperature, seed, unique
        self._told = list(prompt_ids)
        self._draft: list[int] = []
        self._speller = Speller(rules.tokenizer)
        self._scanner = Scanner(rules.grammar)
        self._waiting: list[_Piece] = []
        self._reach = max(map(len, rules.grammar.markup))
        self._done = 0

    async def generate(self, request: Request) -> Completion:
        """See `Sampler`."""
        if request.temperature is None:
            request = replace(request, temperature=self._temperature)
            self._catch_up(request.prompt_ids)
            live = request.stop is not self._rules.block_stop
            request = replace(request, heard=self._token if live else None)
        request = replace(
            request,
            stream=request.stream if self._seed is None else (self._seed, *request.stream),
            sequence=request.sequence and self._unique,
        )
        completion = await self._sampler.generate(request)
        whole = [*request.prompt_ids, *completion.token_ids]
        if request.heard is not None:
            # Not every policy tells its tokens one by one.
            self._catch_up(whole, own=True)
        elif request.stop is self._rules.block_stop:
            self._draft = whole
        return completion

    def end(self, token_ids: Sequence[int]) -> None:
        """The episode is over, and these are the tokens of its last segment."""
        self._catch_up(token_ids, own=True)
        self._tell(last=True)

    def _catch_up(self, token_ids: Sequence[int], *, own: bool = False) -> None:
        """Tell what was added since; nothing where something was taken back, or a prompt is another."""
        tokens, known = list(token_ids), len(self._told)
        added = tokens[known:] if tokens[:known] == self._told else []
        drafted = len(self._draft) if tokens[: len(self._draft)] == self._draft else 0
        self._told = tokens
        for place, token_id in enumerate(added, known):
            self._add(token_id, own=own or place < drafted)
        self._tell()

    def _token(self, token_id: int) -> None:
        self._told.append(token_id)
        self._add(token_id, own=True)
        self._tell()

    def _add(self, token_id: int, *, own: bool) -> None:
        if token_id in self._rules.tokenizer.all_special_ids:
            return
        spelled = self._speller.add(token_id)
        text = spelled.broken + spelled.text
        if text:
            self._scanner.feed(text)
            self._waiting.append(_Piece(text, own))

    def _tell(self, *, last: bool = False) -> None:
        """Tell the text of which it is sure what it is."""
        end = (
            self._scanner.length
            if last
            else max(self._scanner.current.content_start, self._scanner.length - self._reach + 1)
        )
        while self._waiting and self._done < end:
            kind, until, tag = self._kind_at(self._done)
            piece = self._waiting[0]
            size = min(len(piece.text), until - self._done, end - self._done)
            text, piece.text = piece.text[:size], piece.text[size:]
            if not piece.text:
                self._waiting.pop(0)
            self._done += size
            if not (tag and kind is Kind.ANSWER):
                self._say(Part(kind, text, piece.own))

    def _say(self, part: Part) -> None:
        if part.kind is Kind.ANSWER:
            self.content += part.text
        else:
            self.reasoning += part.text
        if self._hear is not None:
            self._hear(part)

    def _kind_at(self, place: int) -> tuple[Kind, int, bool]:
        """What stands at a place, to where, and whether it is a tag."""
        current = self._scanner.current
        if place >= current.start:
            inside = place >= current.content_start
            until = self._scanner.length if inside else current.content_start
            return current.kind, until, not inside
        block = next(b for b in reversed(self._scanner.blocks) if b.start <= place)
        if place < block.content_start:
            return block.kind, block.content_start, True
        if place < block.content_end:
            return block.kind, block.content_end, False
        return block.kind, block.end, True
