"""Trajectories of several segments in TRL, and how their tokens weigh, against plain torch."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, TrainerCallback

from innersearch.cli import main
from innersearch.config import PromptSettings, Recipe, SamplingSettings, TrainerSettings
from innersearch.errors import ConfigError
from innersearch.policy.loading import load_model
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.runs import Run
from innersearch.stored import read_lines
from innersearch.train import processes
from innersearch.train.samples import samples, trained_samples
from innersearch.train.trl.segments import filled_up, to_columns
from innersearch.train.verl import settings as of_verl
from innersearch.train.verl.outputs import to_outputs
from innersearch.types import Segment, Trajectory
from innersearch.world_1.bundled import BUNDLED
from tests.train.test_trl import MaskRule, trainer_of
from tests.train.verl_runs import segment, trajectory

Weights = dict[str, torch.Tensor]


def part(whole: Segment, start: int, end: int, *, kept: int) -> Segment:
    """Tokens `start` to `end` of a segment, behind its first `kept` and the one before `start`."""
    places = [*range(min(kept, start - 1)), *range(start - 1, end)]
    prompt = len(places) - (end - start)

    def cut(values: Sequence[Any], before: Any) -> list[Any]:
        return [before] * prompt + list(values[start:end])

    ids = [whole.token_ids[place] for place in places]
    return replace(
        whole,
        token_ids=ids,
        prompt_len=prompt,
        sampled_mask=cut(whole.sampled_mask, before=False),
        loss_mask=cut(whole.loss_mask, before=False),
        logprobs=cut(whole.logprobs, before=None),
        entropies=None,
        spans=[],
    )


def in_parts(one: Trajectory, number: int) -> Trajectory:
    """A trajectory in one to three segments, by its number, whose later contexts lack something."""
    [whole] = one.segments
    start, end = whole.prompt_len, len(whole.token_ids)
    wanted = min(1 + number % 3, end - start)
    cuts = [start + (end - start) * piece // wanted for piece in range(wanted + 1)]
    parts = [part(whole, *pair, kept=start) for pair in pairwise(cuts)]
    return replace(one, segments=parts)


def told_otherwise(one: Trajectory, number: int) -> Trajectory:
    """The same, as other weights would have sampled it: every third token was much less likely.

    The number goes into it too, and tells rows with the same tokens apart.
    """

    def moved(values: Sequence[float | None]) -> list[float | None]:
        return [
            None if value is None else value - (0.9 if place % 3 == 0 else -0.2) - 0.01 * number
            for place, value in enumerate(values)
        ]

    parts = [replace(s, logprobs=moved(s.logprobs)) for s in one.segments]
    return replace(one, segments=parts, reward=number % 5 / 4)


@dataclass
class Split:
    """Rollouts whose trajectories are cut into segments and were sampled by nobody's weights."""

    inner: Rollout
    made: list[Trajectory] = field(default_factory=list)
    policy: Any = None

    def run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        sampled = self.inner.run(tasks)
        self.made = [told_otherwise(in_parts(one, n), n) for n, one in enumerate(sampled)]
        return self.made


class Spy(TrainerCallback):
    """Keeps weights and gradient of every update, and the rows that went into it."""

    def __init__(self) -> None:
        self.updates: list[tuple[Weights, Weights, list[dict[str, Any]]]] = []
        self.rows: list[dict[str, Any]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_) -> None:
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        gradient = {name: p.grad.clone() for name, p in model.named_parameters()}
        self.updates.append((weights, gradient, self.rows))
        self.rows = []


