"""An oracle for segments: scans the whole text anew at every question, and labels all of it at the end.

It takes quadratic time and keeps no state but the tokens, so that nothing can be left over from what was
rolled back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from innersearch.grammar import TAGS, Block, Grammar, Label, MaskRule, intervals, label, scan
from innersearch.grammar.injection import Injected, encode_document, encode_markup
from innersearch.policy.base import Completion
from innersearch.token_text import pieces
from innersearch.types import Call, Document, Finish, Kind, Segment, Source, Span

_HIDDEN = "\0"


class _Part(NamedTuple):
    """What a run of tokens is."""

    kind: Kind
    source: Source
    call_id: int | None
    loss: bool


class Mark(NamedTuple):
    """A point of a segment in the making to which it can be rolled back."""

    tokens: int
    parts: int


class Written(NamedTuple):
    """The content of a block that the policy has just closed."""

    text: str
    logprobs: list[float]
    """Of each token with a character in it; natural log."""
    entropies: list[float]
    """Of the sampling distributions of these tokens; nats."""


class Oracle:
    """As `SegmentBuilder`."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        prompt_ids: Sequence[int],
        rule: MaskRule,
        grammar: Grammar = TAGS,
    ) -> None:
        self._tokenizer, self._rule, self._grammar = tokenizer, rule, grammar
        self._prompt_ids = list(prompt_ids)
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self._visible: list[str] = []
        self._authors: list[Source] = []
        self._logprobs: list[float | None] = []
        self._entropies: list[float | None] = []
        self._calls: dict[int, Call] = {}

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All tokens so far, the prompt included."""
        return (*self._prompt_ids, *self._ids)

    @property
    def sampled(self) -> int:
        """Tokens in it that the policy sampled."""
        return self._authors.count(Source.POLICY)

    def mark(self) -> Mark:
        """This point, to roll back to."""
        return Mark(len(self._ids), len(self._visible))

    def roll_back(self, mark: Mark) -> None:
        """Forget everything after `mark`."""
        for tokens in (self._ids, self._pieces, self._authors, self._logprobs, self._entropies):
            del tokens[mark.tokens :]
        del self._visible[mark.parts :]

    def add_sampled(self, completion: Completion) -> None:
        """Append what the policy sampled, exactly as sampled."""
        ended = completion.finish is Finish.EOS
        added = pieces(self._tokenizer, completion.token_ids, ended=ended)
        self._append(completion.token_ids, added, "".join(added), Source.POLICY)
        self._logprobs += completion.logprobs or [None] * len(completion.token_ids)
        self._entropies += completion.entropies or [None] * len(completion.token_ids)

    def written(self, kind: Kind) -> Written | None:
        """The block that the last token closed, if it is one of `kind`, else None.

        What that token holds beyond the closing tag is looked past.
        """
        text = "".join(self._visible)
        places = intervals(self._pieces)
        blocks = [
            b
            for b in scan(text, self._grammar)
            if b.start <= places[-1][0] and (b.kind is not Kind.TEXT or b.content(text).strip())
        ]
        if not blocks or blocks[-1].kind is not kind or not blocks[-1].closed:
            return None
        first, last = blocks[-1].content_start, blocks[-1].content_end
        inside = [i for i, (start, end) in enumerate(places) if start < last and end > first]
        return Written(
            blocks[-1].content(text).strip(),
            [value for i in inside if (value := self._logprobs[i]) is not None],
            [value for i in inside if (value := self._entropies[i]) is not None],
        )

    def record(self, call: Call) -> None:
        """Note what came of the last query; its number is set by `build`."""
        blocks = scan("".join(self._visible), self._grammar)
        queries = sum(block.kind in _asking(self._grammar) for block in blocks)
        self._calls[queries - 1] = call

    def is_inside(self, kinds: Collection[Kind]) -> bool:
        """Whether the text ends inside a block of some kinds."""
        blocks = scan("".join(self._visible), self._grammar)
        return bool(blocks) and blocks[-1].kind in kinds and not blocks[-1].closed

    def add_information(
        self,
        content: str,
        source: Source,
        *,
        opened: bool = False,
        max_tokens: int | None = None,
        before: str = "",
        after: str = "",
    ) -> list[int]:
        """Append what a search returned and return its tokens.

        Markup in `content` is neutralised, and it is cut after `max_tokens`. With `opened` the policy
        has already written the opening tag; if the token that closed the query begins it, the rest is
        appended. `before` and `after` go around the tags. All are tokenised apart, so that no content
        can spoil the tags.
        """
        start = len(self._ids)
        tag = "" if opened else self._rest_of(self._grammar.opening(Kind.INFORMATION))
        if tag == self._grammar.opening(Kind.INFORMATION):
            self._append_text(before, source)
        self._append_text(tag, source)
        document = encode_document(self._tokenizer, content, max_tokens, self._grammar)
        self._append_injected(document, source, hidden=True)
        self._append_text(self._grammar.closing(Kind.INFORMATION), source)
        self._append_text(after, source)
        return self._ids[start:]

    def _rest_of(self, tag: str) -> str:
        """What is missing of a tag that the text so far may end with a part of."""
        end = "".join(self._visible)[-len(tag) :]
        return next(tag[n:] for n in range(len(tag), -1, -1) if end.endswith(tag[:n]))

    def _append_text(self, text: str, source: Source) -> None:
        self._append_injected(encode_markup(self._tokenizer, text), source)

    def _append_injected(self, injected: Injected, source: Source, *, hidden: bool = False) -> None:
        spelled = "".join(injected.pieces)
        visible = _HIDDEN * len(spelled) if hidden else spelled
        self._append(injected.token_ids, injected.pieces, visible, source)
        self._logprobs += [None] * len(injected.token_ids)
        self._entropies += [None] * len(injected.token_ids)

    def _append(
        self, token_ids: Sequence[int], added: Sequence[str], visible: str, author: Source
    ) -> None:
        self._ids += token_ids
        self._pieces += added
        self._visible.append(visible)
        self._authors += [author] * len(token_ids)

    def build(self, finish: Finish) -> tuple[Segment, list[Call]]:
        """The finished segment and its searches: those that were recorded, and those that the policy
        answered itself.
        """
        text = "".join(self._visible)
        blocks = scan(text, self._grammar)
        call_ids = _number_calls(blocks, _asking(self._grammar))
        labels = label(self._pieces, blocks, self._rule)
        authored = list(zip(labels, self._authors, strict=True))
        runs = [(pair, sum(1 for _ in run)) for pair, run in groupby(authored)]
        parts = [
            (_describe(entry, author, blocks, call_ids), length) for (entry, author), length in runs
        ]
        prompt = len(self._prompt_ids)
        nothing: list[None] = [None] * prompt
        segment = Segment(
            token_ids=self._prompt_ids + self._ids,
            prompt_len=prompt,
            sampled_mask=[False] * prompt + [a is Source.POLICY for a in self._authors],
            loss_mask=[False] * prompt + [part.loss for part, length in parts for _ in range(length)],
            logprobs=[*nothing, *self._logprobs],
            entropies=[*nothing, *self._entropies],
            spans=[Span(0, prompt, Kind.PROMPT, Source.TEMPLATE), *self._spans(parts)],
            finish=finish,
        )
        injected = {entry.block for (entry, author), _ in runs if author is not Source.POLICY}
        return segment, self._searches(text, blocks, call_ids, injected)

    def _searches(
        self, text: str, blocks: Sequence[Block], call_ids: dict[int, int], injected: set[int | None]
    ) -> list[Call]:
        own = _own_information(text, blocks, {i: c for i, c in call_ids.items() if i not in injected})
        calls = []
        for index, call_id in call_ids.items():
            if blocks[index].kind not in _asking(self._grammar):
                continue
            query = blocks[index].content(text).strip()
            call = self._calls.get(call_id, Call(call_id, query, Source.SELF_SEARCH))
            if call.source is Source.SELF_SEARCH:
                call = replace(call, documents=own.get(call_id, []))
            if call_id in self._calls or call.documents:
                calls.append(replace(call, id=call_id, input=query))
        return calls

    def _spans(self, parts: Iterable[tuple[_Part, int]]) -> Iterator[Span]:
        start, offset = 0, len(self._prompt_ids)
        for part, run in groupby(parts, itemgetter(0)):
            end = start + sum(length for _, length in run)
            text = "".join(self._pieces[start:end])
            yield Span(start + offset, end + offset, part.kind, part.source, text, part.call_id)
            start = end


def _asking(grammar: Grammar) -> set[Kind]:
    return set(grammar.reads) - {Kind.ANSWER}


def _number_calls(blocks: Sequence[Block], asking: set[Kind]) -> dict[int, int]:
    """Block index → call id: queries count up, information belongs to the query before it."""
    call_ids: dict[int, int] = {}
    current = -1
    for index, block in enumerate(blocks):
        if block.kind in asking:
            current += 1
        if block.kind in asking or (block.kind is Kind.INFORMATION and current >= 0):
            call_ids[index] = current
    return call_ids


def _describe(entry: Label, author: Source, blocks: Sequence[Block], call_ids: dict[int, int]) -> _Part:
    kind = Kind.TEXT if entry.block is None else blocks[entry.block].kind
    call_id = None if entry.block is None else call_ids.get(entry.block)
    if author is not Source.POLICY:
        return _Part(Kind.INFORMATION, author, call_id, loss=False)
    source = Source.SELF_SEARCH if entry.returned else Source.POLICY
    return _Part(kind, source, call_id, loss=not entry.masked)


def _own_information(
    text: str, blocks: Sequence[Block], call_ids: dict[int, int]
) -> dict[int, list[Document]]:
    """Call id → what the policy wrote as its result."""
    results: dict[int, list[Document]] = {}
    for index, call_id in call_ids.items():
        if blocks[index].kind is Kind.INFORMATION:
            content = blocks[index].content(text).strip()
            results.setdefault(call_id, []).append(Document(f"self:{call_id}", "", content))
    return results
