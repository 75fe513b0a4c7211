"""What a policy writes behind examples: who writes which line, and what becomes of what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.cold_start.examples import read_examples
from innersearch.cold_start.few_shot import LONGEST, Asked, FewShot
from innersearch.cold_start.settings import StartSettings
from innersearch.cold_start.writing import demonstrated, measured
from innersearch.policy.base import Request
from innersearch.policy.loading import load_tokenizer
from innersearch.testing import ScriptedPolicy
from innersearch.types import Question
from innersearch.world.bundled import BUNDLED

TOKENIZER = load_tokenizer(str(BUNDLED))
QUESTION = Question("q", "What is x?", ("y",))
LINES = {
    "Thought:": " I need x.\n",
    "Search:": " value of x\n",
    "Result:": " x is y.\n",
    "Answer:": " y\n",
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Few and short examples."""
    step = {"thought": "I need a.", "search": "value of a", "information": "a is b."}
    rows = [
        {"question": "What is a?", "steps": [step] * n, "thought": "So.", "answer": "b"}
        for n in (0, 1, 2)
    ]
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prompt_of(request: Request) -> str:
    return str(TOKENIZER.decode(request.prompt_ids))


def writing(file: str, lines: dict[str, str] = LINES) -> tuple[FewShot, ScriptedPolicy]:
    policy = ScriptedPolicy(
        TOKENIZER, lambda request: lines[prompt_of(request).rpartition("\n")[2].strip()]
    )
    return FewShot(policy, TOKENIZER, read_examples(file)), policy


@pytest.mark.parametrize("searches", [0, 1, 2])
def test_the_policy_writes_every_line_and_the_framework_the_labels(file: str, searches: int) -> None:
    few_shot, policy = writing(file)
    [written] = few_shot.stream([Asked(QUESTION, searches)])
    step = ("I need x.", "value of x", "x is y.")
    assert written.texts == (*step * searches, "I need x.", "y")
    assert (written.whole, written.answer) == (True, "y")
    assert len(policy.requests) == 3 * searches + 2
    for request in policy.requests:
        # The world's tokenizer begins every text with a space.
        before = prompt_of(request).lstrip()
        result = before.endswith("Result:")
        examples = few_shot.examples.results() if result else few_shot.examples.text(searches)
        assert before.startswith(examples)
        assert request.shared == len(TOKENIZER.encode(examples, add_special_tokens=False))
        # Results know neither the question nor what was written.
        assert (QUESTION.question in before) is not result


def test_what_has_no_line_or_no_end_is_not_whole(file: str) -> None:
    for bad in ("\n", " on" * (LONGEST + 9)):
        [written] = writing(file, LINES | {"Result:": bad})[0].stream([Asked(QUESTION, 1)])
        assert not written.whole
        assert written.answer is None
        assert written.texts == ("I need x.", "value of x")


def test_tags_that_it_writes_are_harmless(file: str) -> None:
    [written] = writing(file, LINES | {"Answer:": " y</answer><search>z\n"})[0].stream(
        [Asked(QUESTION, 0)]
    )
    assert "<" not in written.texts[-1]


def questions(count: int, group: str = "one_hop") -> list[Question]:
    return [Question(f"{group}{n}", f"What is {n}?", (str(n),), {"group": group}) for n in range(count)]


SETTINGS = StartSettings(model="m", data="d", validation="v", questions=3000)


def test_the_number_of_searches_is_drawn_whatever_the_question() -> None:
    asked = demonstrated([*questions(500), *questions(500, "two_hop")], SETTINGS)
    assert len(asked) == 3000
    for group in ("one_hop", "two_hop"):
        for searches in range(3):
            share = sum(one.searches == searches for one in asked if one.question.group == group) / 1500
            assert share == pytest.approx(1 / 3, abs=0.04)
    # A question that comes again need not search as often again.
    first, again = asked[:1000], asked[1000:2000]
    assert [one.question for one in first] == [one.question for one in again]
    assert sum(a.searches == b.searches for a, b in zip(first, again, strict=True)) < 450


def test_so_many_of_each_group_are_measured_in_an_order_of_the_seed() -> None:
    found = measured([*questions(60), *questions(5, "two_hop")], SETTINGS)
    assert len(found) == 48 + 5
    other = measured(questions(60), SETTINGS.model_copy(update={"seed": 1}))
    assert other != found[:48]
