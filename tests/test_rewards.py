"""Both format rewards; the graded one against the released code's recorded results."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from innersearch.grammar import last_answer
from innersearch.rewards import graded_format, ssrl_reward, strict_format
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
    assert ssrl_reward(text, ["A"])[0] == pytest.approx(reward)


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
    reward, parts = ssrl_reward(text, ["Belira"])
    assert reward == pytest.approx(0.9 * parts["em"] + 0.1 * parts["format"])
