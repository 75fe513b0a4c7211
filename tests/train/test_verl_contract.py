"""The adapter against verl's own classes, on the CPU: `make test-verl`.

verl samples and trains on GPUs only. What runs here is everything around that: its configuration and
data set, its agent loop workers with their batches, its advantages, and on a local Ray cluster its
manager with the queue through which version 1 of its trainer gets trajectories.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from innersearch.config import Recipe
from innersearch.errors import ConfigError, RunError
from innersearch.metrics import exact_match
from innersearch.policy.loading import load_tokenizer
from innersearch.runs import Run
from innersearch.stored import read_json, read_lines
from innersearch.train.order import rows_of
from innersearch.train.trl.segments import to_columns
from innersearch.train.verl import launch
from innersearch.train.verl.cluster import Machine, check_keys, demand_machines
from innersearch.train.verl.outputs import to_outputs
from innersearch.types import StopReason
from innersearch.world_1.bundled import BUNDLED
from tests.train.verl_runs import QUESTIONS, RECIPE, SEARCHING, rolled_out, segment, trajectory
from tests.verl_servers import Repeating, World

pytest.importorskip("verl")
from hydra import compose, initialize_config_module
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.protocol import DataProto
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.utils import (
    create_rl_dataset,
    create_rl_sampler,
    need_critic,
    need_reference_policy,
)
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
from verl.workers.rollout.replica import TokenOutput

pytestmark = pytest.mark.verl

ROOT = Path(__file__).parents[2]


def started(path: Path, recipe: Recipe) -> Run:
    run = Run.start(path, recipe, resume=False)
    launch.write_inputs(recipe, QUESTIONS, run)
    return run


def configured(recipe: Recipe, run: Run, *further: str) -> DictConfig:
    """verl's configuration as `python -m verl.trainer.main_ppo` composes it."""
    overrides = [*launch.overrides(recipe, run), *further]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=overrides)


class Wrapped:
    """A server that answers in verl's own type."""

    def __init__(self, server: Any) -> None:
        self.server = server

    async def generate(self, *arguments: Any, **named: Any) -> TokenOutput:
        return TokenOutput(**vars(await self.server.generate(*arguments, **named)))


def batch(run: Run, config: DictConfig, step: int = 1) -> DataProto:
    """All questions as verl reads them, each once."""
    dataset = RLHFDataset([str(run.questions)], load_tokenizer(str(BUNDLED)), config.data)
    columns = collate_fn([dataset[i] for i in range(len(dataset))])
    tensors = {name: value for name, value in columns.items() if isinstance(value, torch.Tensor)}
    others = {name: value for name, value in columns.items() if name not in tensors}
    others["session_id"] = np.zeros(len(dataset), dtype=object)
    others["global_steps"] = np.full(len(dataset), step, dtype=object)
    return DataProto.from_dict(tensors, others, meta_info={"global_steps": step})


def generated(run: Run, config: DictConfig, server: Any, step: int = 1) -> DataProto:
    """What verl's own worker makes of all questions with our agent loop."""
    worker = AgentLoopWorker(config, Wrapped(server))
    return asyncio.run(worker.generate_sequences(batch(run, config, step)))


# Configuration and data


@pytest.mark.parametrize("advantage", ["group", "rloo", "reinforce++", "gae"])
@pytest.mark.parametrize("recipe", [RECIPE, SEARCHING], ids=["self", "world"])
@pytest.mark.parametrize("kl", [0.0, 0.001])
def test_verl_takes_the_configuration(tmp_path, advantage: str, recipe: Recipe, kl: float) -> None:
    trainer = recipe.trainer.model_copy(update={"advantage": advantage, "kl": kl})
    recipe = recipe.model_copy(update={"trainer": trainer})
    config = configured(recipe, started(tmp_path / "run", recipe))
    assert need_critic(config) is (advantage == "gae")
    assert need_reference_policy(config) is (kl > 0)
    validate_config(config, need_reference_policy(config), need_critic(config))
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert (actor.strategy, actor.ppo_epochs, actor.optim.lr) == ("fsdp2", 1, 1e-6)
    assert (actor.use_kl_loss, actor.kl_loss_coef) == (kl > 0, kl)
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert (rollout.n, rollout.top_p, rollout.top_k) == (2, 1.0, -1)
    assert core_algos.get_adv_estimator_fn(config.algorithm.adv_estimator)
    if advantage == "gae":
        assert omega_conf_to_dataclass(config.critic).strategy == "fsdp2"


