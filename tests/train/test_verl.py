"""The verl adapter without verl, around the workers: configuration and launch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from innersearch.cli import main
from innersearch.config import (
    GuardSettings,
    LoraSettings,
    Recipe,
    TermSettings,
)
from innersearch.errors import CollapseError, ConfigError, RunError
from innersearch.readers import read_questions
from innersearch.runs import Run
from innersearch.stored import read_json, read_lines
from innersearch.train.verl import launch, settings
from innersearch.train.verl.cluster import Machine, demand_machines, demand_verl
from innersearch.train.verl.worker import give_up
from innersearch.types import (
    Question,
    Trajectory,
)
from tests.train.verl_runs import QUESTIONS, RECIPE, SEARCHING, segment, trajectory

# Configuration


def configured(recipe: Recipe) -> dict[str, object]:
    return settings.configuration(recipe, Run(Path("runs/x")), context=512)


def test_a_recipe_in_verls_words() -> None:
    made = configured(RECIPE)
    assert made["algorithm.adv_estimator"] == "grpo"
    assert made["algorithm.norm_adv_by_std_in_grpo"] is True
    assert made["data.train_batch_size"] == made["actor_rollout_ref.actor.ppo_mini_batch_size"] == 4
    assert made["actor_rollout_ref.rollout.n"] == 2
    assert made["actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"] == 2
    assert made["actor_rollout_ref.actor.use_kl_loss"] is True
    assert made["actor_rollout_ref.actor.kl_loss_coef"] == 0.001
    assert made["actor_rollout_ref.actor.kl_loss_type"] == "low_var_kl"
    assert made["data.max_response_length"] == 96
    assert made["actor_rollout_ref.rollout.max_model_len"] == 160
    assert made["actor_rollout_ref.actor.strategy"] == "fsdp2"
    assert made["trainer.total_training_steps"] == 10
    assert made["trainer.total_epochs"] == 1
    assert made["+data.steps"] == 10
    assert made["data.shuffle"] is False
    assert made["algorithm.rollout_correction.rollout_is"] == "token"
    assert made["algorithm.rollout_correction.rollout_is_threshold"] == 2.0
    assert Path(made["actor_rollout_ref.rollout.agent.agent_loop_config_path"]).is_absolute()


def test_room_is_made_for_documents() -> None:
    search = SEARCHING.search.model_copy(update={"max_searches": 3, "max_tokens": 100})
    recipe = SEARCHING.model_copy(update={"search": search})
    assert settings.response_length(recipe) == 96 + 3 * (100 + 64)
    assert configured(recipe)["actor_rollout_ref.rollout.max_model_len"] == 512


@pytest.mark.parametrize(
    ("advantage", "estimator"),
    [("group", "grpo"), ("rloo", "grpo"), ("reinforce++", "reinforce_plus_plus"), ("gae", "gae")],
)
def test_estimators(advantage: str, estimator: str) -> None:
    trainer = RECIPE.trainer.model_copy(update={"advantage": advantage})
    made = configured(RECIPE.model_copy(update={"trainer": trainer}))
    assert made["algorithm.adv_estimator"] == estimator
    assert made["algorithm.norm_adv_by_std_in_grpo"] is (advantage == "group")
    assert ("critic.model.path" in made) is (advantage == "gae")


def test_the_objective_in_verls_words() -> None:
    def made(**changes: object) -> dict[str, object]:
        trainer = RECIPE.trainer.model_copy(update=changes)
        recipe = RECIPE.model_copy(update={"trainer": trainer})
        settings.refuse(recipe)
        return configured(recipe)

    plain, actor = configured(RECIPE), "actor_rollout_ref.actor."
    assert plain[f"{actor}loss_agg_mode"] == "token-mean"
    assert f"{actor}policy_loss.loss_mode" not in plain
    assert made(updates=2)[f"{actor}ppo_mini_batch_size"] == 2
    assert made(whiten=True, advantage="rloo")["algorithm.adv_estimator"] == (
        "reinforce_plus_plus_baseline"
    )
    assert made(correction="truncate")["algorithm.rollout_correction.rollout_is_threshold"] == 5.0
    assert made(per_segment_weight="equal")[f"{actor}loss_agg_mode"] == "seq-mean-token-mean"
    cispo = made(loss="cispo", cap=4.0)
    assert cispo[f"{actor}policy_loss.loss_mode"] == "cispo"
    assert (cispo[f"{actor}clip_ratio_low"], cispo[f"{actor}clip_ratio_high"]) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("trainer", {"optimizer": "muon"}, "--trainer.optimizer adamw"),
        ("trainer", {"schedule": "linear"}, "--trainer.schedule"),
        ("trainer", {"bf16": False}, "mixed precision"),
        ("trainer", {"lora": LoraSettings(rank=8)}, "adapters"),
        ("trainer", {"whiten": True}, "does not whiten"),
        ("trainer", {"correction": "drop"}, "drops none"),
        ("trainer", {"ahead": 2}, "trains by turns"),
        ("trainer", {"refill": True}, "trains by turns"),
        ("trainer", {"correction": "truncate", "loss": "cispo", "updates": 2}, "multiplies the weight"),
        ("trainer", {"updates": 3}, r"does not divide trainer\.prompts_per_step = 4"),
        ("verl", {"gpus_per_node": 3}, "3 GPUs do not divide"),
        ("verl", {"tensor_parallel": 3, "gpus_per_node": 4}, "tensor_parallel"),
        ("search", {"router": "gate:entropy:1.0"}, "min-prob"),
        ("verl", {"overrides": ("actor_rollout_ref.rollout.top_p=0.95",)}, "top_p to 0.95"),
        ("verl", {"overrides": ("trainer.use_v1=false",)}, "use_v1"),
        ("verl", {"overrides": ("actor_rollout_ref.rollout.name=sglang",)}, "sglang"),
    ],
)
def test_what_verl_cannot_do_is_refused(part: str, changes: dict, message: str) -> None:
    changed = getattr(RECIPE, part).model_copy(update=changes)
    with pytest.raises(ConfigError, match=message):
        settings.refuse(RECIPE.model_copy(update={part: changed}))


def test_rewards_of_whole_groups_are_refused_by_verl() -> None:
    votes = (TermSettings(measure="majority", weight=0.9), TermSettings(measure="em", weight=0.1))
    with pytest.raises(ConfigError, match="whole groups"):
        settings.refuse(RECIPE.model_copy(update={"reward": votes}))


def test_searches_with_a_budget_are_counted_by_one_worker() -> None:
    search = SEARCHING.search.model_copy(update={"max_usd": 5.0})
    assert settings.workers(SEARCHING) == 8
    assert settings.workers(SEARCHING.model_copy(update={"search": search})) == 1


def test_questions_come_back_from_verls_data(tmp_path) -> None:
    odd = Question("q9", 'Who wrote "漢字"?', ("A", "B"), {"group": "rare"})
    settings.write_questions(RECIPE, [*QUESTIONS, odd], tmp_path / "verl" / "q.parquet")
    back = read_questions(tmp_path / "verl" / "q.parquet")
    for mine, theirs in zip(back, [*QUESTIONS, odd], strict=True):
        assert (mine.id, mine.question, mine.golden_answers, mine.group) == (
            theirs.id,
            theirs.question,
            theirs.golden_answers,
            theirs.group,
        )


def test_machines_that_do_not_suffice() -> None:
    demand_machines(RECIPE, [Machine(10, 2)])
    with pytest.raises(RunError, match=r"1 machines with 2 GPUs.*0 GPUs, 16 CPUs"):
        demand_machines(RECIPE, [Machine(16, 0)])
    with pytest.raises(RunError, match=r"reserves 10 CPUs.*2 GPUs, 8 CPUs"):
        demand_machines(RECIPE, [Machine(8, 2)])
    two = RECIPE.model_copy(update={"verl": RECIPE.verl.model_copy(update={"nodes": 2})})
    with pytest.raises(RunError, match="2 machines"):
        demand_machines(two, [Machine(64, 2)])


# Start


def fake_verl(path: Path, lines: int, *, then: str = "") -> list[str]:
    """A process that does to the files what verl and its workers do."""
    code = f"""
