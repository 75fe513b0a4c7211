"""Rollouts ahead of training: whose weights sampled what, in which order, and what a kill costs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from innersearch.assemble.engines import open_engine
from innersearch.assemble.recipes import recipe_with
from innersearch.assemble.sources import load_questions
from innersearch.config import Recipe, SearchSettings
from innersearch.errors import ConfigError, RunError
from innersearch.grammar import MaskRule
from innersearch.policy.base import Request
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.runs import Run
from innersearch.search.wrappers.failing import Failing
from innersearch.stored import read_lines
from innersearch.train.monitors import METRICS
from innersearch.train.order import steps
from innersearch.train.run import train
from innersearch.train.spent import spent
from innersearch.train.trl.segments import SegmentTrainer
from innersearch.train.versioned import VersionedPolicy
from innersearch.types import Sampling, Trajectory
from innersearch.world.bundled import BUNDLED
from tests.train.test_resume import finish, kill_after
from tests.train.test_trl import small, trainer_of

PLAN = {"steps": 4, "prompts_per_step": 2, "group_size": 2, "micro_batch": 4, "kl": 0.0, "kl_monitor": 0}
QUESTIONS = 16


def recipe(reward: str = "em", **trainer: object) -> Recipe:
    return Recipe.model_validate(
        {
            "model": str(BUNDLED),
            "prompt": {"name": "world"},
            "reward": reward,
            "sampling": {"max_new_tokens": 48},
            "trainer": PLAN | {"learning_rate": 1e-3} | trainer,
        }
    )


def groups_of(records: list[dict]) -> dict[int, list[str]]:
    """The rows of each step's groups, in their order; a group's name ends on its row."""
    found: dict[int, dict[str, None]] = {}
    for record in records:
        found.setdefault(record["step"], {})[record["group_id"].partition("/")[2]] = None
    return {step: list(rows) for step, rows in found.items()}


def ordered(number: int, size: int, count: int) -> dict[int, list[str]]:
    rows = steps(0, count, size)
    return {step: [str(row) for row in next(rows)] for step in range(1, number + 1)}


class Weights(TrainerCallback):
    """Keeps the weights with which each step begins, and what they are after the last one."""

    def __init__(self) -> None:
        self.at: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_begin(self, args, state, control, model=None, **_) -> None:
        self._keep(state.global_step + 1, model)

    def on_step_end(self, args, state, control, model=None, **_) -> None:
        self._keep(state.global_step + 1, model)

    def _keep(self, step: int, model: torch.nn.Module) -> None:
        self.at[step] = {name: p.detach().clone() for name, p in model.named_parameters()}


def trained(trainer: SegmentTrainer, weights: Weights) -> dict[int, dict[str, torch.Tensor]]:
    """Train; the weights at every step."""
    with trainer.ahead or nullcontext():
        trainer.train()
    return weights.at


def without_versions(trajectories: list[Trajectory]) -> list[Trajectory]:
    return [
        replace(t, segments=[replace(segment, versions=None) for segment in t.segments])
        for t in trajectories
    ]


def test_without_steps_ahead_the_thread_samples_what_taking_turns_samples(tmp_path: Path) -> None:
    values = small(steps=3, learning_rate=1e-3)
    trainer, expected = trainer_of(values, tmp_path / "turns", MaskRule(), turns := Weights())
    trained(trainer, turns)
    refilling = small(steps=3, learning_rate=1e-3, refill=True)
    trainer, seen = trainer_of(refilling, tmp_path / "thread", MaskRule(), thread := Weights())
    # Everything but the replacing.
    trainer.ahead.plan = values.trainer
    trained(trainer, thread)
    assert [without_versions(step) for step in seen] == expected
    for step, sampled in enumerate(seen, 1):
        told = {v for t in sampled for s in t.segments for v in s.versions if v is not None}
        assert told == {step}
    for name, tensor in turns.at[4].items():
        assert torch.equal(thread.at[4][name], tensor)


def test_tokens_were_sampled_by_the_weights_that_they_name(tmp_path: Path) -> None:
    """Where one version wrote all of a trajectory: keys and values of older weights stay as they are."""
    values = small(steps=5, ahead=2, correction="truncate", learning_rate=1e-3)
    trainer, seen = trainer_of(values, tmp_path, MaskRule(), kept := Weights())
    weights = trained(trainer, kept)
    model = load_model(trainer.model.name_or_path)
    ages: set[int] = set()
    for step, sampled in enumerate(seen, 1):
        for trajectory in sampled:
            [segment] = trajectory.segments
            chosen = [p for p, mask in enumerate(segment.sampled_mask) if mask]
            assert [p for p, v in enumerate(segment.versions) if v is not None] == chosen
            versions = {segment.versions[p] for p in chosen}
            ages |= {step - version for version in versions}
            if len(versions) > 1:
                continue
            model.load_state_dict(weights[versions.pop()], strict=False)
            with torch.no_grad():
                logits = model(torch.tensor([segment.token_ids])).logits[0]
            known = torch.log_softmax(logits, -1)
            for p in chosen:
                assert abs(known[p - 1, segment.token_ids[p]] - segment.logprobs[p]) < 1e-3
    assert ages <= {0, 1, 2}
    assert max(ages) > 0


def test_a_generation_that_spans_a_swap_carries_both_versions() -> None:
    tokenizer, model = load_tokenizer(str(BUNDLED)), load_model(str(BUNDLED))
    policy = VersionedPolicy.following(model, tokenizer, 4)
    policy.refresh(1)
    prompt = tuple(tokenizer.encode("Who founded", add_special_tokens=False))
    heard: list[int] = []

    async def written() -> list[int]:
        async with policy.session(Sampling(0.0, 12, 0)) as sampler:
            request = Request(prompt, heard=heard.append)
            under_way = asyncio.create_task(sampler.generate(request))
            while len(heard) < 5:
                await asyncio.sleep(0)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1.5)
            before = len(heard)
            policy.refresh(2)
            completion = await under_way
            after = (await sampler.generate(Request(prompt))).logprobs
            assert completion.versions == [1] * before + [2] * (len(completion.token_ids) - before)
            assert 0 < before < len(completion.token_ids)
            return after

    after = asyncio.run(written())
    [fresh] = VersionedPolicy.following(model, tokenizer, 4).stream(
        [Request(prompt)], Sampling(0.0, 12, 0)
    )
    assert after == fresh.completion.logprobs


def test_groups_come_in_the_order_of_the_seed_and_none_is_too_old(tmp_path: Path) -> None:
    """Three epochs over four questions, each of which is trained on in every one; searches may fail."""
    values = recipe(ahead=2, steps=6)
    failing = {"engine": "world", "router": "always", "max_error_rate": 1.0}
    values = values.model_copy(update={"search": SearchSettings(**failing)})
    engine = Failing(open_engine(values.search), 0.2)
    run = train(values, load_questions("world:train")[:4], tmp_path / "run", engine=engine)
    records = list(read_lines(run.trajectories))
    assert groups_of(records) == ordered(6, 2, 4)
    assert Counter(row for rows in groups_of(records).values() for row in rows) == dict.fromkeys(
        "0123", 3
    )
    failed = sum(call.get("error") is not None for record in records for call in record["calls"])
    curve = list(read_lines(run.metrics))
    searches = sum(len(record["calls"]) for record in records)
    told = sum(step.get("search/failed_share", 0) * step.get("search/real", 0) * 4 for step in curve)
    assert 0 < failed < searches
    assert told == pytest.approx(failed)
    assert [step["group/taken"] for step in curve] == [2, 4, 6, 8, 10, 12]
    assert curve[0]["ahead/age_max"] == 0
    assert max(step["ahead/age_max"] for step in curve) > 0
    assert all(step["ahead/age_mean"] <= step["ahead/age_max"] <= 2 for step in curve)
    assert all(step["ahead/wait_s"] >= 0 and step["ahead/held_s"] >= 0 for step in curve)
    assert {name for step in curve for name in step} - {"step"} <= METRICS.keys()
    assert not [thread for thread in threading.enumerate() if thread.name == "rollouts"]


def test_groups_that_teach_nothing_are_replaced_and_a_solved_world_does_not_spin(tmp_path: Path) -> None:
    """Every reward is the same, so that a step replaces as many as it may, and takes the next ones."""
    solved = recipe("always", refill=True, groups="mixed")
    measures = {"always": lambda scored: 1.0}
    questions = load_questions("world:train")[:QUESTIONS]
    run = train(solved, questions, tmp_path / "run", measures=measures)
    curve = list(read_lines(run.metrics))
    assert [step["group/taken"] for step in curve] == [4, 8, 12, 16]
    assert {step["group/refilled_share"] for step in curve} == {0.5}
    assert all(step["policy/tokens_refilled"] > 0 for step in curve)
    # The second half of each four in the order was taken.
    order = [row for rows in ordered(8, 2, QUESTIONS).values() for row in rows]
    taken = [order[start + 2 : start + 4] for start in range(0, 16, 4)]
    assert list(groups_of(list(read_lines(run.trajectories))).values()) == taken
    assert spent(run.path).trajectories == 4 * 2 * 4


def test_what_replaces_a_group_has_rewards_that_differ(tmp_path: Path) -> None:
    plan = {"refill": True, "group_size": 4, "micro_batch": 8, "steps": 3}
    questions = load_questions("world:train")[:64]
    run = train(recipe(**plan), questions, tmp_path / "run")
    replaced = [step["group/refilled_share"] for step in read_lines(run.metrics)]
    assert max(replaced) > 0
    for step in read_lines(run.metrics):
        assert step["group/constant_share"] == 0 or step["group/refilled_share"] == 0.5


def test_what_ends_the_rollouts_ends_the_run(tmp_path: Path) -> None:
    def failing(scored: object) -> float:
        raise ValueError("no measure today")

    questions = load_questions("world:train")[:QUESTIONS]
    with pytest.raises(RunError, match="no measure today"):
        train(recipe("failing", ahead=1), questions, tmp_path / "run", measures={"failing": failing})
    assert not [thread for thread in threading.enumerate() if thread.name == "rollouts"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trainer": {"ahead": 2}, "agent": {"command": "python agent.py"}}, "agent.command"),
        (
            {"trainer": {"ahead": 2}, "sampling": {"policy": "vllm"}},
            "trainer.ahead = 2 needs the policy",
        ),
        ({"trainer": {"refill": True}, "sampling": {"policy": "vllm"}}, "trainer.refill = true needs"),
    ],
)
def test_what_cannot_run_ahead_is_refused_in_one_line(changes, says: str, tmp_path: Path) -> None:
    from innersearch.train.ahead import demand_ahead

    with pytest.raises(ConfigError, match=says) as refused:
        demand_ahead(Recipe.model_validate(changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("refill", [False, True])
def test_kill_9_loses_and_repeats_no_row(tmp_path: Path, refill: bool) -> None:
    output = tmp_path / "killed"
    asked = ["--trainer.ahead", "2", "--trainer.correction", "truncate"]
    asked += ["--trainer.refill"] * refill
    assert kill_after(output, 3, *asked) == -signal.SIGKILL
    finish(output, *asked, "--resume")
    run = Run(output)
    curve = list(read_lines(run.metrics))
    assert [step["step"] for step in curve] == [1, 2, 3, 4, 5, 6]
    found = groups_of(list(read_lines(run.trajectories)))
    asked_for = recipe_with(Path("recipes/ssrl-world.toml"), {})
    count = sum(question.group in asked_for.groups for question in load_questions(asked_for.data))
    if not refill:
        assert found == ordered(6, 4, count)
        return
    # Those of a step are, in their order, among those between what was taken before it and after it.
    order = [row for rows in ordered(30, 4, count).values() for row in rows]
    before = 0
    for step in curve:
        between = iter(order[before : int(step["group/taken"])])
        assert all(row in between for row in found[step["step"]])
        assert len(found[step["step"]]) == 4
        before = int(step["group/taken"])