def test_names_that_verl_does_not_know_are_refused(tmp_path) -> None:
    overrides = launch.overrides(RECIPE, Run(tmp_path))
    check_keys(overrides)
    with pytest.raises(ConfigError, match="temprature"):
        check_keys([*overrides, "actor_rollout_ref.rollout.temprature=1"])


def test_verl_reads_the_questions(tmp_path) -> None:
    run = started(tmp_path / "run", RECIPE)
    dataset = RLHFDataset(
        [str(run.questions)], load_tokenizer(str(BUNDLED)), configured(RECIPE, run).data
    )
    assert len(dataset) == len(QUESTIONS)
    assert dataset[3]["index"] == 3
    assert list(dataset[3]["golden_answers"]) == list(QUESTIONS[3].golden_answers)
    assert dataset[3]["raw_prompt"] == [{"role": "user", "content": QUESTIONS[3].question}]


def test_verl_takes_the_questions_in_our_order_also_after_a_resume(tmp_path) -> None:
    """With its own functions and loader: eight questions, three a step, ten steps, stopped after six."""
    trainer = RECIPE.trainer.model_copy(update={"prompts_per_step": 3, "micro_batch": 1})
    recipe = RECIPE.model_copy(update={"trainer": trainer})
    run = started(tmp_path / "run", recipe)
    config = configured(recipe, run, "data.dataloader_num_workers=0")

    def loader() -> StatefulDataLoader:
        files = [str(run.questions)]
        dataset = create_rl_dataset(files, config.data, load_tokenizer(str(BUNDLED)), None)
        assert len(dataset) // config.data.train_batch_size == config.trainer.total_training_steps
        return StatefulDataLoader(
            dataset=dataset,
            batch_size=config.data.train_batch_size,
            num_workers=config.data.dataloader_num_workers,
            drop_last=True,
            collate_fn=collate_fn,
            sampler=create_rl_sampler(config.data, dataset),
        )

    def rows(batches: Iterable[dict[str, Any]]) -> list[int]:
        return [int(row) for columns in batches for row in columns["index"]]

    expected = rows_of(recipe.seed, len(QUESTIONS), 3, 10)
    whole = loader()
    assert rows(whole) == expected
    stopped = loader()
    assert rows(islice(stopped, 6)) == expected[:18]
    again = loader()
    again.load_state_dict(stopped.state_dict())
    assert rows(again) == expected[18:]


def test_the_divergence_of_both_trainers_has_one_gradient() -> None:
    gaps = torch.linspace(-2, 2, 9)
    ours, theirs = (torch.zeros(9, requires_grad=True) for _ in range(2))
    (torch.exp(gaps - ours) - (gaps - ours) - 1).sum().backward()
    core_algos.kl_penalty(theirs, gaps, "low_var_kl").sum().backward()
    assert torch.allclose(ours.grad, theirs.grad)


# Agent loop


@pytest.mark.parametrize("recipe", [RECIPE, SEARCHING], ids=["self", "world"])
def test_a_batch_of_verls_has_trls_tokens_and_masks(tmp_path, recipe: Recipe) -> None:
    expected = rolled_out(recipe, len(QUESTIONS))
    run = started(tmp_path / "run", recipe)
    config = configured(recipe, run)
    made = generated(run, config, Repeating([one.segments[0] for one in expected]))
    columns, _ = to_columns(expected)
    for row, one in enumerate(expected):
        valid = int(made.batch["attention_mask"][row, 64:].sum())
        prompt = made.batch["prompts"][row].tolist()
        mask = made.batch["response_mask"][row].tolist()
        assert prompt[-one.segments[0].prompt_len :] == columns["prompt_ids"][row]
        assert made.batch["responses"][row, :valid].tolist() == columns["completion_ids"][row][:valid]
        assert mask[:valid] == columns["env_mask"][row][:valid]
        assert not any(mask[valid:])
        assert not any(columns["env_mask"][row][valid:])
        logprobs = made.batch["rollout_log_probs"][row, :valid].tolist()
        assert logprobs == pytest.approx(columns["logprobs"][row][:valid])
        scores = made.batch["rm_scores"][row]
        assert scores.nonzero().flatten().tolist() == ([valid - 1] if one.reward else [])
        assert mask[valid - 1] == 1
        assert float(scores.sum()) == pytest.approx(one.reward)
        assert made.non_tensor_batch["em"][row] == one.components["em"]
    assert (made.batch["response_mask"] == 0).any()