def watched(folder: Path, plan: TrainerSettings, monkeypatch: Any) -> tuple[Spy, list[Trajectory]]:
    """One step of the bundled model on split trajectories."""
    recipe = Recipe(
        prompt=PromptSettings(name="world"),
        sampling=SamplingSettings(max_new_tokens=16),
        trainer=plan,
    )
    spy, splits = Spy(), []

    def split(*arguments: Any) -> Split:
        splits.append(Split(Rollout(*arguments)))
        return splits[-1]

    monkeypatch.setattr("tests.train.test_trl.Rollout", split)
    # Contexts that lack something are unlike what the model knows, which takes digits.
    model = load_model(str(BUNDLED)).double()
    trainer, _ = trainer_of(recipe, folder, MaskRule(), spy, model=model)
    compute = trainer._compute_loss

    def note(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        assert len(inputs["completion_ids"]) <= plan.micro_batch
        spy.rows.append(inputs)
        return compute(model, inputs)

    monkeypatch.setattr(trainer, "_compute_loss", note)
    trainer.train()
    return spy, splits[0].made


Row = tuple[Segment, float]
"""A segment and its advantage."""


def rows_of(made: Sequence[Trajectory], plan: TrainerSettings) -> list[Row]:
    """Every segment with its advantage, by the definitions in docs/training.md."""
    rows = []
    for first in range(0, len(made), plan.group_size):
        group = made[first : first + plan.group_size]
        rewards = torch.tensor([one.reward for one in group])
        advantages = rewards - rewards.mean()
        if plan.advantage == "group":
            advantages = advantages / (rewards.std() + 1e-4)
        if plan.advantage == "reward":
            advantages = rewards
        if plan.groups == "mixed" and len(set(rewards.tolist())) == 1:
            continue
        for one, advantage in zip(group, advantages.tolist(), strict=True):
            rows += [(s, advantage) for s in one.segments if any(s.loss_mask)]
    if plan.whiten:
        each = torch.tensor([advantage for s, advantage in rows for loss in s.loss_mask if loss])
        rows = [(s, float((advantage - each.mean()) / each.std(correction=0))) for s, advantage in rows]
    return rows


def logprobs(model: PreTrainedModel, one: Segment) -> torch.Tensor:
    ids = torch.tensor([one.token_ids])
    return torch.log_softmax(model(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]


def objective(
    now: torch.Tensor, start: torch.Tensor, one: Segment, advantage: float, plan: TrainerSettings
) -> torch.Tensor:
    """What is made large, per token."""
    sampled = torch.tensor([value or 0.0 for value in one.logprobs[1:]])
    weight = (start - sampled).exp()
    kept = (weight <= plan.cap).float() if plan.correction == "drop" else torch.ones_like(weight)
    if plan.loss == "cispo":
        since = start if plan.correction == "none" else sampled
        return (now.detach() - since).exp().clamp(max=plan.cap) * kept * advantage * now
    ratio = (now - start).exp() if plan.updates > 1 else (now - now.detach()).exp()
    clipped = ratio.clamp(1 - plan.clip, 1 + plan.clip)
    factor = {"none": torch.ones_like(weight), "truncate": weight.clamp(max=plan.cap)}
    return torch.min(ratio * advantage, clipped * advantage) * factor.get(plan.correction, weight * kept)


def oracle(
    weights: Weights, chosen: Sequence[Row], every: Sequence[Row], plan: TrainerSettings
) -> Weights:
    """The gradient of one update on some of the rows of a step."""
    first = load_model(str(BUNDLED)).double()
    model = copy.deepcopy(first)
    model.load_state_dict(weights, strict=False)
    equal = plan.per_segment_weight == "equal"
    divisor = len(every) if equal else sum(sum(s.loss_mask) for s, _ in every)
    for one, advantage in chosen:
        now = logprobs(model, one)
        with torch.no_grad():
            start = logprobs(first, one)
        gap = start - now
        loss = plan.kl * (gap.exp() - gap - 1) - objective(now, start, one, advantage, plan)
        share = 1 / sum(one.loss_mask) if equal else 1
        trained = torch.tensor(one.loss_mask[1:])
        (loss[trained].sum() * share * plan.updates / divisor).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def trained_on(inputs: dict[str, Any], every: Sequence[Row]) -> list[Row]:
    """The rows that a pass had, without those that only fill up."""
    found = []
    for place, mask in enumerate(inputs["completion_mask"] * inputs["tool_mask"]):
        if mask.any():
            found.append(min(every, key=lambda row: _distance(row[0], inputs, place)))
    return found


def _distance(one: Segment, inputs: dict[str, Any], place: int) -> float:
    """How far the log-probabilities at sampling are from those of a row; infinite for other tokens."""
    prompt, completion = (
        inputs[f"{part}_ids"][place][inputs[f"{part}_mask"][place].bool()].tolist()
        for part in ("prompt", "completion")
    )
    if prompt + completion != one.token_ids or len(prompt) != one.prompt_len:
        return float("inf")
    told = inputs["sampling_per_token_logps"][place].tolist()
    after = one.logprobs[one.prompt_len :]
    return sum(abs(mine - (value or 0.0)) for mine, value in zip(told, after, strict=False))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"micro_batch": 2, "kl": 0.5},
        {"micro_batch": 8, "advantage": "rloo", "whiten": True},
        {"per_segment_weight": "equal", "kl": 0.5},
        {"correction": "truncate", "cap": 1.5},
        {"correction": "drop", "cap": 1.5},
        {"loss": "cispo", "correction": "truncate", "cap": 1.5},
        {"loss": "cispo", "correction": "drop", "cap": 1.5},
        {"advantage": "reward", "groups": "mixed", "kl": 0.5},
        {"updates": 2, "learning_rate": 3e-3, "clip": 0.05},
        {"updates": 2, "learning_rate": 3e-3, "loss": "cispo", "cap": 1.05},
        {
            **{"updates": 2, "learning_rate": 3e-3, "loss": "cispo", "correction": "drop", "cap": 2.0},
            **{"whiten": True, "kl": 0.2, "per_segment_weight": "equal"},
        },
    ],
    ids=lambda settings: "-".join(f"{value}" for value in settings.values()) or "plain",
)
def test_every_update_has_the_gradient_of_plain_torch(tmp_path, settings, monkeypatch) -> None:
    given = {"steps": 1, "prompts_per_step": 2, "group_size": 4, "micro_batch": 4, "kl": 0.0}
    plan = TrainerSettings(**given | {"max_grad_norm": 1e9} | settings)
    if plan.groups == "mixed":
        alike = told_otherwise

        def constant(one: Trajectory, number: int) -> Trajectory:
            return replace(alike(one, number), reward=1.0) if number < 4 else alike(one, number)

        monkeypatch.setattr("tests.train.test_segments.told_otherwise", constant)
    spy, made = watched(tmp_path, plan, monkeypatch)
    assert {len(one.segments) for one in made} == {1, 2, 3}
    every = rows_of(made, plan)
    assert len(spy.updates) == plan.updates
    used: list[int] = []
    for weights, gradient, passes in spy.updates:
        chosen = [row for rows in passes for row in trained_on(rows, every)]
        used += [id(one) for one, _ in chosen]
        expected = oracle(weights, chosen, every, plan)
        largest = max(float(g.abs().max()) for g in expected.values())
        assert largest > 0
        apart = max(float((gradient[name] - g).abs().max()) for name, g in expected.items())
        assert apart <= 1e-4 * largest
    assert sorted(used) == sorted(id(one) for one, _ in every)


