"""Stages: what each is made of, what is learnt by heart, and that a kill in any changes nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from innersearch.cli import main
from innersearch.config import Recipe
from innersearch.config.stages import StageSettings
from innersearch.errors import ConfigError, DataError
from innersearch.policy.loading import load_tokenizer
from innersearch.stored import read_json, read_lines
from innersearch.train.conditions import condition
from innersearch.train.imitation import _demand_tokens, _row, _tasks
from innersearch.train.samples import samples
from innersearch.train.spent import KEPT, SPENT, spent
from innersearch.types import Finish, Kind, Source, Span
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.questions import SOURCE
from tests.train.verl_runs import segment, trajectory

RECIPE = """
name = "two"
model = "world-1"
data = "world-1:train"
groups = ["one_hop_common"]
[prompt]
name = "world"
[sampling]
max_new_tokens = 48
[trainer]
steps = 4
prompts_per_step = 2
group_size = 2
micro_batch = 4
optimizer = "muon"
muon_learning_rate = 0.002
kl = 0.0
save_every = 1
[[stage]]
name = "keep what is right"
kind = "sft"
samples = 4
questions = 6
keep = "em == 1"
epochs = 2
batch = 4
[[stage]]
name = "reinforce"
reward = "em"
[stage.trainer]
learning_rate = 1e-3
"""
FOLDERS = ("1-keep-what-is-right", "2-reinforce")


# What a stage is


def test_a_stage_overrides_what_it_names() -> None:
    recipe = Recipe(
        trainer={"steps": 9, "kl": 0.5},
        stage=[{"name": "a", "steps": 3}, {"name": "b", "reward": "f1", "trainer": {"kl": 0.0}}],
    )
    first, second = recipe.stages()
    assert (first.trainer.steps, first.trainer.kl, first.reward) == (3, 0.5, recipe.reward)
    assert (second.trainer.steps, second.trainer.kl) == (9, 0.0)
    assert [term.measure for term in second.reward] == ["f1"]
    assert not first.stage
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    alone = Recipe()
    assert alone.stages() == [alone]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], "a name of its own"),
        ([{}], "a name of its own"),
        ([{"name": "a", "trainer": {"lerning_rate": 1}}], r"stage 1 'a', trainer\.lerning_rate"),
        ([{"name": "a", "model": "other"}], "model: of the whole recipe only"),
        ([{"name": "a", "keep": "em == 1"}], "keep: of stages with kind"),
        ([{"name": "a", "kind": "dpo"}], "'rl' or 'sft'"),
        ([{"name": "a", "rounds": 2}], "rounds: of stages with kind"),
        ([{"name": "a", "kind": "sft", "rounds": 2}], "rounds: of a stage with samples only"),
    ],
)
def test_stages_that_cannot_be(stages: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe(stage=stages)


# What is kept and learnt


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("em == 1", False),
        ("0.1 <= f1 < 0.6", True),
        ("f1 > 0.5 and not format:one-thought == 1", False),
        ("em == 1 or reward >= -0.5", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    numbers = {"em": 0.0, "f1": 0.5, "format:one-thought": 1.0, "reward": -0.25}
    assert condition(text)(numbers) is holds


@pytest.mark.parametrize(
    "text",
    [
        *("em", "em = 1", "em + 1 > 0", "f(em) == 1", "em == 'a'", "__import__"),
        *("not " * 20_000 + "em == 1", "(" * 500 + "em == 1" + ")" * 500),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ConfigError, match="is no condition"):
        condition(text)


def test_a_condition_on_what_there_is_not() -> None:
    with pytest.raises(DataError, match="no trajectory has 'en'; known: em"):
        condition("en == 1")({"em": 1.0})


def test_targets_are_the_tokens_that_carry_loss() -> None:
    [sample] = samples(trajectory(segment([1, 0, 1])))
    assert _row(sample) == {"input_ids": [1, 2, 10, 11, 12], "labels": [-100, -100, 10, -100, 12]}


def test_tokens_of_another_tokenizer_are_refused() -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    ids = tokenizer.encode("<answer> Coltek</answer>", add_special_tokens=False)
    span = Span(0, 2 + len(ids), Kind.ANSWER, Source.POLICY, "<answer> Coltek</answer>")
    own = replace(segment([1] * len(ids)), token_ids=[1, 2, *ids], spans=[span], finish=Finish.STOP)
    _demand_tokens([trajectory(own)], tokenizer)
    for other in ([ids[0] + 1, *ids[1:]], [len(tokenizer), *ids[1:]]):
        with pytest.raises(DataError, match="tokens of another tokenizer"):
            _demand_tokens([trajectory(replace(own, token_ids=[1, 2, *other]))], tokenizer)


# From the command line


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> list[str]:
    file = tmp_path_factory.mktemp("recipe") / "two.toml"
    file.write_text(RECIPE)
    return ["train", str(file), "--output"]


@pytest.fixture(scope="module")
def uninterrupted(arguments: list[str], tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*arguments, str(output)]) == 0
    return output


def results(output: Path) -> Iterator[object]:
    """Everything that a run leaves but times."""
    for folder in FOLDERS:
        for record in read_lines(output / folder / "metrics.jsonl"):
            yield {name: value for name, value in record.items() if not name.startswith("time/")}
        for record in read_lines(output / folder / "trajectories.jsonl"):
            yield record["uid"], record["segments"][0]["token_ids"], record["reward"]


def test_each_stage_goes_on_from_the_one_before(uninterrupted: Path, arguments, capsys) -> None:
    first, second = (uninterrupted / folder for folder in FOLDERS)
    kept = read_json(first / KEPT)
    sampled = list(read_lines(first / "trajectories.jsonl"))
    assert kept["trajectories"] == len(sampled) == 24
    assert 0 < kept["kept"] == sum(t["components"]["em"] == 1 for t in sampled) < 24
    assert read_json(second / "recipe.json")["model"] == str(first / "model")
    assert read_json(second / "recipe.json")["trainer"]["learning_rate"] == 1e-3
    learnt, last, left = (
        load_file(p / "model" / "model.safetensors") for p in (first, second, uninterrupted)
    )
    start = load_file(BUNDLED / "model.safetensors")
    assert any(not torch.equal(learnt[name], start[name]) for name in start)
    assert any(not torch.equal(learnt[name], last[name]) for name in start)
    assert all(torch.equal(last[name], left[name]) for name in start)
    taken = [
        sum(sum(sum(part["sampled_mask"]) for part in line["segments"]) for line in read_lines(file))
        for file in (first / "trajectories.jsonl", second / "trajectories.jsonl")
    ]
    found = spent(uninterrupted)
    assert read_json(uninterrupted / SPENT) == found._asdict()
    assert (found.trajectories, found.sampled_tokens) == (24 + 4 * 4, sum(taken))
    steps = [step for folder in (first, second) for step in read_lines(folder / "metrics.jsonl")]
    assert found.seconds > sum(step["time/step_s"] for step in steps) > 0
    assert main([*arguments, str(uninterrupted)]) == 1
    assert "add --resume" in capsys.readouterr().err


def test_kill_9_in_each_stage_changes_nothing(uninterrupted: Path, arguments, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "innersearch", *arguments, str(output)]
    places = [
        (f"{FOLDERS[0]}/metrics.jsonl", 2),
        (f"{FOLDERS[1]}/metrics.jsonl", 2),
    ]
    for file, lines in places:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 120
            while len(list(read_lines(output / file))) < lines:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        command = [*command, "--resume"]
    assert main([*arguments, str(output), "--resume"]) == 0
    demand_same(output, uninterrupted)


def demand_same(output: Path, uninterrupted: Path) -> None:
    assert list(results(output)) == list(results(uninterrupted))
    for folder in (*FOLDERS, "."):
        mine, theirs = (
            load_file(p / folder / "model" / "model.safetensors") for p in (output, uninterrupted)
        )
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_sampling_goes_on_with_the_first_trajectory_that_is_not_there(
    uninterrupted: Path, arguments, tmp_path: Path
) -> None:
    output, stage = tmp_path / "run", FOLDERS[0]
    (output / stage).mkdir(parents=True)
    for name in ("recipe.json", f"{stage}/recipe.json", f"{stage}/identity.json"):
        shutil.copy(uninterrupted / name, output / name)
    lines = (uninterrupted / stage / "trajectories.jsonl").read_text().splitlines(keepends=True)
    (output / stage / "trajectories.jsonl").write_text("".join(lines[:7]) + lines[7][:40])
    assert main([*arguments, str(output), "--resume"]) == 0
    demand_same(output, uninterrupted)


def test_a_stage_without_trajectories_is_refused_before_the_first_begins(tmp_path, capsys) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE.replace('reward = "em"', 'kind = "sft"\ndata = "nowhere.jsonl"'))
    assert main(["train", str(file), "--output", str(tmp_path / "run")]) == 1
    assert "no file of trajectories at nowhere.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_trajectories_of_another_run_are_learnt(uninterrupted: Path, tmp_path, capsys) -> None:
    taught = uninterrupted / FOLDERS[1] / "trajectories.jsonl"
    head, _, _ = RECIPE.partition("[[stage]]")
    file = tmp_path / "recipe.toml"
    file.write_text(f'{head}[[stage]]\nname = "imitate"\nkind = "sft"\ndata = "{taught}"\nbatch = 8\n')
    output = tmp_path / "run"
    assert main(["train", str(file), "--output", str(output)]) == 0
    total = len(list(read_lines(taught)))
    assert f"kept    {total} of {total} trajectories" in capsys.readouterr().out
    assert (output / "model" / "model.safetensors").is_file()


def test_rounds_go_on_from_each_other_with_the_next_questions(tmp_path, capsys) -> None:
    head, _, _ = RECIPE.partition("[[stage]]")
    file = tmp_path / "recipe.toml"
    chosen = "samples = 2\nquestions = 6\nrounds = 2\nbatch = 4"
    file.write_text(f'{head}[[stage]]\nname = "rft"\nkind = "sft"\n{chosen}\n')
    output = tmp_path / "run"
    assert main(["train", str(file), "--output", str(output)]) == 0
    first, second = output / "1-rft-1", output / "1-rft-2"
    assert read_json(second / "recipe.json")["model"] == str(first / "model")
    asked = [
        [record["question"]["id"] for record in read_lines(folder / "trajectories.jsonl")]
        for folder in (first, second)
    ]
    assert [len(ids) for ids in asked] == [12, 12]
    assert not set(asked[0]) & set(asked[1])
    tokens = [
        sum(
            sum(part["sampled_mask"])
            for line in read_lines(first / "trajectories.jsonl")
            for part in line["segments"]
        )
    ]
    assert read_json(first / KEPT)["sampled_tokens"] == tokens[0]
    before = {folder: read_json(folder / KEPT) for folder in (first, second)}
    assert main(["train", str(file), "--output", str(output), "--resume"]) == 0
    for folder, kept in before.items():
        again = read_json(folder / KEPT)
        assert again.pop("sampling_s") >= kept.pop("sampling_s") > 0
        assert again == kept
    last, left = (load_file(p / "model" / "model.safetensors") for p in (second, output))
    assert all(torch.equal(last[name], left[name]) for name in last)


def test_a_question_that_comes_up_again_in_a_round_gets_other_samples() -> None:
    questions = SOURCE.read("train")[:3]
    stage = StageSettings(name="rft", kind="sft", samples=2, questions=5)
    recipe = Recipe(model="world", prompt={"name": "world"})
    tasks = _tasks(stage, recipe, questions, load_tokenizer(str(BUNDLED)), 512, 1)
    assert len(tasks) == 10
    assert len({(task.group, task.repetition) for task in tasks}) == 10
    again = _tasks(stage, recipe, questions, load_tokenizer(str(BUNDLED)), 512, 2)
    assert not {(task.group) for task in tasks} & {task.group for task in again}


def test_logits_are_biased_where_a_stage_samples_and_nowhere_else(tmp_path, capsys) -> None:
    rl = ["train", "recipes/ssrl-world.toml", "--sampling.logit-bias", " answer=1", "--dry-run"]
    assert main(rl) == 1
    assert "reinforcement would sample from another policy" in capsys.readouterr().err
    head, _, _ = RECIPE.partition("[[stage]]")
    head = head.replace("[trainer]", 'logit_bias = [" answer=-30"]\n[trainer]')
    file = tmp_path / "recipe.toml"
    file.write_text(
        f'{head}[[stage]]\nname = "rft"\nkind = "sft"\nsamples = 2\nquestions = 4\nbatch = 4\n'
    )
    assert main(["train", str(file), "--output", str(tmp_path / "run")]) == 0
    texts = (tmp_path / "run" / "1-rft" / "trajectories.jsonl").read_text()
    assert " answer is" not in texts


def test_a_dry_run_shows_every_stage(arguments, tmp_path, capsys) -> None:
    assert main([*arguments, str(tmp_path / "run"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "stage 1: keep what is right (sft)" in shown
    assert "1 rounds of 6 questions × 4 trajectories = 24 trajectories; what fulfils em == 1" in shown
    assert "stage 2: reinforce (rl)" in shown
    assert "4 steps of 2 questions" in shown
    assert not (tmp_path / "run").exists()