def test_failures_neither_end_the_trainer_nor_go_unnoticed(tmp_path) -> None:
    expected = rolled_out(RECIPE, len(QUESTIONS))
    run = started(tmp_path / "run", RECIPE)
    config = configured(RECIPE, run)
    server = Repeating([one.segments[0] for one in expected[2:]])
    made = generated(run, config, server)
    assert made.non_tensor_batch["failed"].tolist() == [1.0, 1.0] + [0.0] * 6
    assert made.batch["response_mask"][:2].sum() == 0
    assert made.batch["rm_scores"][:2].abs().sum() == 0
    # As trainer_base.py 1897 does, which cannot make an integer of None.
    np.array(made.non_tensor_batch["min_global_steps"], dtype=int)
    # A process has one worker for a run, whichever of verl's makes its agent loops.
    server.segments = []
    generated(run, config, server, step=2)
    with pytest.raises(RunError, match="max_error_rate"):
        generated(run, config, server, step=3)
    assert "rollouts failed" in read_json(run.stopped)["message"]


def test_an_agent_loop_that_cannot_start_leaves_word(tmp_path) -> None:
    run = started(tmp_path / "run", RECIPE)
    config = configured(RECIPE, run, "actor_rollout_ref.rollout.name=sglang")
    with pytest.raises(InstantiationException, match="vllm"):
        generated(run, config, Repeating([]))
    assert read_json(run.stopped)["error"] == "ConfigError"


# Advantages