def test_verl_refuses_what_it_has_not() -> None:
    for given, said in (
        ({"advantage": "reward"}, "no advantage 'reward'"),
        ({"groups": "mixed"}, "all"),
    ):
        plan = TrainerSettings(optimizer="adamw", **given)
        with pytest.raises(ConfigError, match=f"{said}.*train with"):
            of_verl.refuse(Recipe(trainer=plan))


def test_cutting_a_trajectory_changes_no_gradient(tmp_path, monkeypatch) -> None:
    """Segments with the same contexts are the same tokens, whichever way they are cut."""
    monkeypatch.setattr("tests.train.test_segments.told_otherwise", lambda one, _: one)

    def same_contexts(one: Trajectory, number: int) -> Trajectory:
        [whole] = one.segments
        start, end = whole.prompt_len, len(whole.token_ids)
        middle = (start + end) // 2
        if number % 2 or middle == start:
            return one
        cut = [part(whole, start, middle, kept=start), part(whole, middle, end, kept=middle)]
        return replace(one, segments=cut)

    plan = TrainerSettings(
        steps=1, prompts_per_step=4, group_size=4, micro_batch=8, kl=0.0, max_grad_norm=1e9
    )
    gradients = []
    for name, cut in (("whole", lambda one, _: one), ("cut", same_contexts)):
        monkeypatch.setattr("tests.train.test_segments.in_parts", cut)
        spy, made = watched(tmp_path / name, plan, monkeypatch)
        gradients.append(spy.updates[0][1])
    assert any(len(one.segments) == 2 for one in made)
    whole, cut = gradients
    largest = max(float(g.abs().max()) for g in whole.values())
    assert max(float((cut[name] - g).abs().max()) for name, g in whole.items()) <= 1e-5 * largest


