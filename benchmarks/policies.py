"""Evaluation through vLLM against vLLM alone: the share of its token throughput that trajectories get.

Rolls questions of the embedded world out through the policy `vllm`, with self-search and with BM25 over
several turns, then lets `vllm.LLM.generate` write for the very same requests, all known beforehand and
handed over at once: what no rollout can beat, since a second turn depends on the first. Idle units add
nothing to a model: it writes what it wrote before, and costs what a larger one costs. Needs
vLLM.

    .venv-vllm/bin/python benchmarks/policies.py --questions 400 --repetitions 4
    .venv-vllm/bin/python benchmarks/policies.py --idle-units 31000     # 48 million parameters
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

import torch
import vllm
from bm25 import processor
from scheduler import middle

from innersearch import prompts
from innersearch.assemble.plans import open_plan
from innersearch.assemble.sources import default_prompt, load_questions, model_path
from innersearch.config import SearchSettings
from innersearch.policy.base import Completion, Request, Sampler
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.vllm import VllmPolicy, parameters
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.types import Sampling
from innersearch.view.tables import markdown

SETTINGS = SearchSettings(router="always", engine="world", k=1, style="plain")


class Taken(NamedTuple):
    """One run over all requests."""

    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Sampled tokens per second."""
        return self.tokens / self.seconds


class Recorded:
    """A policy that remembers what it was asked."""

    def __init__(self, policy: VllmPolicy) -> None:
        self.policy, self.name, self.provides = policy, policy.name, policy.provides
        self.context = policy.context
        self.requests: list[Request] = []
        self.tokens = 0

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[Sampler]:
        """The same sessions, whose requests are kept."""
        async with self.policy.session(sampling) as sampler:
            yield _Recording(self, sampler)


class _Recording:
    def __init__(self, record: Recorded, sampler: Sampler) -> None:
        self.context, self._record, self._sampler = sampler.context, record, sampler

    async def generate(self, request: Request) -> Completion:
        self._record.requests.append(request)
        completion = await self._sampler.generate(request)
        self._record.tokens += len(completion.token_ids)
        return completion


def ours(policy: VllmPolicy, rollout: Rollout, tasks: Sequence[Task]) -> tuple[Taken, list[Request]]:
    policy.llm.reset_prefix_cache()
    record = rollout.policy = Recorded(policy)
    started = time.perf_counter()
    rollout.run(tasks)
    return Taken(record.tokens, time.perf_counter() - started), record.requests


def raw(policy: VllmPolicy, requests: Sequence[Request], sampling: Sampling) -> Taken:
    policy.llm.reset_prefix_cache()
    asked = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
    chosen = [parameters(request, sampling, policy) for request in requests]
    started = time.perf_counter()
    outputs = policy.llm.generate(asked, chosen, use_tqdm=False)
    return Taken(sum(len(o.outputs[0].token_ids) for o in outputs), time.perf_counter() - started)


def enlarge(path: str, units: int, workspace: str) -> str:
    """Save the model with `units` more feed-forward units per layer, whose sum is nought."""
    small = load_model(path)
    config = copy.deepcopy(small.config)
    config.intermediate_size += units
    large = type(small)(config)
    for name, weight in large.state_dict().items():
        known = small.state_dict()[name]
        if name.endswith("down_proj.weight"):
            weight.zero_()
        weight[tuple(map(slice, known.shape))] = known
    large.save_pretrained(workspace)
    load_tokenizer(path).save_pretrained(workspace)
    return workspace


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--model", default="world", help="one that answers the world's questions")
    parser.add_argument("--idle-units", type=int, default=0, help="more feed-forward units per layer")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    path = model_path(options.model)
    workspace = tempfile.TemporaryDirectory()
    if options.idle_units:
        path = enlarge(path, options.idle_units, workspace.name)
    tokenizer = load_tokenizer(path)
    policy = VllmPolicy.load(path, tokenizer, max_batch=options.slots)
    prompt, sampling = default_prompt(tokenizer), Sampling(1.0, 96)
    tasks = [
        Task(q, prompts.encode(tokenizer, prompt, q.question), q.id, repetition)
        for q in load_questions("world:train")[: options.questions]
        for repetition in range(options.repetitions)
    ]
    rows = []
    for name in ("self-search", "BM25, several turns"):
        plan = None if name == "self-search" else open_plan(SETTINGS)
        with Rollout(policy, tokenizer, sampling, plan=plan, in_flight=2 * options.slots) as rollout:
            pairs = []
            for number in range(options.rounds + 1):
                mine, requests = ours(policy, rollout, tasks)
                theirs = raw(policy, requests, sampling)
                pairs += [(mine, theirs)] if number else []
        share = middle([m.rate / t.rate for m, t in pairs], 3)
        rates = (f"{statistics.median(x.rate for x in side):,.0f}" for side in zip(*pairs, strict=True))
        rows.append([name, f"{len(requests):,}", f"{pairs[-1][0].tokens:,}", *rates, share])
    table = markdown(["", "requests", "tokens", "ours, tokens/s", "vLLM alone", "share"], rows)
    size = load_model(path).num_parameters() / 1e6
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    text = (
        f"benchmarks/policies.py, {processor()}, {os.cpu_count()} cores, {device}, vLLM "
        f"{vllm.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; "
        f"model {Path(options.model).name}, {size:.1f} million parameters, "
        f"{options.slots} slots\n\n{table}\n"
    )
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
