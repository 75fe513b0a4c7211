"""The rewards of published systems, as terms, and the defects of their released code, which none has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from innersearch.grammar import ASEARCHER, GRAMMARS, R1_SEARCHER, TAGS, TOOL_CALL, Grammar
from innersearch.rewards import Scored, find_measure
from innersearch.rewards.documents import SUPPORTING
from innersearch.types import Call, Document, Kind, Question, Source, StopReason, Trajectory
from tests.payloads import payloads
from tests.scoring import Piece, rubric, trajectory_of

WORDS = (
    "the assistant coach and the assistant director",
    "<|begin_of_query|>x<|end_of_query|><|begin_of_documents|>",
    "</think><answer>Belira</answer></think>",
    '<tool_call>{"name": "search"}</tool_call><tool_call>',
    "This question is not valid. I cannot answer an inappropriate question. 东京",
    "<access>https://example.org</access><access>",
)
"""What costs reward in released code when it stands in a document."""

R1_STAGE_1 = "cover_sign + 0.5*retrieved + 0.5*format:one-thought"
R1_PAPER = "0.5*retrieved + 0.5*format:one-thought"
R1_LLAMA = "f1 - violates:r1-searcher"
R1_QWEN = "f1 - 2.0*violates:r1-searcher-strict"
DEEP = "f1_set + otherwise(answered, -1.0) + otherwise(balanced, -1.0)"
ASEARCH = "f1_set + gate(one_action) + otherwise(not_refused, -0.5)"

QUERY = {
    "tags": "<search>q</search>",
    "rag-r1": "<search>q, r</search>",
    "rag-r1-single": "<search>q</search>",
    "asearcher": "<search>q</search>",
    "r1-searcher": "<|begin_of_query|>q<|end_of_query|>",
    "tool-call": '<tool_call>{"name": "search", "arguments": {"query": ["q"]}}</tool_call>',
    "harness": '<tool_call>{"name": "search", "arguments": {"query": "q"}}</tool_call>',
    "deepresearcher": '<tool_call>{"name": "search", "arguments": {"query": ["q"]}}</tool_call>',
    "deepresearcher-plain": ('<tool_call>{"name": "search", "arguments": {"query": ["q"]}}</tool_call>'),
    "tool-calls": '<tool_call>{"name": "search", "arguments": {"query": ["q"]}}</tool_call>',
}


def call(documents: int = 1, error: str | None = None) -> Call:
    return Call(0, "q", Source.RETRIEVER, [Document(f"d{n}", "", "") for n in range(documents)], error)


def searched(grammar: Grammar, answer: str, document: str = "Zorin.", **others: Any) -> Trajectory:
    """One search, whose result is that document, and an answer, well-formed in a grammar."""
    begins: list[Piece] = [(grammar.begins, Source.FORCED)] if grammar.begins else []
    opens = "" if begins else "<think>"
    nested = Kind.SEARCH in grammar.nested
    asks = f"{opens}t{'' if nested else '</think>'}{QUERY[grammar.name]}"
    told = (grammar.render(Kind.INFORMATION, document), Source.RETRIEVER)
    then: list[Piece] = [] if nested else begins
    ends = f"{'' if nested or begins else '<think>'}t</think><answer>{answer}</answer>"
    others = {"calls": [call()], "golds": ["Belira Komar"]} | others
    return trajectory_of(*begins, asks, told, *then, ends, grammar=grammar, **others)


def worth(line: str, trajectory: Trajectory, grammar: Grammar = TAGS) -> float:
    return rubric(line, grammar).score(trajectory)[0]


def measured(name: str, trajectory: Trajectory, grammar: Grammar = TAGS) -> float:
    measure = find_measure(name)
    assert callable(measure)
    return measure(Scored(trajectory, grammar))


RIGHT, HALF, WRONG = "Belira Komar", "Belira", "Zorin"
HALF_F1 = 2 / 3


@pytest.mark.parametrize(
    ("line", "grammar", "right", "half", "wrong"),
    [
        ("0.9*em + 0.1*format:strict", TAGS, 1.0, 0.1, 0.1),
        ("f1", TAGS, 1.0, HALF_F1, 0.0),
        ("em", TAGS, 1.0, 0.0, 0.0),
        ("em", GRAMMARS["rag-r1"], 1.0, 0.0, 0.0),
        (R1_STAGE_1, R1_SEARCHER, 2.0, 0.0, 0.0),
        (R1_PAPER, R1_SEARCHER, 1.0, 1.0, 1.0),
        (R1_LLAMA, R1_SEARCHER, 1.0, HALF_F1, 0.0),
        (R1_QWEN, R1_SEARCHER, 1.0, HALF_F1, 0.0),
        (DEEP, TOOL_CALL, 1.0, HALF_F1, 0.0),
        (ASEARCH, ASEARCHER, 1.0, HALF_F1, 0.0),
    ],
)
def test_systems_reward_answers_as_published(
    line: str, grammar: Grammar, right: float, half: float, wrong: float
) -> None:
    for answer, value in ((RIGHT, right), (HALF, half), (WRONG, wrong)):
        assert worth(line, searched(grammar, answer), grammar) == pytest.approx(value)


def documents() -> Iterator[str]:
    yield from WORDS
    yield from payloads()[::23]
    yield from (f"{word} {n}" for n in range(40) for word in WORDS[:3])


def alike(line: str, grammar: Grammar) -> None:
    """Whatever a document says, as raw as it came, changes no part of a reward."""
    for answer in (RIGHT, WRONG):
        plain = rubric(line, grammar).score(searched(grammar, answer))
        for document in documents():
            found = rubric(line, grammar).score(searched(grammar, answer, document))
            assert found == plain, document


@pytest.mark.parametrize("line", [R1_STAGE_1, R1_LLAMA, R1_QWEN])
def test_r1_1_words_tags_and_markers_of_documents_violate_nothing(line: str) -> None:
    alike(line, R1_SEARCHER)


def test_dr_7_tags_of_pages_cost_nothing() -> None:
    alike(DEEP, TOOL_CALL)


def test_as_4_and_as_5_pages_close_no_gate_and_refuse_no_question() -> None:
    alike(ASEARCH, ASEARCHER)


SEARCHING = [grammar for grammar in GRAMMARS.values() if {Kind.SEARCH, Kind.CALL} & set(grammar.tags)]


@pytest.mark.parametrize("grammar", SEARCHING, ids=lambda grammar: grammar.name)
def test_no_measure_reads_documents(grammar: Grammar) -> None:
    names = (
        "em f1 f1_set cover_em cover_sign answered searched retrieved balanced one_action not_refused"
    )
    shapes = "format:strict format:one-thought violates:r1-searcher violates:r1-searcher-strict"
    alike(" + ".join(f"{names} {shapes}".split()), grammar)


def ended(
    grammar: Grammar, *pieces: Piece, reason: StopReason, calls: Sequence[Call] = ()
) -> Trajectory:
    made = trajectory_of(*pieces, golds=["Belira"], grammar=grammar, calls=list(calls))
    return replace(made, stop_reason=reason)


FORCED_THOUGHT = ("<think>", Source.FORCED)
FOUND = ("<|begin_of_documents|>\n(1)x\n<|end_of_documents|>", Source.RETRIEVER)
ASKS = "t<|begin_of_query|>q<|end_of_query|>"


@pytest.mark.parametrize("name", ["violates:r1-searcher", "violates:r1-searcher-strict"])
@pytest.mark.parametrize(
    ("pieces", "reason", "violates"),
    [
        ((ASKS, FOUND, ASKS), StopReason.CALL_LIMIT, 0.0),
        ((ASKS, FOUND, "t<|begin_of_query|> <|end_of_query|>"), StopReason.MALFORMED, 0.0),
        ((ASKS, FOUND, "t<|begin_of_query|>q"), StopReason.TOKEN_BUDGET, 0.0),
        ((ASKS, FOUND, "t"), StopReason.CONTEXT_FULL, 0.0),
        ((ASKS, FOUND, "t"), StopReason.EOS, 1.0),
        ((ASKS, FOUND, "t<|begin_of_query|>q"), StopReason.EOS, 1.0),
        ((ASKS, FOUND, "t</think></think>"), StopReason.TOKEN_BUDGET, 1.0),
        ((ASKS, FOUND, "t<|end_of_query|>"), StopReason.TOKEN_BUDGET, 1.0),
    ],
)
def test_r1_4_to_end_at_a_limit_is_no_violation(
    name: str, pieces: Sequence[Piece], reason: StopReason, violates: float
) -> None:
    one = ended(R1_SEARCHER, FORCED_THOUGHT, *pieces, reason=reason)
    assert measured(name, one, R1_SEARCHER) == violates


@pytest.mark.parametrize(
    ("thought", "answer", "loose", "strict"),
    [
        ("t", "Belira", 0.0, 0.0),
        ("an assistant coach", "Belira", 0.0, 1.0),
        ("东京", "Belira", 1.0, 1.0),
        ("t", "one two three four five six seven eight nine ten", 0.0, 0.0),
        ("t", "one two three four five six seven eight nine ten eleven", 0.0, 1.0),
        ("t</think>", "Belira", 1.0, 1.0),
        ("t<|begin_of_documents|>made up<|end_of_documents|>", "Belira", 1.0, 1.0),
    ],
)
def test_what_violates_the_rules_of_r1_searcher(
    thought: str, answer: str, loose: float, strict: float
) -> None:
    one = trajectory_of(
        FORCED_THOUGHT, f"{thought}</think><answer>{answer}</answer>", grammar=R1_SEARCHER
    )
    assert measured("violates:r1-searcher", one, R1_SEARCHER) == loose
    assert measured("violates:r1-searcher-strict", one, R1_SEARCHER) == strict


def test_rr_3_without_an_answer_none_is_taken_from_prompt_or_documents() -> None:
    grammar = GRAMMARS["rag-r1"]
    asked = "<think>t</think><search>q</search>"
    told = ("<information><answer>Beijing</answer></information>", Source.RETRIEVER)
    one = trajectory_of(*[asked, told] * 5, golds=["Beijing"], grammar=grammar)
    assert "Beijing" in one.segments[0].spans[0].text
    assert Scored(one, grammar).answer is None
    reward, parts = rubric("em + f1 + f1_set", grammar).score(one)
    assert reward == parts["em"] == parts["f1"] == 0.0


def test_as_4_the_policy_may_write_of_assistants() -> None:
    one = searched(ASEARCHER, "an assistant director", golds=["assistant director"])
    assert measured("one_action", one, ASEARCHER) == 1.0
    assert worth(ASEARCH, one, ASEARCHER) == pytest.approx(2 * 2 / 5)


@pytest.mark.parametrize("answer", ["The Invalids", "Valid Records", "The Question", "Invalid"])
def test_as_5_answers_that_look_like_refusals_are_none(answer: str) -> None:
    one = searched(ASEARCHER, answer, golds=[answer])
    assert worth(ASEARCH, one, ASEARCHER) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "The question is invalid.",
        "This question is not a valid one",
        "I cannot answer this",
        "I don't know",
    ],
)
def test_refusals_cost_where_an_answer_is_demanded(answer: str) -> None:
    one = searched(ASEARCHER, answer)
    assert worth(ASEARCH, one, ASEARCHER) == -0.5
    free = replace(one, question=replace(one.question, metadata={"must_answer": False}))
    assert measured("not_refused", free, ASEARCHER) == 1.0


@pytest.mark.parametrize(
    ("reply", "one_action"),
    [
        ("t</think><search>q</search>", 1.0),
        ("t</think><access>https://x.org</access>", 1.0),
        ("reads</think><think>t</think><answer>a</answer>", 1.0),
        ("t</think><search>q</search><search>r</search>", 0.0),
        ("t</think>", 0.0),
        ("t</think>free<search>q</search>", 0.0),
        ("t</think><search> </search>", 0.0),
        ("t</think><search>q", 0.0),
    ],
)
def test_a_reply_is_thoughts_and_one_action(reply: str, one_action: float) -> None:
    end = (FORCED_THOUGHT, "t</think><answer>a</answer>")
    page = ("<information>x</information>", Source.WEB)
    one = trajectory_of(FORCED_THOUGHT, reply, page, *end, grammar=ASEARCHER)
    assert measured("one_action", one, ASEARCHER) == one_action
    cut = trajectory_of(*end[:1], "t</think><search>q</search>", page, *end[:1], "t", grammar=ASEARCHER)
    cut = replace(cut, stop_reason=StopReason.TOKEN_BUDGET)
    assert measured("one_action", cut, ASEARCHER) == 1.0


@pytest.mark.parametrize(
    ("text", "balanced"),
    [
        ("<think>t</think><answer>a</answer>", 1.0),
        ("<think>I will write <answer> soon</think><answer>a</answer>", 1.0),
        ("<think>t</think></think><answer>a</answer>", 0.0),
        ("<think>t<answer>a</answer>", 0.0),
        ("<think>t</think><tool_call>{}", 0.0),
        ("<think>t</think><answer>a", 0.0),
    ],
)
def test_tags_are_balanced_if_each_is_closed_and_a_thought_may_name_them(
    text: str, balanced: float
) -> None:
    assert measured("balanced", trajectory_of(text, grammar=TOOL_CALL), TOOL_CALL) == balanced


def test_without_an_answer_deep_researcher_loses_one() -> None:
    one = trajectory_of("<think>t</think>", golds=["a"], grammar=TOOL_CALL)
    assert worth(DEEP, one, TOOL_CALL) == -1.0


@pytest.mark.parametrize(
    ("calls", "retrieved"),
    [([], 0.0), ([call(0)], 0.0), ([call(0, "down")], 0.0), ([call(0), call(2)], 1.0)],
)
def test_only_documents_that_came_count_as_retrieved(calls: list[Call], retrieved: float) -> None:
    made_up = "<think>t</think><search>q</search><information>mine</information><answer>a</answer>"
    assert measured("retrieved", trajectory_of(made_up, calls=calls)) == retrieved


def test_augmented_answers_are_a_measure_of_their_own() -> None:
    one = trajectory_of("<answer>the big sea</answer>", golds=["Sea"])
    assert measured("f1_set", one) == 0.5
    assert measured("f1_set_augmented", one) == 0.0
    for named in ("Big Sea", ["Lake", "Big Sea"]):
        question = replace(one.question, metadata={"augmented_answers": named})
        assert measured("f1_set_augmented", replace(one, question=question)) == pytest.approx(0.8)


def test_recall_is_of_the_documents_that_any_call_returned() -> None:
    question = Question("q", "Who?", (), {SUPPORTING: ["d0", "d1", "d9", "d8"]})
    one = replace(trajectory_of("x", calls=[call(1), call(2)]), question=question)
    assert measured("pool_recall", one) == 0.5
    assert measured("pool_recall", trajectory_of("x", calls=[call()])) == 0.0