def test_a_segment_without_loss_is_no_row_unless_it_is_all_there_is() -> None:
    empty, full = segment([0, 0]), segment([1, 0, 1])
    both = trajectory(full, empty, full)
    assert [one.trained for one in samples(both)] == [2, 0, 2]
    assert [one.trained for one in trained_samples(both)] == [2, 2]
    [only] = trained_samples(trajectory(empty, empty))
    assert only.loss_mask == [0, 0]


def test_versions_are_those_of_the_trajectory_unless_told() -> None:
    [plain] = samples(trajectory(segment([1, 1])))
    assert plain.versions == [3, 3]
    told = replace(segment([1, 0, 1]), versions=[None, None, 2, None, 3])
    assert [one.versions for one in samples(trajectory(told))] == [[2, 3, 3]]
    [columns] = to_outputs(trajectory(told))
    assert columns["extra_fields"]["versions"] == [2, 3, 3]


def test_processes_have_the_same_number_of_rows(monkeypatch) -> None:
    """The process with most decides, rounded up to equal parts; what fills up trains nothing."""
    columns, owners = to_columns([trajectory(segment([1])), trajectory(segment([1]), segment([1, 1]))])
    assert owners == [0, 1, 1]
    monkeypatch.setattr(processes, "largest", lambda number: 5)
    longer, padded = filled_up(columns, owners, 4)
    assert padded == [0, 1, 1, 0, 0, 0, 0, 0]
    assert longer["env_mask"] == [[1], [1], [1, 1], [0], [0], [0], [0], [0]]
    assert longer["prompt_ids"][3] == longer["prompt_ids"][0]
    assert longer["given_reward"] == [0.7, 0.7]
    monkeypatch.setattr(processes, "largest", lambda number: number)
    assert filled_up(columns, owners, 3) == (columns, owners)


def test_updates_must_divide_the_micro_batches(monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"the 3 micro-batches of a step.*updates = 2"):
        TrainerSettings(prompts_per_step=3, group_size=4, micro_batch=4, updates=2)
    plan = TrainerSettings(prompts_per_step=4, group_size=4, micro_batch=8, updates=2)
    processes.demand_equal_shares(Recipe(trainer=plan))
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ConfigError, match=r"trainer\.updates = 2 does not divide the 1 micro-batches"):
        processes.demand_equal_shares(Recipe(trainer=plan))


def test_a_run_with_several_updates_goes_on_from_the_step_of_its_checkpoint(tmp_path) -> None:
    """Folders count updates, and everything that is recorded counts steps."""
    output = tmp_path / "run"
    given = {"steps": 3, "updates": 2, "save-every": 1, "prompts-per-step": 2, "group-size": 4}
    plan = [f"--trainer.{name}={value}" for name, value in (given | {"micro-batch": 4}).items()]
    arguments = ["train", "recipes/ssrl-world.toml", *plan, "--sampling.max-new-tokens", "32"]
    arguments += ["--output", str(output)]
    assert main(arguments) == 0
    run = Run(output)
    whole = [one["uid"] for one in read_lines(run.trajectories)]
    assert len(whole) == 24
    newest = [(one.step, one.path.name) for one in run.complete()][-2:]
    assert newest == [(2, "checkpoint-4"), (3, "checkpoint-6")]
    weights, losses = load_file(run.model / "model.safetensors"), losses_of(run)
    assert list(losses) == [1, 2, 3]
    shutil.rmtree(run.checkpoints / "checkpoint-6")
    shutil.rmtree(run.model)
    assert main([*arguments, "--resume"]) == 0
    assert [one["uid"] for one in read_lines(run.trajectories)] == whole
    assert losses_of(run) == losses
    after = load_file(run.model / "model.safetensors")
    assert all(torch.equal(after[name], weights[name]) for name in weights)


def losses_of(run: Run) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_lines(run.metrics)}
