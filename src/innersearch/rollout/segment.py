"""Builds a segment token by token: sampled runs as sampled, injected text tokenised alone.

Nothing is ever decoded and encoded again. The text of each token comes from an incremental decoder,
and spans and masks from the characters each token stands for.

    builder = SegmentBuilder(tokenizer, prompt_ids, MaskRule())
    builder.add_sampled(completion)
    segment, calls = builder.build(completion.finish)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from innersearch.grammar import (
    Block,
    Label,
    MaskRule,
    closing,
    label,
    neutralise,
    opening,
    scan,
)
from innersearch.policy.base import Completion
from innersearch.spelling import pieces
from innersearch.types import Document, Finish, Kind, SearchCall, Segment, Source, Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_HIDDEN = "\0"
"""Stands for each character of injected content while the grammar reads a segment."""


class _Token(NamedTuple):
    kind: Kind
    source: Source
    call_id: int | None
    loss: bool


class SegmentBuilder:
    """One segment in the making, from its prompt on."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, prompt_ids: Sequence[int], rule: MaskRule
    ) -> None:
        self._tokenizer, self._rule = tokenizer, rule
        self._prompt_ids = list(prompt_ids)
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self._visible: list[str] = []
        self._authors: list[Source] = []
        self._logprobs: list[float | None] = []
        self._entropies: list[float | None] = []

    def add_sampled(self, completion: Completion) -> None:
        """Append what the policy sampled, exactly as sampled."""
        added = pieces(self._tokenizer, completion.token_ids)
        if completion.finish is Finish.EOS:
            # Bytes of a character that was never finished come out together with the end token.
            end = str(self._tokenizer.convert_ids_to_tokens(completion.token_ids[-1]))
            left = added[-1].removesuffix(end)
            added[-1] = left if left.strip() else ""
        self._append(completion.token_ids, added, "".join(added), Source.POLICY)
        self._logprobs += completion.logprobs
        self._entropies += completion.entropies

    def add_information(self, content: str, source: Source, *, opened: bool = False) -> list[int]:
        """Append what a search returned and return its tokens.

        Protocol tags in `content` are neutralised. With `opened` the policy has already written the
        opening tag. Tags and content are tokenised apart, so that no content can spoil the tags.
        """
        before = len(self._ids)
        if not opened:
            self._append_text(opening(Kind.INFORMATION), source, hidden=False)
        self._append_text(neutralise(content), source, hidden=True)
        self._append_text(closing(Kind.INFORMATION), source, hidden=False)
        return self._ids[before:]

    def _append_text(self, text: str, source: Source, *, hidden: bool) -> None:
        token_ids = self._tokenizer.encode(text, add_special_tokens=False)
        added = pieces(self._tokenizer, token_ids)
        spelled = "".join(added)
        self._append(token_ids, added, _HIDDEN * len(spelled) if hidden else spelled, source)
        self._logprobs += [None] * len(token_ids)
        self._entropies += [None] * len(token_ids)

    def _append(
        self, token_ids: Sequence[int], added: Sequence[str], visible: str, author: Source
    ) -> None:
        self._ids += token_ids
        self._pieces += added
        self._visible.append(visible)
        self._authors += [author] * len(token_ids)

    def build(self, finish: Finish) -> tuple[Segment, list[SearchCall]]:
        """The finished segment, and the searches that the policy answered itself."""
        text = "".join(self._visible)
        blocks = scan(text)
        call_ids = _number_calls(blocks)
        labels = label(self._pieces, blocks, self._rule)
        tokens = [
            _describe(entry, author, blocks, call_ids)
            for entry, author in zip(labels, self._authors, strict=True)
        ]
        prompt = len(self._prompt_ids)
        nothing: list[None] = [None] * prompt
        segment = Segment(
            token_ids=self._prompt_ids + self._ids,
            prompt_len=prompt,
            sampled_mask=[False] * prompt + [a is Source.POLICY for a in self._authors],
            loss_mask=[False] * prompt + [token.loss for token in tokens],
            logprobs=[*nothing, *self._logprobs],
            entropies=[*nothing, *self._entropies],
            spans=[Span(0, prompt, Kind.PROMPT, Source.TEMPLATE), *self._spans(tokens)],
            finish=finish,
        )
        return segment, _self_searches(text, blocks, call_ids)

    def _spans(self, tokens: Sequence[_Token]) -> Iterator[Span]:
        start = 0
        for token, run in groupby(tokens):
            end = start + len(list(run))
            offset = len(self._prompt_ids)
            text = "".join(self._pieces[start:end])
            yield Span(start + offset, end + offset, token.kind, token.source, text, token.call_id)
            start = end


def _number_calls(blocks: Sequence[Block]) -> dict[int, int]:
    """Block index → call id: queries count up, information belongs to the query before it."""
    call_ids: dict[int, int] = {}
    current = -1
    for index, block in enumerate(blocks):
        if block.kind is Kind.SEARCH:
            current += 1
        if block.kind is Kind.SEARCH or (block.kind is Kind.INFORMATION and current >= 0):
            call_ids[index] = current
    return call_ids


def _describe(entry: Label, author: Source, blocks: Sequence[Block], call_ids: dict[int, int]) -> _Token:
    kind = Kind.TEXT if entry.block is None else blocks[entry.block].kind
    call_id = None if entry.block is None else call_ids.get(entry.block)
    if author is not Source.POLICY:
        return _Token(Kind.INFORMATION, author, call_id, loss=False)
    source = Source.SELF_SEARCH if entry.returned else Source.POLICY
    return _Token(kind, source, call_id, loss=not entry.masked)


def _self_searches(text: str, blocks: Sequence[Block], call_ids: dict[int, int]) -> list[SearchCall]:
    results: dict[int, list[Document]] = {}
    for index, call_id in call_ids.items():
        block = blocks[index]
        content = block.content(text).strip()
        if block.kind is Kind.INFORMATION and _HIDDEN not in content:
            document = Document(f"self:{call_id}", "", content)
            results.setdefault(call_id, []).append(document)
    return [
        SearchCall(call_id, blocks[index].content(text).strip(), Source.SELF_SEARCH, results[call_id])
        for index, call_id in call_ids.items()
        if blocks[index].kind is Kind.SEARCH and call_id in results
    ]