import json, pathlib, time
run = pathlib.Path({str(path)!r})
for step in range(1, {lines} + 1):
    with (run / "trajectories.jsonl").open("a") as file:
        file.write((run / f"step-{{step}}.jsonl").read_text())
    with (run / "verl" / "metrics-from-0.jsonl").open("a") as file:
        data = {{"actor/pg_loss": step / 10, "actor/grad_norm": 1.5, "actor/lr": 1e-6, "note": "text"}}
        file.write(json.dumps({{"step": step, "data": data}}) + "\\n")
{then}
"""
    return [sys.executable, "-c", code]


@pytest.fixture
def started(tmp_path) -> Run:
    """A run directory with what a fake verl writes for two steps."""
    run = Run.start(tmp_path / "run", RECIPE, resume=False)
    launch.write_inputs(RECIPE, QUESTIONS, run)
    adapter = TypeAdapter(Trajectory)
    good = replace(trajectory(segment([1, 1])), components={"em": 1.0, "f1": 1.0, "format": 1.0})
    for step in (1, 2, 3):
        lines = [
            adapter.dump_json(
                replace(good, step=step, uid=f"{step}/{n}/0", group_id=f"{step}/{n}", reward=n / step)
            ).decode()
            for n in range(3)
        ]
        (run.path / f"step-{step}.jsonl").write_text("\n".join(lines) + "\n")
    return run


def test_a_run_is_recorded_while_it_goes_on(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    seen = []
    launch._watch(
        fake_verl(started.path, 2), started, RECIPE, lambda step, metrics: seen.append((step, metrics))
    )
    assert [step for step, _ in seen] == [1, 2]
    records = list(read_lines(started.metrics))
    assert [record["step"] for record in records] == [1, 2]
    assert [record["loss"] for record in records] == [0.1, 0.2]
    assert [record["reward/mean"] for record in records] == [1.0, 0.5]
    assert records[0]["grad_norm"] == 1.5


def test_the_guard_stops_a_collapsed_run(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    recipe = RECIPE.model_copy(update={"guard": GuardSettings(window=1, reward_drop=0.4)})
    arguments = fake_verl(started.path, 2, then="time.sleep(60)")
    with pytest.raises(CollapseError, match=r"average reward fell from 1\.000 to 0\.500"):
        launch._watch(arguments, started, recipe, lambda step, metrics: None)


def test_the_word_of_a_worker_ends_the_run(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    give_up(started.path, RunError("20 of 20 rollouts failed"))
    with pytest.raises(RunError, match="20 of 20 rollouts failed"):
        launch._watch(
            [sys.executable, "-c", "import time; time.sleep(60)"], started, RECIPE, lambda *_: None
        )


def test_a_verl_that_fails_is_quoted(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    with pytest.raises(RunError, match=r"status 3; all it said is in .*log\.txt.*out of memory"):
        launch._watch(
            [sys.executable, "-c", "print('out of memory'); raise SystemExit(3)"],
            started,
            RECIPE,
            lambda *_: None,
        )


def test_a_resumed_run_goes_on_from_verls_checkpoint(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    launch._watch(fake_verl(started.path, 2), started, RECIPE, lambda *_: None)
    started.checkpoints.mkdir()
    (started.checkpoints / "latest_checkpointed_iteration.txt").write_text("1")
    again = Run.start(started.path, RECIPE, resume=True)
    assert [record["step"] for record in read_lines(again.metrics)] == [1]
    assert {record["step"] for record in read_lines(again.trajectories)} == {1}
    assert launch._log_of_metrics(again).name == "metrics-from-1.jsonl"


def test_verls_model_becomes_the_result(started: Run) -> None:
    saved = started.checkpoints / "global_step_4" / "actor" / "huggingface"
    saved.mkdir(parents=True)
    (started.checkpoints / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(RunError, match="left no model"):
        launch._keep(started)
    (saved / "config.json").write_text("{}")
    launch._keep(started)
    assert (started.model / "config.json").is_file()


def test_the_agent_loop_is_named_to_verl(started: Run) -> None:
    [loop] = json.loads(started.agent_loop.read_text())
    assert loop["run"] == str(started.path)
    assert loop["_target_"] == "innersearch.train.verl.agent_loop.SearchAgentLoop"
    assert read_json(started.recipe)["name"] == "ssrl"


def test_trl_refuses_what_only_verl_does(in_empty_folder, capsys) -> None:
    arguments = ["train", "recipes/ssrl-world.toml", "--trainer.advantage", "gae"]
    assert main(arguments) == 1
    assert "--trainer verl" in capsys.readouterr().err


def without_verl() -> bool:
    try:
        demand_verl()
    except ConfigError:
        return True
    return False


@pytest.mark.skipif(not without_verl(), reason="verl is installed")
def test_without_verl_the_command_is_shown_and_how_to_install_it(in_empty_folder, capsys) -> None:
    arguments = ["train", "recipes/ssrl-world.toml", "--trainer", "verl", "--print"]
    assert main([*arguments, "--trainer.optimizer", "adamw", "--trainer.schedule", "cosine"]) == 1
    shown = capsys.readouterr()
    assert "-m \\\n  verl.trainer.main_ppo" in shown.out
    assert "actor_rollout_ref.rollout.n=8" in shown.out
    assert "pip install -e '.[verl]' in a clone" in shown.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("--search.router alwys", "unknown router 'alwys'; did you mean 'always'?"),
        ("--search.router always", "no engine given"),
        ("--search.router always --search.engine bm25:nowhere", "no index at nowhere"),
        ("--search.router gate:entropy:1 --search.engine world", "which verl's servers do not tell"),
        ("--verl.overrides trainer", "'trainer' sets nothing: write KEY=VALUE"),
        ("--output full", "full is not empty"),
        ("--model gone", "no model directory at gone"),
        ("--trainer.prompts-per-step 100000", "cannot fill a step"),
    ],
)
def test_print_refuses_what_training_would(in_empty_folder, capsys, settings: str, message: str) -> None:
    Path("full").mkdir()
    Path("full/precious.txt").write_text("mine")
    arguments = ["train", "recipes/ssrl-world.toml", "--trainer", "verl", "--print"]
    allowed = ["--trainer.optimizer", "adamw", "--trainer.schedule", "cosine"]
    assert main([*arguments, *allowed, *settings.split()]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert not shown.out
    assert not Path("runs").exists()


@pytest.mark.parametrize("old", [["--engine", "verl"], ["--engine=verl"], ["--trainer.engine", "verl"]])
def test_the_old_name_of_the_trainers_option_is_told_of(in_empty_folder, capsys, old) -> None:
    assert main(["train", "recipes/ssrl-world.toml", *old]) == 1
    assert "write --trainer verl" in capsys.readouterr().err
    Path("old.toml").write_text('name = "old"\n[trainer]\nengine = "verl"\n')
    assert main(["train", "old.toml"]) == 1
    assert "write kind = 'verl' below [trainer]" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"write kind = 'verl' below \[trainer\]"):
        Recipe.model_validate({"trainer": {"engine": "verl"}})


def test_search_engines_are_no_trainers(in_empty_folder, capsys) -> None:
    assert main(["train", "recipes/ssrl-world.toml", "--trainer", "bm25"]) == 2
    error = capsys.readouterr().err
    assert "bm25" in error
    assert "verl" in error
