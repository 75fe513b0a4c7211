"""Builds a segment token by token: sampled runs as sampled, injected text tokenised alone.

Nothing is ever decoded and encoded again. The text of each token comes from an incremental decoder, and
what a token is from the blocks in which its characters stand, noted as they are written: a segment takes
time in proportion to its length, however many turns it has.

    builder = SegmentBuilder(tokenizer, prompt_ids, MaskRule())
    builder.add_sampled(completion)
    segment, calls = builder.build(completion.finish)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from innersearch.grammar import TAGS, Action, Block, Grammar, Malformed, MaskRule
from innersearch.grammar.injection import Injected, encode_document, encode_markup
from innersearch.grammar.turns import Turns
from innersearch.policy.base import Completion
from innersearch.rollout import labels
from innersearch.rollout.labels import Author, Labels
from innersearch.token_text import pieces
from innersearch.tools.base import Written
from innersearch.types import Call, Document, Finish, Kind, Segment, Source, Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_HIDDEN = "\0"
"""Stands for each character of injected content while the grammar reads a segment."""
_POLICY = Author(Source.POLICY)


class Mark(NamedTuple):
    """A point of a segment in the making to which it can be rolled back."""

    tokens: int
    sampled: int
    labels: labels.Mark
    recorded: int


class Asking(NamedTuple):
    """An action and the block in which it was asked for."""

    action: Action
    written: Written
    block: int | None
    """The id of its first call; None for an answer."""


class Reply(NamedTuple):
    """What the policy asked for in a reply."""

    asked: tuple[Asking, ...]
    malformed: Malformed | None
    """Why it cannot be read; then nothing is asked for."""


class Observation(NamedTuple):
    """Tokens around what a call returned, and those of it."""

    parts: tuple[tuple[Injected, bool], ...]
    """Each with whether it is hidden from the grammar."""

    @property
    def token_ids(self) -> list[int]:
        """All tokens."""
        return [token_id for part, _ in self.parts for token_id in part.token_ids]

    @property
    def text(self) -> str:
        """What they spell."""
        return "".join(piece for part, _ in self.parts for piece in part.pieces)

    def around(self, other: Observation) -> Observation:
        """What another one holds, with what is around this one."""
        [held] = [part for part in other.parts if part[1]]
        return Observation(tuple(held if part[1] else part for part in self.parts))


NOTHING_SHOWN = Observation(())


class SegmentBuilder:
    """One segment in the making, from its prompt on.

    Args:
        tokenizer: Of the policy.
        prompt_ids: The tokens of its prompt.
        rule: What carries no loss.
        grammar: What the policy writes.
        first_call: Calls before it in its trajectory.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        prompt_ids: Sequence[int],
        rule: MaskRule,
        grammar: Grammar = TAGS,
        *,
        first_call: int = 0,
    ) -> None:
        self._tokenizer, self._grammar = tokenizer, grammar
        self._prompt = len(prompt_ids)
        self._ids = list(prompt_ids)
        self._pieces: list[str] = []
        self._logprobs: list[float | None] = [None] * self._prompt
        self._entropies: list[float | None] = [None] * self._prompt
        self._versions: list[int | None] = []
        self._labels = Labels(grammar, rule, first_call)
        self._recorded: list[tuple[int, Call]] = []
        self.sampled = 0
        """Tokens in it that the policy sampled."""

    @property
    def replies(self) -> int:
        """Replies before the one that is being written; to be set before one is added."""
        return self._labels.turn

    @replies.setter
    def replies(self, replies: int) -> None:
        self._labels.turn = replies

    def __len__(self) -> int:
        """Tokens so far, the prompt included."""
        return len(self._ids)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All tokens so far, the prompt included."""
        return tuple(self._ids)

    @property
    def calls(self) -> int:
        """Calls so far, those of earlier segments included."""
        return self._labels.calls

    @property
    def work(self) -> int:
        """Characters read and steps of labelling so far: what it costs besides encoding and decoding."""
        return self._labels.read + self._labels.touched

    def mark(self) -> Mark:
        """This point, to roll back to."""
        return Mark(len(self._ids), self.sampled, self._labels.mark(), len(self._recorded))

    def roll_back(self, mark: Mark) -> None:
        """Forget everything after `mark`."""
        del self._ids[mark.tokens :]
        for values in (self._logprobs, self._entropies):
            del values[mark.tokens :]
        for noted in (self._pieces, self._versions):
            del noted[mark.tokens - self._prompt :]
        del self._recorded[mark.recorded :]
        self.sampled = mark.sampled
        self._labels.roll_back(mark.labels)

    def add_sampled(self, completion: Completion) -> None:
        """Append what the policy sampled, exactly as sampled."""
        ended = completion.finish is Finish.EOS
        added = pieces(self._tokenizer, completion.token_ids, ended=ended)
        nothing = [None] * len(completion.token_ids)
        self._logprobs += completion.logprobs or nothing
        self._entropies += completion.entropies or nothing
        if completion.versions:
            self._note_versions(completion.versions)
        self.sampled += len(completion.token_ids)
        self._ids += completion.token_ids
        self._pieces += added
        self._labels.add(added, "".join(added), _POLICY)

    @property
    def open(self) -> Kind:
        """The kind of the block that nothing has closed yet; text outside of blocks."""
        return self._labels.scanner.current.kind

    def begin_reply(self) -> None:
        """Append what the framework writes first in a reply, unless a block is open that goes on."""
        begins = self._grammar.begins
        if begins and self.open is Kind.TEXT:
            self._inject(encode_markup(self._tokenizer, begins), Author(Source.FORCED))

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
        """Append what a search returned and return its tokens; see `observation`."""
        shown = self.observation(
            content, opened=opened, max_tokens=max_tokens, before=before, after=after
        )
        self.add_observation(shown, source)
        return shown.token_ids

    def observation(
        self,
        content: str,
        *,
        opened: bool = False,
        max_tokens: int | None = None,
        before: str = "",
        after: str = "",
    ) -> Observation:
        """What would be appended here for something that was returned.

        Markup in `content` is neutralised, and it is cut after `max_tokens`. With `opened` the policy
        has already written the opening tag; if the token that closed the query begins it, the rest is
        appended. `before` and `after` go around the tags. All are tokenised apart, so that no content
        can spoil the tags.
        """
        opening, closing = self._grammar.tags[Kind.INFORMATION]
        tag = "" if opened else self._rest_of(opening)
        document = encode_document(self._tokenizer, content, max_tokens, self._grammar)
        head = (before, tag) if tag == opening else (tag,)
        return self._around(head, document, (closing, after))

    def turn(self, content: str, turns: Turns) -> Observation:
        """The same as a chat turn, with the end of the reply where the policy did not write it."""
        ends = () if self._ids[-1] == turns.end_id else (turns.ends,)
        document = encode_document(self._tokenizer, content, None, self._grammar)
        return self._around((*ends, turns.opens), document, (turns.closes,))

    def _around(self, head: Sequence[str], document: Injected, tail: Sequence[str]) -> Observation:
        before, after = (
            tuple((encode_markup(self._tokenizer, text), False) for text in texts if text)
            for texts in (head, tail)
        )
        return Observation((*before, (document, True), *after))

    def add_observation(self, observation: Observation, source: Source) -> None:
        """Append what was returned."""
        author, start = Author(source, result=True), self._labels.scanner.length
        for part, hidden in observation.parts:
            self._inject(part, author, hidden=hidden)
        self._labels.injected.append((start, self._labels.scanner.length))

    def since(self, mark: Mark) -> tuple[list[int], str]:
        """The tokens since a point, and what they spell."""
        return self._ids[mark.tokens :], "".join(self._pieces[mark.tokens - self._prompt :])

    def rest_of(self, tokens: Sequence[int], shown: Observation) -> Observation | None:
        """What a prompt has behind this segment, `shown` if it is that; None if it is another prompt."""
        if list(tokens[: len(self)]) != self._ids:
            return None
        added = list(tokens[len(self) :])
        if added == shown.token_ids:
            return shown
        return Observation(((Injected(added, pieces(self._tokenizer, added)), True),))

    def end_turn(self) -> None:
        """What is open ends here, as a chat turn does."""
        self._labels.end_turn()

    def written(self, kind: Kind) -> Written | None:
        """The block that the last token closed, if it is one of `kind`, else None.

        What that token holds beyond the closing tag is looked past.
        """
        scanner, places = self._labels.scanner, self._labels.places
        last = places.start(len(places) - 1)
        found = next(
            (
                block
                for block in self._latest()
                if block.start <= last
                and (block.kind is not Kind.TEXT or not self._is_blank(block.content_start, block.end))
            ),
            None,
        )
        if found is None or found.kind is not kind or not found.closed or found.end > scanner.length:
            return None
        return self._written(found)

    def reply(self, mark: Mark) -> Reply:
        """What the blocks ask for that were closed since `mark`."""
        scanner, grammar = self._labels.scanner, self._grammar
        first = mark.labels.scanner.blocks
        ids = {asked.block: asked.call_id for asked in self._labels.asked_since(first)}
        asked: list[Asking] = []
        texts, blocks, length = [], [], 0
        unclosed = Block(*scanner.current, scanner.length, scanner.length, closed=False)
        for number, block in enumerate((*scanner.blocks[first:], unclosed), first):
            if block.kind not in grammar.reads:
                continue
            written = self._written(block)
            read = grammar.reads[block.kind](written.text) if block.closed else ()
            if not isinstance(read, Malformed):
                asked += (Asking(action, written, ids.get(number)) for action in read)
            end = length + len(written.text)
            blocks.append(Block(block.kind, length, length, end, end, block.closed))
            texts.append(written.text)
            length = end
        found = grammar.actions(blocks, "".join(texts))
        return Reply((), found) if isinstance(found, Malformed) else Reply(tuple(asked), None)

    def record(self, *calls: Call, block: int | None = None) -> None:
        """Note what came of the inputs of a block that asks, the last one by default."""
        noted = self._labels
        asked = next(a for a in reversed(noted.asked) if block in (None, a.call_id))
        for number, call in enumerate(calls):
            first = not number and (not self._recorded or self._recorded[-1][0] != asked.call_id)
            call_id = asked.call_id if first else noted.calls
            noted.calls += not first
            self._recorded.append((asked.call_id, replace(call, id=call_id, turn=asked.turn)))

    def build(self, finish: Finish) -> tuple[Segment, list[Call]]:
        """The finished segment and its calls: those that were recorded, and those that the policy
        answered itself. Nothing can be added any more.
        """
        runs = self._labels.runs()
        nothing: list[None] = [None] * self._prompt
        sampled, loss = [False] * self._prompt, [False] * self._prompt
        for author, start, end in self._labels.authors():
            sampled += [author is Source.POLICY] * (end - start)
        for part, start, end in runs:
            loss += [part.loss] * (end - start)
        versions = self._versions
        if versions:
            versions += [None] * (len(self._pieces) - len(versions))
        segment = Segment(
            token_ids=self._ids,
            prompt_len=self._prompt,
            sampled_mask=sampled,
            loss_mask=loss,
            logprobs=self._logprobs,
            entropies=self._entropies,
            spans=[Span(0, self._prompt, Kind.PROMPT, Source.TEMPLATE), *self._spans(runs)],
            finish=finish,
            versions=[*nothing, *versions] if versions else None,
        )
        return segment, list(self._calls())

    def _spans(self, runs: Sequence[tuple[labels.Part, int, int]]) -> Iterator[Span]:
        offset = self._prompt
        for part, start, end in runs:
            text = "".join(self._pieces[start:end])
            yield Span(start + offset, end + offset, part.kind, part.source, text, part.call_id)

    def _calls(self) -> Iterator[Call]:
        """In the order of the blocks that asked."""
        blocks = self._labels.scanner.finish()
        own: dict[int, list[Document]] = {}
        for index, call_id in self._labels.returned:
            if not self._labels.is_injected(blocks[index]):
                text = self._content(blocks[index])
                own.setdefault(call_id, []).append(Document(f"self:{call_id}", "", text))
        recorded: dict[int, list[Call]] = {}
        for block, call in self._recorded:
            recorded.setdefault(block, []).append(call)
        for asked in self._labels.asked:
            documents = own.get(asked.call_id, [])
            calls = recorded.get(asked.call_id, [])
            if not calls and documents:
                yield self._answered(blocks[asked.block], asked, documents)
            for call in calls:
                unasked = call.source is Source.SELF_SEARCH
                yield replace(call, documents=documents) if unasked else call

    def _answered(self, block: Block, asked: labels.Asked, documents: list[Document]) -> Call:
        """A call that the policy answered without being interrupted."""
        content = self._content(block)
        read = self._grammar.reads[block.kind](content)
        tool = read[0].tool if isinstance(read, tuple) and read else "search"
        return Call(asked.call_id, content, Source.SELF_SEARCH, documents, tool=tool, turn=asked.turn)

    def _latest(self) -> Iterator[Block]:
        """Blocks from the last one backwards."""
        scanner = self._labels.scanner
        if scanner.length > scanner.current.start:
            closed = scanner.current.kind is Kind.TEXT
            yield Block(*scanner.current, scanner.length, scanner.length, closed)
        yield from reversed(scanner.blocks)

    def _written(self, block: Block) -> Written:
        inside = self._labels.tokens(block.content_start, block.content_end)
        place = slice(self._prompt + inside.start, self._prompt + inside.stop)
        return Written(
            self._content(block),
            [value for value in self._logprobs[place] if value is not None],
            [value for value in self._entropies[place] if value is not None],
            len(inside),
        )

    def _content(self, block: Block) -> str:
        return self._text(block.content_start, block.content_end).strip()

    def _text(self, start: int, end: int) -> str:
        if end <= start:
            return ""
        inside = self._labels.tokens(start, end)
        offset = self._labels.places.start(inside.start)
        text = "".join(self._pieces[inside.start : inside.stop])
        return text[start - offset : end - offset]

    def _is_blank(self, start: int, end: int) -> bool:
        return not self._text(start, end).strip()

    def _rest_of(self, tag: str) -> str:
        """What is missing of a tag that the text so far may end with a part of."""
        length = self._labels.scanner.length
        end = self._text(max(0, length - len(tag)), length)
        return next(tag[n:] for n in range(len(tag), -1, -1) if end.endswith(tag[:n]))

    def _inject(self, injected: Injected, author: Author, *, hidden: bool = False) -> None:
        spelled = "".join(injected.pieces)
        nothing = [None] * len(injected.token_ids)
        self._logprobs += nothing
        self._entropies += nothing
        visible = _HIDDEN * len(spelled) if hidden else spelled
        self._ids += injected.token_ids
        self._pieces += injected.pieces
        self._labels.add(injected.pieces, visible, author, hidden=hidden)

    def _note_versions(self, versions: Sequence[int]) -> None:
        """Of the tokens that come next; of those before without any there are none."""
        self._versions += [None] * (len(self._pieces) - len(self._versions))
        self._versions += versions
