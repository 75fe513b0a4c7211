"""Both format rewards; the graded one against the released code's recorded results."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from innersearch.grammar import last_answer
from innersearch.rewards import graded_format, strict_format
from tests.scoring import rewarded
from tests.trajectories import texts


def rounds(searches: int, thoughts: int | None = None) -> str:
    """A canonical trajectory; `thoughts` other than searches + 1 adds or drops think blocks."""
    thoughts = searches + 1 if thoughts is None else thoughts
    parts = []
    for index in range(max(searches, thoughts - 1)):
        if index < thoughts - 1 or index == 0:
            parts.append("<think>t</think>")
        if index < searches:
            parts.append("<search>q</search><information>i</information>")
    if thoughts > 1 or searches == 0:
        parts.append("<think>t</think>")
    return "".join(parts) + "<answer>a</answer>"


ONE = "<think>t</think><search>q</search><information>i</information><think>t</think><answer>a</answer>"

# What the released code gives (reward_manager/naive.py 268-373, executed).
GRADED = [
    ("<think>t</think><answer>a</answer>", 0.5),
    (rounds(1), 1.0),
    (rounds(7), 1.0),
    (rounds(8), 0.0),
    ("<think>t</think><search>q</search><information>i</information><answer>a</answer>", 0.25),
    ("<think>t</think>" + ONE, 2 / 3),
    (
        "<think>t</think><search>q</search><information>i</information>"
        "<search>q</search><information>i</information><think>t</think><answer>a</answer>",
        2 / 3,
    ),
    ("<think>t</think><answer>a</answer>" * 2, 0.5),
    ("x" + ONE, 0.0),
    (ONE + "x", 0.0),
    ("  " + ONE + "\n", 1.0),
]

LOOPHOLES = {
    "free text between tags": ONE.replace("</information>", "</information> free text "),
    "unclosed middle think": ONE.replace("t</think><answer>", "t<answer>"),
    "stray closing search": ONE.replace("</information>", "</information></search>"),
    "early answer": ONE.replace("</information>", "</information><answer>b</answer>"),
}

BAD_FOR_BOTH = {
    "unknown tag": ONE.replace(">t<", "><br><", 1),
    "comparison read as a tag": ONE.replace(">t<", ">x < 3 and y > 2<", 1),
    "blank query": ONE.replace(">q<", "> <"),
    "query on two lines": ONE.replace(">q<", ">q\nr<"),
    "no answer": ONE.replace("<answer>a</answer>", ""),
    "search without information": ONE.replace("<information>i</information>", ""),
    "information without search": ONE.replace("<search>q</search>", ""),
    "placeholder": ONE.replace(">q<", ">Your Query here<"),
    "empty": "",
}


@pytest.mark.parametrize(("text", "value"), GRADED)
def test_graded_format_gives_what_the_released_code_gives(text: str, value: float) -> None:
    assert graded_format(text) == pytest.approx(value)


@pytest.mark.parametrize("name", LOOPHOLES)
def test_loopholes_of_the_released_code_earn_nothing_when_strict(name: str) -> None:
    text = LOOPHOLES[name]
    assert graded_format(text) == 1.0
    assert strict_format(text) == 0.0


@pytest.mark.parametrize("name", BAD_FOR_BOTH)
def test_graded_format_refuses(name: str) -> None:
    assert graded_format(BAD_FOR_BOTH[name]) == 0.0


STRICT_BAD = {
    **LOOPHOLES,
    "free text before": "x" + ONE,
    "free text after": ONE + "x",
    "unclosed answer": ONE.removesuffix("</answer>"),
    "unclosed information": ONE.replace("</information>", ""),
    "nested information": ONE.replace(">i<", "><information>i</information><"),
    "two answers": ONE + "<answer>a</answer>",
    "think twice": "<think>t</think>" + ONE,
    "starts with a search": ONE.removeprefix("<think>t</think>"),
    "tag inside a thought": ONE.replace(">t<", ">t</search><", 1),
    "blank answer": ONE.replace(">a<", "> <"),
    "query on two lines": ONE.replace(">q<", ">q\nr<"),
    "query on two lines of an old Mac": ONE.replace(">q<", ">q\rr<"),
    "query with a line separator": ONE.replace(">q<", ">q\u2028r<"),
    "too many rounds": rounds(8),
    "empty": "",
}


@pytest.mark.parametrize("name", STRICT_BAD)
def test_strict_format_refuses(name: str) -> None:
    assert strict_format(STRICT_BAD[name]) == 0.0


def test_strict_format_accepts() -> None:
    spaced = ONE.replace("><", ">\r\n\n<")
    multi_line = ONE.replace(">i<", ">\nDoc 1: a\nDoc 2: x < 3, <br>\n<")
    answers = ("<think>t</think><answer>a</answer>", ONE, rounds(7), spaced, multi_line)
    assert [strict_format(text) for text in answers] == [1.0] * 5


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        (ONE, 1.0),
        (ONE.replace(">a<", ">b<"), 0.1),
        (ONE + " so", 0.9),
        ("nothing", 0.0),
    ],
)
def test_reward_has_the_four_published_values(text: str, reward: float) -> None:
    assert rewarded(text, ["A"], SSRL)[0] == pytest.approx(reward)


SSRL = "0.9*em + 0.1*format:strict"
F1 = "f1"
"""ZeroSearch's: F1 and nothing else."""


