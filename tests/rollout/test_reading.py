"""ASearcher's replies: a thought about what came back, alone, and then what the policy does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from innersearch.grammar import ASEARCHER
from innersearch.rewards import Scored, find_measure
from innersearch.rollout.context import append, shorten
from innersearch.search.base import SearchResult
from innersearch.tools.base import Argument, Outcome, ToolSchema
from innersearch.types import Call, Document, Source, StopReason, Trajectory
from tests.rollout.scripts import TOKENIZER, Script, roll

PARTS = ("The first part of the page. " * 9, "The second part of it. " * 9, "The third. " * 9)
ADDRESS = "https://world.invalid/d"
REPLIES = (
    "where</think><search>a</search>",
    "it is on a page</think>",
    f"<access>{ADDRESS}</access>",
    "nothing yet</think>",
    "it comes</think>",
    "there it is</think>",
    "<answer>Belira</answer>",
)


@dataclass
class Pages:
    """A page in three parts."""

    schema = ToolSchema("open", "Open a page.", (Argument("url", "Its address."),))

    async def use(self, action: Any, request: Any, state: Any) -> Outcome:
        documents = tuple(Document(f"p{n}", "", part) for n, part in enumerate(PARTS))
        call = Call(0, action.inputs[0], Source.PAGE, list(documents), tool="open")
        return Outcome((SearchResult(documents),), (call,))

    async def close(self) -> None:
        pass


def read(context: Any, replies: Sequence[str] = REPLIES, **chosen: Any) -> tuple[Trajectory, Script]:
    policy = Script(replies)
    search = {"style": "linked", "stop_at_answer": True}
    found = roll(
        policy, "asearcher", tools=[Pages()], context=context, search=search, reads_first=True, **chosen
    )
    return found, policy


def shown(policy: Script, reply: int) -> str:
    return " ".join(TOKENIZER.decode(policy.asked[reply].prompt_ids).split())


@pytest.mark.parametrize(
    "context", [append(), shorten(20, pages=True), shorten(0)], ids=lambda c: c.name
)
def test_every_part_of_a_page_is_read_before_the_policy_acts(context: Any) -> None:
    trajectory, policy = read(context)
    assert (trajectory.answer, trajectory.stop_reason) == ("Belira", StopReason.ANSWER)
    assert len(policy.asked) == len(REPLIES)
    for part, reply in zip(PARTS, (3, 4, 5), strict=True):
        assert " ".join(part.split()) in shown(policy, reply)
        assert " ".join(part.split()) not in shown(policy, reply - 1)
    assert shown(policy, 3).endswith("<think>")
    assert not shown(policy, 2).endswith("<think>")


def test_a_page_is_shown_in_full_once_and_what_searches_found_always() -> None:
    trajectory, policy = read(shorten(40, pages=True))
    last = shown(policy, 6)
    assert "All about a." in last
    for part in PARTS:
        assert " ".join(part.split()) not in last
    assert last.count("The first part") == last.count("The second part") == 1
    for thought in ("it is on a page", "nothing yet", "it comes", "there it is"):
        assert thought in last
    assert len(trajectory.segments) > 1
    assert "All about a." not in shown(read(shorten(0))[1], 6)


def test_every_reply_is_thoughts_and_one_action_and_readings_are_turns() -> None:
    one_action = find_measure("one_action")
    assert callable(one_action)
    two = "<search>a</search><search>b</search>"
    for context in (append(), shorten(40, pages=True), shorten(0)):
        trajectory, _ = read(context)
        assert one_action(Scored(trajectory, ASEARCHER)) == 1.0, context.name
        wrong, _ = read(context, (*REPLIES[:6], f"{two}</think>", "<answer>a</answer>"))
        assert one_action(Scored(wrong, ASEARCHER)) == 0.0, context.name
    cut, policy = read(append(), max_turns=4)
    assert (cut.stop_reason, len(policy.asked)) == (StopReason.TURN_LIMIT, 4)
    answered, policy = read(
        append(), (*REPLIES[:4], f"so</think>{REPLIES[6]}"), max_turns=4, last_turn="answer"
    )
    assert (answered.answer, len(policy.asked)) == ("Belira", 5)
