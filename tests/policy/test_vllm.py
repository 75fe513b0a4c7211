"""Against a real vLLM (`make test-vllm`): in process, behind its server, colocated with the trainer."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from innersearch import prompts
from innersearch.assemble.policies import open_policy
from innersearch.cli import main
from innersearch.evaluate.run import EvalSettings, evaluate
from innersearch.policy.base import Policy, Request
from innersearch.policy.transformers import TransformersPolicy
from innersearch.stored import read_lines
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Sampling
from innersearch.world_1.bundled import BUNDLED
from tests.rollout.rolling import TEST, index, model, plan, tokenizer

pytestmark = pytest.mark.vllm
QUESTIONS = TEST[::8]
SETTINGS = EvalSettings(prompt="world", max_new_tokens=96, max_batch=64)
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


@cache
def engine() -> Policy:
    return open_policy("vllm", str(BUNDLED), tokenizer(), max_batch=64)


def prompt_ids(question: Question) -> tuple[int, ...]:
    return prompts.encode(tokenizer(), "world", question.question)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(BUNDLED)]
    command += ["--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{url}/health", process)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx2.get(url, timeout=5).is_success:
                return
        except httpx2.HTTPError:
            time.sleep(1)
    pytest.fail("the server did not start")


def policies(place: str, address: str) -> Policy:
    if place == "process":
        return engine()
    return open_policy(f"http:{address}", str(BUNDLED), tokenizer(), max_batch=64)


@pytest.mark.parametrize("router", ["self", "always", "gate:min-prob:0.3"])
@pytest.mark.parametrize("place", ["process", "server"])
def test_greedy_trajectories_are_those_of_the_transformers_policy(
    place: str, router: str, address: str, tmp_path: Path
) -> None:
    searching = SearchTool.itself() if router == "self" else plan(router, index())
    found = []
    for policy in (policies(place, address), TransformersPolicy.of(model(), tokenizer())):
        path = tmp_path / type(policy).__name__
        evaluate(policy, tokenizer(), QUESTIONS, path, SETTINGS, search=searching)
        found.append([record["segments"][0] for record in read_lines(path / "trajectories.jsonl")])
    same = [theirs["token_ids"] == ours["token_ids"] for theirs, ours in zip(*found, strict=True)]
    # The sums of another engine may tip a tie.
    assert sum(same) >= len(same) - 2
    for theirs, ours, alike in zip(*found, same, strict=True):
        if alike:
            assert theirs["loss_mask"] == ours["loss_mask"]
            assert theirs["logprobs"] == pytest.approx(ours["logprobs"], abs=1e-3)


@pytest.mark.parametrize("place", ["process", "server"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_of_sampled_tokens_are_the_trainers(
    place: str, temperature: float, address: str
) -> None:
    if place == "server" and temperature != 1.0:
        pytest.skip("the server reports raw log-probabilities unless it is told otherwise")
    policy, asked = policies(place, address), [prompt_ids(q) for q in QUESTIONS[:32]]

    async def sample() -> list[Any]:
        async with policy.session(Sampling(temperature, 40)) as sampler:
            wanted = (sampler.generate(Request(ids, (n,))) for n, ids in enumerate(asked))
            return await asyncio.gather(*wanted)

    first, again = asyncio.run(sample()), asyncio.run(sample())
    assert [c.token_ids for c in first] == [c.token_ids for c in again]
    assert len({tuple(c.token_ids) for c in first}) > 16
    for prompt, completion in zip(asked, first, strict=True):
        ids = torch.tensor([[*prompt, *completion.token_ids]])
        with torch.inference_mode():
            logits = model()(ids).logits[0, len(prompt) - 1 : -1]
        logprobs = torch.log_softmax(logits / temperature, -1)
        wanted = logprobs.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        assert completion.logprobs == pytest.approx(wanted.tolist(), abs=1e-3)


def test_cancelled_requests_leave_the_engine() -> None:
    async def run() -> int:
        async with engine().session(Sampling(1.0, 200)) as sampler:
            ids = prompt_ids(QUESTIONS[0])
            late = asyncio.create_task(sampler.generate(Request(ids, ("late",))))
            await asyncio.sleep(0.2)
            late.cancel()
            await sampler.generate(Request(ids, ("next",), max_new_tokens=2))
            return engine().llm.llm_engine.get_num_unfinished_requests()

    assert asyncio.run(run()) == 0


def test_colocated_training_samples_from_the_weights_that_are_trained(tmp_path: Path) -> None:
    """In a process of its own: TRL opens an engine for each trainer."""
    small = ["--trainer.steps", "4", "--trainer.prompts_per_step", "8", "--trainer.micro_batch", "64"]
    small += ["--trainer.warmup_steps", "0"]
    chosen = ["--sampling.policy", "vllm", "--output", str(tmp_path / "run"), *small]
    command = [sys.executable, "-m", "innersearch", "train", "recipes/ssrl-world.toml", *chosen]
    subprocess.run(command, check=True)
    metrics = list(read_lines(tmp_path / "run" / "metrics.jsonl"))
    assert [record["step"] for record in metrics] == [1, 2, 3, 4]
    # The weights have moved by the last step; those of an engine left behind would show.
    assert all(record["policy/logprob_gap"] < 1e-3 for record in metrics)
    assert metrics[-1]["policy/kl"] > 1e-4
    assert main(["eval", str(tmp_path / "run" / "model"), "--data", "world-1:validation"]) == 0
