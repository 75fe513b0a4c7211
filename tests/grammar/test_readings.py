"""How requests are read, and how malformed ones are told apart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innersearch.grammar import (
    GRAMMARS,
    Action,
    Malformed,
    Reason,
    Scanner,
    json_call,
    scan,
    separated,
    several_queries,
    tool_calls,
)
from innersearch.types import Kind

CALL = json_call({"search": "query", "open": "url"}, inputs=2)
ONE = GRAMMARS["tool-call"]


def asked(name: str, text: str) -> tuple[Action, ...] | Malformed:
    return GRAMMARS[name].actions(scan(text, GRAMMARS[name]), text)


def test_several_queries_are_told_apart_and_surplus_is_counted() -> None:
    read = separated("search", ",", 3)
    assert read("Lima,Rome , Bern,, Oslo, Kiel") == (
        Action("search", ("Lima", "Rome", "Bern"), dropped=2),
    )
    assert read('["Paris, Texas", " Rome "]') == (Action("search", ("Paris, Texas", "Rome")),)
    assert read("[Paris], Rome") == (Action("search", ("[Paris]", "Rome")),)
    assert read('["Paris", 3]') == (Action("search", ('["Paris"', "3]")),)
    assert separated("search", "\n", 2)("Paris, Texas\n\nRome\nBern") == (
        Action("search", ("Paris, Texas", "Rome"), dropped=1),
    )


@pytest.mark.parametrize("content", ["", " , ", ",,,", "[]", '["", " "]', "\n"])
def test_separators_alone_are_malformed(content: str) -> None:
    assert separated("search", ",", 3)(content.strip()) == Malformed(Reason.EMPTY)


@settings(max_examples=60, deadline=None, database=None)
@given(queries=st.lists(st.text(max_size=9), max_size=6), by=st.sampled_from([",", "\n", "|"]))
def test_a_json_list_holds_any_query(queries: list[str], by: str) -> None:
    kept = [text.strip() for text in queries if text.strip()]
    read = separated("search", by, 4)(json.dumps(queries))
    if kept:
        assert read == (Action("search", tuple(kept[:4]), dropped=max(0, len(kept) - 4)),)
    else:
        assert read == Malformed(Reason.EMPTY)


def test_keywords_lose_their_quotes_and_an_empty_query_ends() -> None:
    grammar = GRAMMARS["r1-searcher"]
    assert grammar.malformed == "end"
    for query, expected in {
        ' "Goltek"\n founder ': ("Goltek founder",),
        "“O'Brien”": ("O'Brien",),
    }.items():
        text = f"<think>a{grammar.render(Kind.SEARCH, query)}"
        assert asked("r1-searcher", text) == (Action("search", expected),)
    assert asked("r1-searcher", f"<think>{grammar.render(Kind.SEARCH, '  ')}") == Malformed(Reason.EMPTY)


def test_one_address_or_one_query() -> None:
    assert asked("asearcher", "<think>a</think><access> x.org </access>") == (
        Action("open", ("x.org",)),
    )
    assert asked("asearcher", "<access></access>") == Malformed(Reason.EMPTY)
    assert GRAMMARS["asearcher"].stops == ("</search>", "</access>")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"name": "search", "arguments": {"query": "a"}}', (Action("search", ("a",)),)),
        (
            '{"name": "search", "arguments": {"query": ["a", "", "b", "c"], "k": 3}}',
            (Action("search", ("a", "b"), {"k": 3}, dropped=1),),
        ),
        ('{"name": "open", "parameters": {"url": "x"}}', (Action("open", ("x",)),)),
        ('{"name": "open", "arguments": "{\\"url\\": \\"x\\"}"}', (Action("open", ("x",)),)),
        (
            '[{"name": "open", "arguments": {"url": ["x", "y"]}},'
            ' {"name": "search", "arguments": {"query": ["a", "b", "c"]}}]',
            (Action("open", ("x", "y"), dropped=3),),
        ),
        ('{"name": "search", "arguments": {"query": "a"}', Reason.NOT_JSON),
        ("", Reason.NOT_JSON),
        ("[" * 100_000, Reason.NOT_JSON),
        ("[]", Reason.EMPTY),
        ('"search"', Reason.NOT_A_CALL),
        ('{"arguments": {"query": "a"}}', Reason.NOT_A_CALL),
        ('{"name": "search", "arguments": ["a"]}', Reason.NOT_A_CALL),
        ('{"name": "search", "arguments": "{"}', Reason.NOT_A_CALL),
        ('{"name": "answer", "arguments": {"query": "a"}}', Reason.UNKNOWN_TOOL),
        ('{"name": "search"}', Reason.NO_INPUT),
        ('{"name": "search", "arguments": {"query": " "}}', Reason.NO_INPUT),
        ('{"name": "search", "arguments": {"query": [3]}}', Reason.NO_INPUT),
    ],
)
def test_calls_are_read_or_named_what_they_lack(
    content: str, expected: tuple[Action, ...] | Reason
) -> None:
    read = CALL(content)
    assert read == expected if isinstance(expected, tuple) else read.reason == expected  # type: ignore[union-attr]
    assert "\n" not in str(read)


@settings(max_examples=80, deadline=None, database=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.sampled_from(["search"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "arguments", "query"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_no_json_raises(value: object) -> None:
    read = CALL(json.dumps(value))
    assert isinstance(read, Malformed) or all(action.inputs for action in read)


def test_an_answer_that_a_thought_or_a_call_mentions_is_text() -> None:
    call = '{"name": "search", "arguments": {"query": "the <answer> tag </think>"}}'
    text = f"<think>Then <answer>x</answer>, or <tool_call>?</think>{ONE.render(Kind.CALL, call)}"
    assert asked("tool-call", text) == (Action("search", ("the <answer> tag </think>",)),)


def test_the_calls_before_an_answer_are_made() -> None:
    call = '{"name": "search", "arguments": {"query": "a"}}'
    text = f"{ONE.render(Kind.CALL, call)}<answer>b</answer>{ONE.render(Kind.CALL, '{')}"
    assert asked("tool-calls", text) == (Action("search", ("a",)), Action("answer", ("b",)))
    assert asked("tool-calls", ONE.render(Kind.CALL, "{") + text) == Malformed(
        Reason.NOT_JSON, "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )
    assert GRAMMARS["tool-calls"].stops == ()


def test_a_reply_that_asks_for_nothing_is_malformed_where_the_grammar_demands_something() -> None:
    assert asked("rag-r1", "<think>a</think>") == Malformed(Reason.NOTHING)
    assert asked("rag-r1", "<think>a</think><search>b") == Malformed(Reason.UNCLOSED)
    assert asked("rag-r1", "<search> , </search>") == Malformed(Reason.EMPTY)
    assert asked("rag-r1", "") == Malformed(Reason.NOTHING)
    assert asked("tags", "<think>a</think>") == ()
    assert asked("tool-call", "<think>a <tool_call>{}</tool_call>") == Malformed(Reason.NOTHING)


def test_a_query_is_the_policys_own_and_never_that_of_a_document() -> None:
    """The released evaluation falls back to the example in its prompt; here nothing is nothing."""
    for grammar in GRAMMARS.values():
        scanner = Scanner(grammar).feed(grammar.begins + "a" + grammar.opening(Kind.INFORMATION))
        scanner.feed("\0" * 40 + grammar.closing(Kind.INFORMATION) + "b")
        text = "\0" * scanner.length
        assert grammar.actions(scanner.finish(), text) in ((), Malformed(Reason.NOTHING))


def test_grammars_are_made_from_grammars() -> None:
    assert replace(ONE, name="mine", begins="<think>").render(Kind.THINK, "a") == "<think>a</think>"
    lines = several_queries("lines", by="\n", most=2)
    text = "<search>a, b\nc\nd</search>"
    assert lines.actions(scan(text, lines), text) == (Action("search", ("a, b", "c"), dropped=1),)
    assert tool_calls("mine", {"find": "words"}).tags == ONE.tags
