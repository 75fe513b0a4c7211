"""Test-time RL: the majority's answer is the label, and gold answers have no say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.rewards.votes import VOTE, label_of
from innersearch.stored import read_lines
from innersearch.train.monitors import METRICS, step_metrics
from innersearch.types import Finish, Question, Sampling, Segment, Source, Span, StopReason, Trajectory
from innersearch.types import Kind as K
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions
from tests.scoring import rubric

MAJORITY = rubric("0.9*majority + 0.1*format:strict")


def trajectory(group: str, repetition: int, answer: str | None, gold: tuple[str, ...]) -> Trajectory:
    """A well-formed trajectory that answers so, or an unfinished one."""
    text = f"<think>t</think><answer>{answer}</answer>" if answer is not None else "<think>t"
    segment = Segment(
        token_ids=[0, 1],
        prompt_len=1,
        sampled_mask=[False, True],
        loss_mask=[False, True],
        logprobs=[None, -0.5],
        spans=[Span(0, 1, K.PROMPT, Source.TEMPLATE), Span(1, 2, K.TEXT, Source.POLICY, text)],
        finish=Finish.EOS,
    )
    made = Trajectory(
        uid=f"{group}/{repetition}",
        group_id=group,
        repetition=repetition,
        question=Question(group, "Who?", gold),
        segments=[segment],
        calls=[],
        sampling=Sampling(),
        stop_reason=StopReason.EOS,
        answer=answer,
    )
    reward, components = MAJORITY.score(made)
    return Trajectory(
        **{f: getattr(made, f) for f in made.__slots__} | {"reward": reward, "components": components}
    )


def group(name: str, answers: list[str | None], gold: tuple[str, ...] = ("Paris",)) -> list[Trajectory]:
    return [trajectory(name, i, answer, gold) for i, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("answers", "label"),
    [
        (["Paris", "the PARIS!", "Rome"], "paris"),
        (["Rome", "Paris", "Paris", "Rome"], "rome"),
        ([None, None, "Rome"], "rome"),
        (["the", "a", "!", "Rome"], "rome"),
        ([None, "the", ""], None),
        ([], None),
    ],
)
def test_votes_are_normalised_and_ties_go_to_the_first(answers, label) -> None:
    assert label_of(answers) == label


def test_rewards_are_agreement_and_format_whatever_is_gold() -> None:
    answers = ["Rome", "rome.", "Paris", None]
    by_gold = {
        gold: [t.reward for t in MAJORITY.settle(group("g", answers, gold))]
        for gold in [("Paris",), ("Rome",), ()]
    }
    assert by_gold["Paris",] == pytest.approx([1.0, 1.0, 0.1, 0.0])
    assert by_gold["Paris",] == by_gold["Rome",] == by_gold[()]


def test_a_group_without_votes_agrees_with_nobody() -> None:
    assert [t.components[VOTE] for t in MAJORITY.settle(group("g", [None, "the"]))] == [0.0, 0.0]


def test_each_group_has_its_own_label() -> None:
    both = MAJORITY.settle(
        [*group("a", ["Rome", "Rome", "Paris"]), *group("b", ["Paris", "Oslo", "Paris"])]
    )
    assert [t.components[VOTE] for t in both] == [1, 1, 0, 1, 0, 1]
    metrics = step_metrics(both)
    assert metrics["vote/share"] == pytest.approx(2 / 3)
    assert metrics["vote/label_accuracy"] == 0.5
    assert metrics["vote/answers"] == 2
    assert metrics["vote/none"] == metrics["vote/unanimous"] == 0
    assert metrics.keys() <= METRICS.keys()
    assert {"reward/em", "reward/format"} <= metrics.keys()


def test_without_gold_answers_nothing_is_said_of_accuracy() -> None:
    metrics = step_metrics(MAJORITY.settle(group("a", ["Rome", "Rome", "Paris"], ())))
    assert metrics["reward/mean"] == pytest.approx(0.1 + 0.9 * 2 / 3)
    assert not {"reward/em", "vote/label_accuracy"} & metrics.keys()


SHORT = [
    *("--trainer.steps", "2", "--trainer.prompts-per-step", "2", "--trainer.group-size", "8"),
    *("--trainer.micro-batch", "8", "--sampling.max-new-tokens", "64"),
]


@pytest.mark.usefixtures("in_empty_folder")
def test_command_line_trains_on_unlabelled_questions() -> None:
    asked = questions(Encyclopedia.generate(0), Split.TEST)[:4]
    rows = [{"id": q.id, "question": q.question} for q in asked]
    Path("asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["train", "recipes/ttrl-world.toml", "--data", "asked.jsonl", "--empty-groups", *SHORT]
    assert main([*arguments, "--output", "run"]) == 0
    trajectories = list(read_lines(Path("run/trajectories.jsonl")))
    assert len(trajectories) == 32
    for uid in {t["group_id"] for t in trajectories}:
        members = [t for t in trajectories if t["group_id"] == uid]
        label = label_of([t.get("answer") for t in members])
        for member in members:
            agrees = label is not None and label_of([member.get("answer")]) == label
            assert member["components"]["vote"] == agrees
            expected = 0.9 * agrees + 0.1 * member["components"]["format"]
            assert member["reward"] == pytest.approx(expected, abs=1e-5)
    assert all("vote/share" in record for record in read_lines(Path("run/metrics.jsonl")))
    # Any other reward needs them.
    assert main(["train", "recipes/ssrl-world.toml", "--data", "asked.jsonl", "--output", "other"]) == 1
