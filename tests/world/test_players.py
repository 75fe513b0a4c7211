"""Agents of rules: what can be found out in the embedded world, and what limits take away."""

from __future__ import annotations

from collections.abc import Sequence

from innersearch.assemble.agents import Agent
from innersearch.assemble.sources import load_questions
from innersearch.metrics import exact_match
from innersearch.policy.loading import load_tokenizer
from innersearch.testing import ScriptedPolicy
from innersearch.types import Question, StopReason, Trajectory
from innersearch.world.bundled import BUNDLED
from innersearch.world.engine import world_engine
from innersearch.world.follower import follower

TOKENIZER = load_tokenizer(str(BUNDLED))


def followed(questions: Sequence[Question], searches: int, context: str = "append") -> list[Trajectory]:
    policy = ScriptedPolicy(TOKENIZER, follower(TOKENIZER), context=4096)
    return list(
        Agent(policy, TOKENIZER).roll_out(
            questions,
            engine=world_engine(1),
            grammar="asearcher",
            context=context,
            rollout={"reads_first": True, "pages": "corpus"},
            prompt="world",
            k=1,
            style="linked",
            max_searches=searches,
            stop_at_answer=True,
            max_new_tokens=3000,
        )
    )


def test_a_long_line_is_followed_and_a_limit_of_searches_ends_it() -> None:
    lines = load_questions("world:lineages-test")
    questions = [q for q in lines if q.metadata["depth"] in (3, 9, 16)][::20]
    right = {}
    for limit in (4, 10, 40):
        found = followed(questions, limit)
        right[limit] = [exact_match(t.answer, t.question.golden_answers) for t in found]
        for trajectory in found:
            readings = sum(len(s.spans) for s in trajectory.segments)
            assert readings > 0
            assert (trajectory.stop_reason is StopReason.ANSWER) == (trajectory.answer is not None)
    assert right == {4: [True, False, False], 10: [True, True, False], 40: [True, True, True]}


def test_a_line_is_followed_under_results_that_are_cut_short_once_they_were_read() -> None:
    [deep] = [q for q in load_questions("world:lineages-test") if q.metadata["depth"] == 12][:1]
    whole, pages = followed([deep], 40), followed([deep], 40, "shorten-pages:100")
    assert [t.answer for t in (*whole, *pages)] == [deep.golden_answers[0]] * 2
