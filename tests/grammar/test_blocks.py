"""Blocks found while a text is written: the same as of the whole, however it comes and goes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innersearch.errors import ConfigError
from innersearch.grammar import TAGS, Action, Block, Grammar, Malformed, Scanner, Tag, one, scan
from innersearch.grammar.tags import tag
from innersearch.types import Kind
from tests.trajectories import texts

NESTED = Grammar(
    "nested",
    {kind: tag(kind) for kind in (Kind.THINK, Kind.SEARCH, Kind.INFORMATION, Kind.ANSWER)},
    {Kind.SEARCH: one("search"), Kind.ANSWER: one("answer")},
    nested=frozenset({Kind.SEARCH, Kind.INFORMATION}),
    opaque=frozenset({Kind.THINK}),
)
CASES = [TAGS, NESTED]
relaxed = settings(max_examples=400, deadline=None, database=None)


def by_one_pattern(text: str) -> list[Block]:
    """The blocks of the default tags, found by a walk over all matches of one pattern."""
    blocks: list[Block] = []
    kind, start, content, depth = Kind.TEXT, 0, 0, 0
    for found in re.finditer(r"<(/?)(think|search|information|answer)>", text):
        other, closes = Kind(found[2]), bool(found[1])
        if kind is Kind.INFORMATION:
            depth += 0 if other is not kind else -1 if closes else 1
        if (kind is Kind.INFORMATION and depth) or (closes and other is not kind):
            continue
        end = found.end() if closes else found.start()
        if end > start:
            blocks.append(Block(kind, start, content, found.start(), end, closes or kind is Kind.TEXT))
        kind, start, content = (Kind.TEXT, end, end) if closes else (other, end, found.end())
        depth = 1
    if len(text) > start:
        blocks.append(Block(kind, start, content, len(text), len(text), kind is Kind.TEXT))
    return blocks


@settings(relaxed, max_examples=1500)
@given(fragments=texts)
def test_blocks_of_the_default_tags_are_those_of_one_pattern(fragments: list[str]) -> None:
    text = "".join(fragments)
    assert scan(text) == by_one_pattern(text)


@pytest.mark.parametrize("grammar", CASES, ids=lambda grammar: grammar.name)
@relaxed
@given(fragments=texts, data=st.data())
def test_a_text_in_pieces_has_the_blocks_of_the_whole(
    grammar: Grammar, fragments: list[str], data: st.DataObject
) -> None:
    text = "".join(fragments)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    scanner = Scanner(grammar)
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        scanner.feed(text[start:end])
        assert scanner.finish() == scan(text[:end], grammar)
        assert scanner.blocks == scanner.finish()[: len(scanner.blocks)]
    assert scanner.length == len(text)


@pytest.mark.parametrize("grammar", CASES, ids=lambda grammar: grammar.name)
@relaxed
@given(
    fragments=texts, other=texts, data=st.data(), cut=st.sampled_from([None, "<", "</thi", "<search"])
)
def test_what_is_rolled_back_leaves_no_trace(
    grammar: Grammar, fragments: list[str], other: list[str], cut: str | None, data: st.DataObject
) -> None:
    text = "".join(fragments) + (cut or "")
    scanner, marks = Scanner(grammar), []
    for character in text:
        marks.append(scanner.mark())
        scanner.feed(character)
    marks.append(scanner.mark())
    scanner.feed("".join(other))
    kept = data.draw(st.integers(0, len(text)))
    scanner.roll_back(marks[kept])
    assert scanner.finish() == scan(text[:kept], grammar)
    scanner.feed("".join(other))
    assert scanner.finish() == scan(text[:kept] + "".join(other), grammar)


def test_a_turn_ends_what_is_open_and_half_a_tag() -> None:
    scanner = Scanner().feed("<think>a<sea")
    scanner.end_turn()
    scanner.feed("rch>b<answer>c")
    kinds = [(b.kind, b.start, b.end, b.closed) for b in scanner.finish()]
    assert kinds == [
        (Kind.THINK, 0, 12, False),
        (Kind.TEXT, 12, 17, True),
        (Kind.ANSWER, 17, 26, False),
    ]


@pytest.mark.parametrize("make", [lambda n: "a" * n, lambda n: "<think>a</think>" * (n // 16)])
def test_a_text_that_comes_letter_by_letter_costs_what_it_is_long(make: Callable[[int], str]) -> None:
    """What is looked at again is shorter than a tag: letters read are counted, not seconds."""
    read = 0

    class Counted:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self._pattern = pattern

        def finditer(self, text: str) -> object:
            nonlocal read
            read += len(text)
            return self._pattern.finditer(text)

    scanner = Scanner()
    scanner._pattern = Counted(scanner._pattern)  # type: ignore[assignment]
    text = make(20_000)
    for letter in text:
        scanner.feed(letter)
    assert scanner.finish() == scan(text)
    assert read <= len(text) * len("</information>")


def test_a_query_inside_a_thought_does_not_end_it() -> None:
    text = "<think>a<search>q</search>\n<information>i</information>b</think><answer>c</answer>"
    blocks = [(b.kind, b.content(text), b.closed) for b in scan(text, NESTED)]
    assert blocks == [
        (Kind.THINK, "a", True),
        (Kind.SEARCH, "q", True),
        (Kind.THINK, "\n", True),
        (Kind.INFORMATION, "i", True),
        (Kind.THINK, "b", True),
        (Kind.ANSWER, "c", True),
    ]


def test_a_thought_that_ends_also_ends_what_is_open_in_it() -> None:
    text = "<think>a<search>q</think>x"
    blocks = [(b.kind, text[b.start : b.end], b.closed) for b in scan(text, NESTED)]
    assert blocks == [
        (Kind.THINK, "<think>a", True),
        (Kind.SEARCH, "<search>q", False),
        (Kind.THINK, "</think>", True),
        (Kind.TEXT, "x", True),
    ]


def test_an_answer_that_a_thought_mentions_is_text_where_the_grammar_says_so() -> None:
    text = "<think>between <answer> and </answer></think><answer>b</answer>"
    assert [b.kind for b in scan(text, NESTED)] == [Kind.THINK, Kind.ANSWER]
    assert [b.kind for b in scan(text)] == [Kind.THINK, Kind.ANSWER, Kind.TEXT, Kind.ANSWER]


def test_the_actions_of_a_reply_are_those_of_its_blocks_in_order() -> None:
    text = "<search>a</search><answer>b</answer><search></search><search>c</search><search>d"
    asked = NESTED.actions(scan(text, NESTED), text)
    assert asked == (
        Action("search", ("a",)),
        Action("answer", ("b",)),
        Action("search", ("c",)),
    )
    text = "<search>a</search><search> </search><answer>b</answer>"
    assert isinstance(NESTED.actions(scan(text, NESTED), text), Malformed)
    assert TAGS.actions(scan(text), text) == (
        Action("search", ("a",)),
        Action("search", ("",)),
        Action("answer", ("b",)),
    )


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({Kind.SEARCH: Tag("<a", "</a>")}, "'<a' is no tag"),
        ({Kind.SEARCH: Tag("Search:", "</a>")}, "'Search:' is no tag"),
        ({Kind.SEARCH: Tag("<｜a｜>", "</a>")}, "'<｜a｜>' is no tag"),
        ({Kind.SEARCH: Tag("<a>", "<a>")}, "the tag '<a>' stands in the tag '<a>'"),
        ({Kind.TEXT: tag("a")}, "text cannot be in its tags"),
        ({Kind.SEARCH: tag("a")}, "needs tags for information"),
    ],
)
def test_tags_that_nobody_could_read_are_refused(tags: dict[Kind, Tag], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        Grammar("mine", tags)


def test_parts_that_do_not_fit_together_are_refused() -> None:
    tags = {kind: tag(kind) for kind in (Kind.THINK, Kind.INFORMATION)}
    for said, wrong in {
        "search cannot be in its reads": {"reads": {Kind.SEARCH: one("search")}},
        "think cannot be in its nested": {"nested": frozenset({Kind.THINK})},
        "answer cannot be in its opaque": {"opaque": frozenset({Kind.ANSWER})},
        "needs retries": {"malformed": "retry"},
    }.items():
        with pytest.raises(ConfigError, match=said):
            Grammar("mine", tags, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has no tags for answer; it has information, think"):
        Grammar("mine", tags).closing(Kind.ANSWER)
