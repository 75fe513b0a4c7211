"""Answers without search: nothing can be asked for, and all that is said is the answer."""

from __future__ import annotations

import pytest

from innersearch.assemble.agents import Agent
from innersearch.grammar import GRAMMARS, last_answer
from innersearch.policy.loading import load_tokenizer
from innersearch.testing import ScriptedPolicy
from innersearch.types import Question, StopReason
from innersearch.world.bundled import BUNDLED
from tests.scoring import rubric, trajectory_of

DIRECT = GRAMMARS["direct"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" Lima", "Lima"),
        ("<think> Peru? </think> Lima\n", "Lima"),
        ("<think> Peru? </think><answer> Lima</answer>", "Lima"),
        ("<think> Peru?", None),
        ("<search> Peru</search>", "<search> Peru</search>"),
    ],
)
def test_the_answer_is_what_is_said_after_the_last_thought(text: str, answer: str | None) -> None:
    assert last_answer(text, DIRECT) == answer
    assert last_answer(" Lima") is None


def test_a_rollout_without_calls() -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    question = Question("q", "What is the capital of Peru?", ("Lima",))

    def rolled(text: str):
        agent = Agent(ScriptedPolicy(tokenizer, [text]), tokenizer)
        [found] = agent.roll_out([question], grammar="direct", prompt="world-direct", reward="em")
        return found

    right = rolled(" Lima")
    assert (right.answer, right.reward, right.calls) == ("Lima", 1.0, [])
    asking = rolled("<search> capital of Peru</search><information> Lima</information> Lima")
    assert (asking.reward, asking.calls, asking.stop_reason) == (0.0, [], StopReason.EOS)
    # A document that the policy writes itself is masked here too.
    [segment] = asking.segments
    assert not all(segment.loss_mask[segment.prompt_len :])


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("<think>one two three</think><answer>x</answer>", 3 / 50),
        ("<think>a b c d</think><search>q</search><think>e f</think>", 3 / 50),
        (f"<think>{'word ' * 70}</think>", 1.0),
        ("<answer>x</answer>", 0.0),
    ],
)
def test_long_thoughts_are_counted_in_words_per_thought(text: str, length: float) -> None:
    reward, components = rubric("0.2*long_thoughts").score(trajectory_of(text))
    assert components["long_thoughts"] == pytest.approx(length)
    assert reward == pytest.approx(0.2 * length)
