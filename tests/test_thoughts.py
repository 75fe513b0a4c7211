"""What a model thinks is neither its answer nor a document, however its family marks it."""

from __future__ import annotations

import pytest

from innersearch.evaluate.scores import score
from innersearch.thoughts import begins_inside, is_mark, spoken
from innersearch.types import (
    Finish,
    Kind,
    Question,
    Sampling,
    Segment,
    Source,
    Span,
    StopReason,
    Trajectory,
)

CHANNELS = (
    "<|channel|>analysis<|message|>Lima?<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>"
)
CALL = (
    "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>commentary to=functions.s "
    '<|constrain|>json<|message|>{{"q": 1}}<|call|><|start|>assistant<|channel|>final<|message|>{}'
)
FAMILIES = {
    "DeepSeek, Qwen": "<think>\nLima?\n</think>\n\n{}",
    "an empty thought": "<think>\n\n</think>\n\n{}",
    "the template opened it": "Lima? No.\n</think>\n\n{}",
    "several": "<think>Lima?</think>Lima<think>No.</think>{}",
    "nested": "<think>Lima <think>or</think> Rome</think>{}",
    "a mention of the mark": "<think>Do I use <think> tags?</think>{}",
    "in capitals": "<Thinking>Lima?</Thinking>{}",
    "with attributes": '<thought time="3">Lima?</thought >{}',
    "Seed": "<seed:think>Lima?</seed:think>{}",
    "LongCat": "<longcat_think>Lima?</longcat_think>{}",
    "reasoning": "<reasoning>Lima?</reasoning>{}",
    "Reflection": "<thinking>Lima<reflection>no</reflection></thinking><output>{}</output>",
    "Magistral": "[THINK]Lima?[/THINK]{}",
    "Kimi": "◁think▷Lima?◁/think▷{}",
    "Sky-T1": "<|begin_of_thought|>Lima?<|end_of_thought|><|begin_of_solution|>{}<|end_of_solution|>",
    "Cohere": "<|START_THINKING|>Lima?<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
    "Apertus": "<|inner_prefix|>Lima?<|inner_suffix|>{}",
    "Solar": "<|think|>Lima?<|end|><|begin|>assistant<|content|>{}<|end|>",
    "Gemma": "<|channel>thought\nLima?<channel|>{}",
    "MedGemma": "<unused94>thought\nLima?<unused95>{}",
    "gpt-oss": CHANNELS,
    "gpt-oss with a call": CALL,
    "gpt-oss without control tokens": "analysisWe think of Lima.assistantfinal{}",
    "Granite 3.2": "Here is my thought process: Lima?\nHere is my response: {}",
    "Hunyuan": "<think>Lima?</think>\n<answer>\n{}\n</answer>",
    "GLM": "<think>Lima?</think>\n<|begin_of_box|>{}<|end_of_box|>",
    "s1": "<|im_start|>think\nLima?\n<|im_start|>answer\n{}",
    "Hermes": "<SCRATCH_PAD>Lima?</SCRATCH_PAD>{}",
    "an end of sequence left behind": "<think>Lima?</think>{}<｜end▁of▁sentence｜>",
    "several ends left behind": "<think>Lima?</think>{}</s><|END_OF_TURN_TOKEN|>\n",
    "a box and an end": "<think>Lima?</think><|begin_of_box|>{}<|end_of_box|><|endoftext|>",
    "escaped": "&lt;think&gt;Lima?&lt;/think&gt;{}",
}
UNFINISHED = [
    "<think>Paris",
    "Paris <think>or Lima",
    "<think>Lima</think><think>Paris",
    "[THINK]Paris",
    "◁think▷Paris",
    "<|channel|>analysis<|message|>Paris",
    "<|channel|>analysis",
    "analysisWe say Paris.",
    "<|begin_of_thought|>Paris",
    "Here is my thought process: Paris",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_follows_the_last_thought_is_the_answer(family: str) -> None:
    reply = spoken(FAMILIES[family].format("Paris"))
    assert reply.last == "Paris"
    assert reply.thought


@pytest.mark.parametrize("text", UNFINISHED)
def test_a_reply_that_ends_inside_a_thought_says_nothing(text: str) -> None:
    assert (spoken(text).last, spoken(text).whole, spoken(text).thought) == (None, None, True)


@pytest.mark.parametrize(
    "text",
    [
        *("", " Paris\n", "a < b", "<b>Paris</b>", "[1] I think [so]", "analysis of it", "[thought]"),
        *("A <thinking about> it", "<p>thoughts</p>", "<|im_end|>", "Here is my response: x"),
    ],
)
def test_a_text_without_thoughts_stays_as_it_is(text: str) -> None:
    assert spoken(text).parts == (text,)
    assert not spoken(text).thought


def test_all_that_is_said_between_thoughts_is_kept_apart() -> None:
    assert spoken("<think>a</think>Doc 1: x<think>b</think>Doc 2: y").parts == ("Doc 1: x", "Doc 2: y")
    assert spoken("secret</think>\n<think>b</think>\nDoc 1: x").parts == ("\nDoc 1: x",)


def test_a_reply_may_begin_inside_a_thought() -> None:
    assert spoken("Paris", inside=True).last is None
    assert spoken("Lima?</think>Paris", inside=True).last == "Paris"
    for prompt in ("<|im_start|>assistant\n<think>\n", "[THINK]", "<|channel|>analysis<|message|>"):
        assert begins_inside(prompt)
    for prompt in ("", "assistant\n", "<think>\n\n</think>\n\n", "What is <think> for?"):
        assert not begins_inside(prompt)


def test_control_tokens_that_mark_thoughts_are_told_from_others() -> None:
    assert all(map(is_mark, ("[THINK]", "[/THINK]", "<|channel|>", "<think>", "<unused94>")))
    assert not any(map(is_mark, ("<|im_end|>", "<pad>", "</s>", "[INST]", "<|endoftext|>")))


@pytest.mark.parametrize(
    "text",
    [
        *("<think>" * 150_000, "</think>" * 120_000, "<|channel|>final<|message|>x" * 35_000),
        *("<" * 1_000_000, "<a_a_a_" * 140_000, "<think " * 140_000, "<|channel|>" + "a " * 500_000),
        "analysisA" + "assistantfinal" * 70_000,
    ],
    ids=range(8),
)
def test_a_megabyte_of_marks_is_read(text: str) -> None:
    """In quadratic time it would take hours."""
    assert spoken(text).parts != (text,) or text[0] == "<"


def direct(text: str) -> Trajectory:
    spans = [Span(0, 1, Kind.PROMPT, Source.TEMPLATE), Span(1, 2, Kind.TEXT, Source.POLICY, text)]
    segment = Segment([0, 1], 1, [False, True], [False, True], [None, -1.0], spans, Finish.EOS)
    question = Question("1", "Which city?", ("Paris",))
    return Trajectory("u", "g", 0, question, [segment], [], Sampling(), StopReason.EOS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_direct_answer_is_scored_without_the_thought_before_it(family: str) -> None:
    right = score(direct(FAMILIES[family].format("Paris")), direct=True)
    assert (right.answer, right.em, right.cover_em) == ("Paris", True, True)
    wrong = score(direct(FAMILIES[family].format("Rome").replace("Lima", "Paris")), direct=True)
    assert (wrong.answer, wrong.em, wrong.cover_em, wrong.f1) == ("Rome", False, False, 0.0)


@pytest.mark.parametrize("text", UNFINISHED)
def test_an_unfinished_thought_is_no_direct_answer(text: str) -> None:
    found = score(direct(text), direct=True)
    assert (found.answer, found.em, found.cover_em) == (None, False, False)


def test_the_thoughts_of_a_trajectory_with_tags_are_its_own() -> None:
    text = "<think>Lima</think><search>q</search><information>…</information><answer>Paris</answer>"
    found = score(direct(text), direct=False)
    assert found.answer == "Paris"
    assert found.em
