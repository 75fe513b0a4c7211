"""What an agent of others asked the model, as a trajectory.

Each request becomes a segment, unless its prompt begins with a prompt and reply of before: then it goes
on in that segment. Prompts are compared as text and go on as tokens: what was sampled is never encoded
again, and what follows it is encoded alone. Where several requests go on from one reply, the first of
them goes on in its segment, and the others begin segments of their own, in which what was sampled before
is prompt. So every sampled token is trained on once, in the context in which it was sampled, also where
a client sends requests at the same time, sends one again, or rewrites its history.

    capture = Capture(tokenizer)
    asked = capture.ask(text)                       # its prompt as tokens
    capture.answer(asked, completion)
    segments, calls = capture.segments(MaskRule(), TAGS)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from innersearch.grammar import TAGS, Grammar, MaskRule
from innersearch.grammar.injection import Injected
from innersearch.policy.base import Completion
from innersearch.rollout.segment import Observation, SegmentBuilder
from innersearch.token_text import pieces
from innersearch.types import Call, Finish, Segment, Source, StopReason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


MOST_REFUSED = 32
"""Refused requests after which an agent is taken to ask for ever."""


@dataclass(eq=False)
class Exchange:
    """One request to the model, and its reply once there is one."""

    number: int
    """Requests before it."""
    text: str
    """Its prompt."""
    prompt_ids: tuple[int, ...]
    parent: Exchange | None
    """The one with whose prompt and reply its prompt begins."""
    again: int
    """Requests of the same prompt before it."""
    completion: Completion | None = None
    whole: str = ""
    """Its prompt and its reply, as the next prompt would have them."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Its prompt and its reply."""
        return (*self.prompt_ids, *(self.completion.token_ids if self.completion else ()))


@dataclass
class Capture:
    """The requests of one session."""

    tokenizer: PreTrainedTokenizerFast
    exchanges: list[Exchange] = field(default_factory=list)
    """Answered ones, in the order in which they were answered."""
    refused: int = 0
    """Requests that were not answered."""
    abandoned: int = 0
    """Requests whose client went away."""
    limit: StopReason | None = None
    """The first limit that a request was refused for."""
    exhausted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once so many requests were refused that nothing more is to be expected."""
    _begun: int = 0
    _prompts: Counter[str] = field(default_factory=Counter)
    _calls: list[tuple[Exchange | None, Call]] = field(default_factory=list)

    def ask(self, text: str) -> Exchange:
        """A request with that prompt begins."""
        fitting = [one for one in self.exchanges if text.startswith(one.whole)]
        # Of several that fit, the one that spares most; of equal ones the first.
        parent = max(fitting, key=lambda one: (len(one.whole), -one.number), default=None)
        before, rest = (parent.token_ids, text[len(parent.whole) :]) if parent else ((), text)
        ids = (*before, *self.tokenizer.encode(rest, add_special_tokens=False)) if rest else before
        self._begun += 1
        self._prompts[text] += 1
        return Exchange(self._begun - 1, text, ids, parent, self._prompts[text] - 1)

    def answer(self, asked: Exchange, completion: Completion) -> str:
        """The reply to a request; its text, with what ended it."""
        spelled = "".join(pieces(self.tokenizer, completion.token_ids))
        asked.completion, asked.whole = completion, asked.text + spelled
        self.exchanges.append(asked)
        return spelled

    def refuse(self, limit: StopReason | None = None) -> None:
        """A request is not answered."""
        self.refused += 1
        self.limit = self.limit or limit
        if self.refused >= MOST_REFUSED:
            self.exhausted.set()

    def search(self, call: Call) -> None:
        """A search was made in the session."""
        self._calls.append((self.exchanges[-1] if self.exchanges else None, call))

    @property
    def sampled(self) -> int:
        """Tokens that were sampled."""
        return sum(len(one.completion.token_ids) for one in self.exchanges if one.completion)

    @property
    def calls(self) -> list[Call]:
        """The searches that were made, in order."""
        return [call for _, call in self._calls]

    def segments(self, rule: MaskRule, grammar: Grammar = TAGS) -> tuple[list[Segment], list[Call]]:
        """The segments of all answered requests, and the calls of the session.

        Args:
            rule: What of what the policy wrote carries no loss.
            grammar: How its replies are read.
        """
        return _Assembly(self.tokenizer, rule, grammar, self._calls).of(self.exchanges)


class _Assembly:
    """Puts requests together to segments."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        rule: MaskRule,
        grammar: Grammar,
        calls: Sequence[tuple[Exchange | None, Call]],
    ) -> None:
        self._tokenizer, self._rule, self._grammar = tokenizer, rule, grammar
        self._made: dict[Exchange | None, list[Call]] = {}
        for asked, call in calls:
            self._made.setdefault(asked, []).append(call)
        self._apart: list[Call] = []

    def of(self, exchanges: Sequence[Exchange]) -> tuple[list[Segment], list[Call]]:
        ordered = sorted(exchanges, key=lambda one: one.number)
        turns = {one: turn for turn, one in enumerate(ordered)}
        after: dict[Exchange | None, Exchange] = {}
        for one in ordered:
            after.setdefault(one.parent, one)
        heads = [one for one in ordered if one.parent is None or after[one.parent] is not one]
        segments: list[Segment] = []
        calls: list[Call] = []
        first = 0
        self._apart = [replace(call, turn=0) for call in self._made.get(None, ())]
        for head in heads:
            builder = SegmentBuilder(
                *(self._tokenizer, head.prompt_ids, self._rule, self._grammar), first_call=first
            )
            last = self._write(builder, head, after, turns)
            segment, found = builder.build(_finish(last))
            segments.append(segment)
            calls += found
            first = builder.calls
        numbered = (replace(call, id=first + i) for i, call in enumerate(self._apart))
        return segments, [*calls, *numbered]

    def _write(
        self,
        builder: SegmentBuilder,
        head: Exchange,
        after: dict[Exchange | None, Exchange],
        turns: dict[Exchange, int],
    ) -> Exchange:
        """Write a request and all that go on from it; the last of them."""
        one = head
        while True:
            assert one.completion is not None  # noqa: S101
            builder.replies = turns[one]
            asked_before = builder.calls
            builder.add_sampled(one.completion)
            self._record(builder, one, turns[one], asked=builder.calls > asked_before)
            following = after.get(one)
            if following is None:
                return one
            self._inject(builder, one, following)
            one = following

    def _inject(self, builder: SegmentBuilder, one: Exchange, following: Exchange) -> None:
        """What stands between a reply and the next one: it is the agent's, and nothing in it is read."""
        ids = list(following.prompt_ids[len(one.token_ids) :])
        if not ids:
            return
        made = self._made.get(one, ())
        source = made[-1].source if made else Source.FORCED
        if self._grammar.turns:
            builder.end_turn()
        between = Injected(ids, pieces(self._tokenizer, ids))
        builder.add_observation(Observation(((between, True),)), source)

    def _record(self, builder: SegmentBuilder, one: Exchange, turn: int, *, asked: bool) -> None:
        """The searches that were made upon a reply; they belong to what it asked for, if it did."""
        made = [replace(call, turn=turn) for call in self._made.get(one, ())]
        if asked and made:
            builder.record(*made)
        else:
            self._apart += made


def _finish(one: Exchange) -> Finish:
    assert one.completion is not None  # noqa: S101
    return one.completion.finish