def padded(columns: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Outputs as verl's trainer pads them, with the reward on the last token of each."""
    width = max(len(one["response_mask"]) for one in columns)
    masks, rewards = torch.zeros(len(columns), width), torch.zeros(len(columns), width)
    for row, one in enumerate(columns):
        length = len(one["response_mask"])
        masks[row, :length] = torch.tensor(one["response_mask"], dtype=torch.float)
        rewards[row, length - 1] = one["reward_score"]
    return {"response_mask": masks, "token_level_rewards": rewards}


def untrimmed(one: Any) -> dict[str, Any]:
    loss = one.segments[0].loss_mask[one.segments[0].prompt_len :]
    return {"response_mask": list(map(int, loss)), "reward_score": one.reward}


def gae(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    values = torch.zeros_like(batch["response_mask"])
    advantages, _ = core_algos.compute_gae_advantage_return(**batch, values=values, gamma=1.0, lam=1.0)
    return advantages


def reinforce(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    config = OmegaConf.create({"gamma": 1.0})
    advantages, _ = core_algos.compute_reinforce_plus_plus_outcome_advantage(**batch, config=config)
    return advantages


@pytest.mark.parametrize("estimator", [gae, reinforce])
def test_the_reward_survives_a_cut_within_information(estimator: Any) -> None:
    """Cut off while the policy wrote information, so that the last token carries no loss."""
    cut = [
        trajectory(segment([1, 1, 0, 0, 0]), reward=1.0),
        trajectory(segment([1, 0, 0]), reward=0.0),
        trajectory(segment([1, 1, 1, 0]), reward=0.4),
    ]
    lost = estimator(padded([untrimmed(one) for one in cut]))
    assert not lost.any()
    ours = padded([columns for one in cut for columns in to_outputs(one)])
    kept = estimator(ours)
    assert kept[ours["response_mask"] == 1].all()
    assert kept[0, 0] > kept[2, 0] > kept[1, 0]


def test_the_divergence_in_the_loss_pulls_towards_the_start() -> None:
    config_of_kl = "low_var_kl"
    policy = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    reference = torch.tensor([-1.5, -1.0, -0.5])
    term = core_algos.kl_penalty(policy, reference, config_of_kl)
    assert (term >= 0).all()
    term.sum().backward()
    # verl adds the term to the loss, so a step goes against the gradient.
    after = (policy - 0.1 * policy.grad).detach()
    assert (after - reference).abs()[:2].lt((policy.detach() - reference).abs()[:2]).all()


@pytest.mark.parametrize("arranged", [True, False])
def test_several_segments_share_their_sessions_advantage(arranged: bool) -> None:
    """verl reads it at the first trained token of the last one."""
    columns, keys = [], []
    for session, reward in enumerate([1.0, 0.0]):
        one = trajectory(segment([1, 1]), segment([0, 0]), reward=reward)
        outputs = to_outputs(one)
        columns += outputs if arranged else outputs[::-1]
        keys += [f"uid_{session}_{index}" for index in range(2)]
    data = DataProto.from_dict(padded(columns), {"uid": np.array(["uid"] * len(columns), dtype=object)})
    made = compute_advantage_for_multi_trajectories(
        data, keys, core_algos.AdvantageEstimator.GRPO, num_repeat=2
    )
    assert bool(made.batch["advantages"].any()) is arranged


# Ray


@pytest.fixture(scope="module")
def cluster() -> Any:
    """A local Ray cluster without GPUs, whose workers can import the package and these tests."""
    import ray

    variables = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    # More than there are: verl's processes each claim one and mostly wait.
    ray.init(num_cpus=8, include_dashboard=False, runtime_env={"env_vars": variables})
    yield ray
    ray.shutdown()


def test_verls_manager_fills_its_queue(tmp_path, cluster) -> None:
    """Version 1: workers in processes of their own, episodes with searches, results in TransferQueue."""
    import transfer_queue as tq
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ
    from verl.utils import tensordict_utils

    verl = SEARCHING.verl.model_copy(update={"workers": 2})
    recipe = SEARCHING.model_copy(update={"verl": verl})
    run = started(tmp_path / "run", recipe)
    config = configured(recipe, run)
    config.transfer_queue.enable = True
    OmegaConf.resolve(config)
    tq.init(config.transfer_queue)
    try:
        manager = AgentLoopManagerTQ.create(config=config, llm_client=World())
        columns = dict(batch(run, config).non_tensor_batch)
        del columns["session_id"], columns["global_steps"]
        uids = [f"uid{number}" for number in range(len(QUESTIONS))]
        columns["uid"] = np.array(uids, dtype=object)
        prompts = tensordict_utils.get_tensordict(columns)
        tensordict_utils.assign_non_tensor_data(prompts, "global_steps", 7)
        tags = [{"is_prompt": True, "status": "pending", "global_steps": 7}] * len(uids)
        tq.kv_batch_put(keys=uids, partition_id="train", tags=tags)
        manager.generate_sequences(prompts)
        tags = _wait_until_settled(tq, uids)
        assert {tags[uid]["status"] for uid in uids} == {"finished"}
        keys = sorted(key for key in tags if key not in uids)
        assert keys == sorted(f"{uid}_{session}_0" for uid in uids for session in range(2))
        assert {tags[key]["max_global_steps"] for key in keys} == {6}
        data = tq.kv_batch_get(keys=keys, partition_id="train")
    finally:
        tq.close()
    _check_queue(keys, data, {one["uid"]: one for one in read_lines(run.trajectories)})


def _wait_until_settled(tq: Any, uids: list[str]) -> dict[str, dict[str, Any]]:
    for _ in range(300):
        tags = tq.kv_list()["train"]
        if all(tags[uid].get("status") in ("finished", "failure") for uid in uids):
            return tags
        time.sleep(0.5)
    raise TimeoutError(str(tags))


def _check_queue(keys: list[str], data: Any, written: dict[str, dict[str, Any]]) -> None:
    assert len(written) == len(keys)
    masked = rewarded = 0
    for row in range(len(keys)):
        extra = data["extra_fields"][row]
        record = written[extra["trajectory"]]
        [only], start = record["segments"], record["segments"][0]["prompt_len"]
        length = len(data["responses"][row])
        assert record["step"] == 7
        assert data["prompts"][row].tolist() == only["token_ids"][:start]
        assert data["responses"][row].tolist() == only["token_ids"][start : start + length]
        mask = [int(loss) for loss in only["loss_mask"][start : start + length]]
        assert data["response_mask"][row].tolist() == data["loss_mask"][row].tolist() == mask
        assert not any(only["loss_mask"][start + length :])
        assert mask[-1] == 1
        assert float(data["rm_scores"][row][-1]) == pytest.approx(record["reward"])
        # The reward is for the gold answers of this question and no other.
        question = QUESTIONS[int(data["index"][row])]
        assert record["question"]["golden_answers"] == list(question.golden_answers)
        assert record["components"]["em"] == exact_match(record.get("answer"), question.golden_answers)
        assert all(call["engine"] == "bm25" for call in record["calls"])
        assert record["stop_reason"] in (StopReason.EOS, StopReason.TOKEN_BUDGET)
        masked += mask.count(0)
        rewarded += record["reward"] > 0.5
    assert masked
    assert rewarded


def test_machines_are_those_of_ray(cluster) -> None:
    """Asked from another process, as the command line does."""
    code = "from innersearch.train.verl.cluster import machines; print(machines())"
    address = cluster.get_runtime_context().gcs_address
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"RAY_ADDRESS": address, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == "[Machine(cpus=8.0, gpus=0)]"
    with pytest.raises(RunError, match="0 GPUs, 8 CPUs"):
        demand_machines(RECIPE, [Machine(8.0, 0)])