def answering(answer: str) -> str:
    return ONE.replace(">a<", f">{answer}<")


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("Belira Komar", 1.0),
        ("the belira, KOMAR!", 1.0),
        ("Belira", 2 / 3),
        ("it is Belira Komar", 2 * 2 / 6),
        ("Belira Belira Komar", 2 * 2 / 5),
        ("Zorin", 1.0),
        ("Zorin or Belira Komar", 2 * 2 / 6),
        ("Goltek", 0.0),
        ("the", 0.0),
    ],
)
def test_f1_is_the_best_one_over_the_gold_answers(answer: str, reward: float) -> None:
    golds = ["Belira Komar", "Zorin"]
    value, parts = rewarded(answering(answer), golds, F1)
    assert value == parts["f1"] == pytest.approx(reward)
    assert parts["em"] == float(reward == 1.0), "reported all the same"
    assert parts["format"] == 1.0


def test_f1_needs_no_format_but_an_answer_of_the_policy_s_own() -> None:
    for text in ("<answer>a b</answer> and more", "<answer>c</answer> no <answer>a b</answer>"):
        assert rewarded(text, ["a b"], F1) == (1.0, {"em": 1.0, "f1": 1.0, "format": 0.0})
    for text in ("", "a b", "<answer>a b", "<information><answer>a b</answer></information>"):
        assert rewarded(text, ["a b"], F1) == (0.0, {"em": 0.0, "f1": 0.0, "format": 0.0})


def test_f1_and_format_are_weighed_like_em_and_format() -> None:
    half = "0.75*f1 + 0.25*format:strict"
    assert rewarded(answering("x"), ["x y z"], half)[0] == pytest.approx(0.75 * 0.5 + 0.25)
    em = "0.75*em + 0.25*format:strict"
    assert rewarded(answering("x"), ["x y z"], em)[0] == pytest.approx(0.25)
    graded = "0.9*f1 + 0.1*format:graded"
    loophole = LOOPHOLES["free text between tags"]
    assert rewarded(loophole, ["a"], graded)[0] == pytest.approx(1.0)
    assert rewarded(loophole, ["a"], SSRL)[0] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (ONE, 0.0),
        (answering("wrong"), 0.0),
        ("<think>t</think><answer>a</answer>", 0.25),
        ("<think>t</think><search>q</search>", 0.5),
        (ONE.replace(">a<", "> <"), 0.5),
        (ONE.replace("</answer>", ""), 0.5),
        ("<think>t</think><answer></answer>", 0.75),
        ("<think>t</think><search>q", 0.75),
        ("", 0.75),
    ],
)
@pytest.mark.parametrize("answer", ["em", "f1"])
def test_not_to_search_and_not_to_answer_each_cost_their_penalty(
    text: str, lost: float, answer: str
) -> None:
    free = f"0.9*{answer} + 0.1*format:strict"
    dear = f"{free} - 0.5*not:answered - 0.25*not:searched"
    without, parts = rewarded(text, ["a"], free)
    value, more = rewarded(text, ["a"], dear)
    assert value == pytest.approx(without - lost)
    assert more == parts | {name: more[name] for name in ("not:answered", "not:searched")}
    assert lost == 0.5 * more["not:answered"] + 0.25 * more["not:searched"]


def test_with_penalties_a_wrong_answer_is_worth_more_than_none() -> None:
    """With F1 alone both are worth nothing, and a policy may learn to answer nothing."""
    wrong, none = answering("Goltek"), ONE.replace("<answer>a</answer>", "")
    assert rewarded(wrong, ["a"], F1)[0] == rewarded(none, ["a"], F1)[0] == 0.0
    dear = "f1 - 0.1*not:answered - 0.1*not:searched"
    assert rewarded(wrong, ["a"], dear)[0] == 0.0
    assert rewarded(none, ["a"], dear)[0] == pytest.approx(-0.1)
    assert rewarded("", ["a"], dear)[0] == pytest.approx(-0.2)


def test_the_last_closed_answer_outside_information_counts() -> None:
    assert last_answer("<answer>a</answer><answer> b </answer><answer>c") == "b"
    assert last_answer("<information><answer>a</answer></information>") is None
    assert last_answer("<information><answer>a</answer>") is None


@settings(max_examples=2000, deadline=None)
@given(texts)
def test_rewards_are_in_range_and_strict_never_exceeds_what_tags_allow(
    fragments: list[str],
) -> None:
    text = "".join(fragments)
    assert strict_format(text) in (0.0, 1.0)
    assert 0.0 <= graded_format(text) <= 1.0
    reward, parts = rewarded(text, ["Belira"], SSRL)
    assert reward == pytest.approx(0.9 * parts["em"] + 0.1 * parts["format"])
