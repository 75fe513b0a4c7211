"""The builder against an oracle that reads everything anew, and how much it reads itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from innersearch.grammar import GRAMMARS, TAGS, Grammar, MaskRule
from innersearch.policy.base import Completion
from innersearch.rollout.segment import SegmentBuilder
from innersearch.tools.base import Written
from innersearch.types import Call, Finish, Kind, Source
from tests.families import ALL, tokenizer_of
from tests.rollout.segment_oracle import Oracle
from tests.trajectories import FRAGMENTS, sample_ids

PROMPT = [0, 1]
RULES = [MaskRule(), MaskRule(opening_tag=True), MaskRule(information=False)]
OTHERS = [grammar for grammar in GRAMMARS.values() if grammar is not TAGS]

relaxed = settings(
    max_examples=120,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def steps(grammar: Grammar) -> st.SearchStrategy[list[tuple]]:
    """What may happen to a segment, in any order."""
    fragments = [*FRAGMENTS, *grammar.markup, *grammar.markup, "".join(grammar.markup)]
    parts = st.lists(st.sampled_from(fragments), max_size=6)
    sampled = st.tuples(st.just("sampled"), parts, st.booleans(), st.integers(0, 400))
    returned = st.tuples(st.just("returned"), parts, st.sampled_from([None, 3]), st.booleans())
    others = st.sampled_from([("mark",), ("back",), ("record",)])
    return st.lists(st.one_of(sampled, sampled, returned, others), max_size=12)


class Both:
    """A builder and its oracle, to which the same happens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, grammar: Grammar, rule: MaskRule) -> None:
        self.tokenizer, self.grammar = tokenizer, grammar
        self.builder = SegmentBuilder(tokenizer, PROMPT, rule, grammar)
        self.oracle = Oracle(tokenizer, PROMPT, rule, grammar)
        self.marks: list = []

    def each(self, do: Callable) -> list:
        return [do(self.builder), do(self.oracle)]

    def take(self, name: str, *values: object) -> None:
        getattr(self, name)(*values)
        assert self.builder.token_ids == self.oracle.token_ids
        assert self.builder.sampled == self.oracle.sampled
        if self.builder.sampled == len(self.builder) - len(PROMPT) > 0:
            for kind in self.grammar.tags:
                mine, theirs = self.each(lambda one: one.written(kind))  # noqa: B023
                assert (mine and mine[:3]) == (theirs and tuple(theirs))

    def sampled(self, fragments: list[str], whole: bool, noise: int) -> None:
        ids = sample_ids(self.tokenizer, fragments, whole=whole, noise=noise if noise > 300 else 0)
        values = [-0.01 * (i + 1) for i in range(len(ids))]
        finish = Finish.EOS if ids and not noise % 5 else Finish.STOP
        self.each(lambda one: one.add_sampled(Completion(list(ids), values, values, finish)))

    def returned(self, fragments: list[str], most: int | None, around: bool) -> None:
        if self.oracle.is_inside(self.grammar.opaque):
            # Where tags are text nothing is put: a reply ends first.
            return
        lines = "\n" * around
        given = {"max_tokens": most, "before": lines, "after": lines}
        mine, theirs = self.each(
            lambda one: one.add_information("".join(fragments), Source.WEB, **given)
        )
        assert mine == theirs

    def mark(self) -> None:
        self.marks.append((self.builder.mark(), self.oracle.mark()))

    def back(self) -> None:
        if self.marks:
            mine, theirs = self.marks.pop()
            self.builder.roll_back(mine)
            self.oracle.roll_back(theirs)

    def record(self) -> None:
        written: Written | None = self.builder.token_ids[len(PROMPT) :] and self.builder.written(
            Kind.SEARCH
        )
        if written and not self.marks:
            source = Source.SELF_SEARCH if len(written.text) % 2 else Source.WEB
            self.each(lambda one: one.record(Call(0, written.text, source)))


def check(tokenizer: PreTrainedTokenizerFast, grammar: Grammar, rule: MaskRule, taken: list) -> None:
    both = Both(tokenizer, grammar, rule)
    for step in taken:
        both.take(*step)
    (segment, calls), (expected, searches) = both.each(lambda one: one.build(Finish.LENGTH))
    assert segment == expected
    assert [replace(call, tool="search") for call in calls] == searches


@pytest.mark.parametrize("family", ALL)
@relaxed
@given(taken=steps(TAGS), rule=st.sampled_from(RULES))
def test_segments_are_those_of_the_oracle(family: str, taken: list, rule: MaskRule) -> None:
    check(tokenizer_of(family), TAGS, rule, taken)


@pytest.mark.parametrize("grammar", OTHERS, ids=lambda grammar: grammar.name)
@relaxed
@given(data=st.data(), rule=st.sampled_from(RULES))
def test_segments_of_every_grammar_are_those_of_the_oracle(
    grammar: Grammar, data: st.DataObject, rule: MaskRule
) -> None:
    check(tokenizer_of("byte_bpe"), grammar, rule, data.draw(steps(grammar)))


def turns(count: int, drafts: int = 0) -> SegmentBuilder:
    """A segment of so many calls, each after some drafts that were taken back."""
    tokenizer = tokenizer_of("byte_bpe")
    encode = tokenizer.encode
    ids = encode("<think>who knows</think><search>who founded Goltek</search>")
    reply = Completion(ids, [-0.5] * len(ids), [0.1] * len(ids), Finish.STOP)
    own = encode("<information>Belira did, or somebody else")
    draft = Completion(own, [-0.5] * len(own), [0.1] * len(own), Finish.STOP)
    builder = SegmentBuilder(tokenizer, PROMPT, MaskRule())
    for number in range(count):
        mark = builder.mark()
        builder.replies = number
        builder.add_sampled(reply)
        [asked] = builder.reply(mark).asked
        for _ in range(drafts):
            point = builder.mark()
            builder.add_sampled(draft)
            assert builder.written(Kind.INFORMATION) is None
            builder.roll_back(point)
        builder.record(Call(0, asked.written.text, Source.WEB), block=asked.block)
        builder.add_information("Zorin works for Goltek. " * 30, Source.WEB)
    return builder


def test_what_is_read_grows_with_the_length_and_not_with_its_square() -> None:
    few, some, many = turns(8), turns(36), turns(64)
    assert few.work > len(few)
    # The work of a turn is the same at the end as at the beginning.
    assert many.work - some.work == some.work - few.work
    written = many.work
    segment, calls = many.build(Finish.LENGTH)
    assert many.work <= written + 3
    assert [(call.id, call.turn) for call in calls] == [(number, number) for number in range(64)]
    assert sum(segment.sampled_mask) == many.sampled


def test_what_is_taken_back_costs_what_it_is_long() -> None:
    plain, drafted = turns(4), turns(4, drafts=3)
    later = turns(32, drafts=3).work - turns(32).work
    assert drafted.token_ids == plain.token_ids
    assert later == 8 * (drafted.work - plain.work) > 0
    assert drafted.build(Finish.LENGTH) == plain.build(Finish.LENGTH)
