"""Evaluation through vLLM against vLLM alone: the share of its token throughput that trajectories get.

Rolls questions of the embedded world out through the policy `vllm`, with self-search and with BM25 over
several turns, then lets `vllm.LLM.generate` write for the very same requests, all known beforehand and
handed over at once: what no rollout can beat, since a second turn depends on the first. Idle units add
nothing to a model: it writes what it wrote before, and costs what a larger one costs. Needs vLLM,
but for `--model none`: only our side of it, over recorded tokens (see recorded.py).

    .venv-vllm/bin/python benchmarks/policies.py --questions 400 --repetitions 4
    .venv-vllm/bin/python benchmarks/policies.py --idle-units 31000     # 48 million parameters
    python benchmarks/policies.py --model none --where
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

import recorded
import torch
from bm25 import processor
from scheduler import middle
from transformers import PreTrainedTokenizerFast

from innersearch import prompts
from innersearch.assemble.models import conventions_of, model_path
from innersearch.assemble.plans import open_search
from innersearch.assemble.sources import load_questions
from innersearch.config import SearchSettings
from innersearch.policy.base import Completion, Request, Sampler
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.policy.vllm import VllmPolicy, parameters
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.types import Sampling
from innersearch.view.tables import markdown

WAYS = {
    "self-search": None,
    "BM25, several turns": SearchSettings(router="always", engine="world-1", k=1, style="plain"),
}


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


def tasks_of(tokenizer: PreTrainedTokenizerFast, options: argparse.Namespace) -> list[Task]:
    prompt = conventions_of(tokenizer).prompt
    return [
        Task(q, prompts.encode(tokenizer, prompt, q.question), q.id, repetition)
        for q in load_questions("world-1:train")[: options.questions]
        for repetition in range(options.repetitions)
    ]


def beside_vllm(path: str, options: argparse.Namespace) -> str:
    """A table of both rates and our share, per way to search."""
    import vllm

    tokenizer = load_tokenizer(path)
    policy = VllmPolicy.load(path, tokenizer, max_batch=options.slots)
    tasks, sampling = tasks_of(tokenizer, options), Sampling(1.0, 96)
    rows = []
    for name, settings in WAYS.items():
        plan = open_search(settings)
        with Rollout(policy, tokenizer, sampling, search=plan, in_flight=2 * options.slots) as rollout:
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
    idle = f" with {options.idle_units:,} idle units per layer" if options.idle_units else ""
    return (
        f"vLLM {vllm.__version__}; model {Path(options.model).name}{idle}, {size:.1f} million "
        f"parameters, {options.slots} slots\n\n{table}\n"
    )


def without_model(options: argparse.Namespace) -> str:
    """A table of the processor time per trajectory, per way to search; and where it passes."""
    path = model_path("world-1")
    model, tokenizer = load_model(path), load_tokenizer(path)
    policy = TransformersPolicy.of(model, tokenizer)
    tasks, sampling = tasks_of(tokenizer, options), Sampling(1.0, 96)
    rows, places = [], []
    for name, settings in WAYS.items():
        plan = open_search(settings)
        record = recorded.Remembering(policy)
        with (
            recorded.stand_in(policy, record, options.slots) as engine,
            Rollout(record, tokenizer, sampling, search=plan, in_flight=2 * options.slots) as rollout,
        ):
            written = rollout.run(tasks)
            rollout.policy = engine
            taken = recorded.milliseconds(rollout, tasks, options.rounds)
            if rollout.run(tasks[:64])[-1].segments[0].token_ids != written[63].segments[0].token_ids:
                raise SystemExit("the recorded tokens came out as others")
            rows.append([name, f"{len(record.spoken):,}", *(middle(ms, 2) for ms in taken)])
            if options.where:
                found = recorded.where(lambda rollout=rollout: rollout.run(tasks))
                whole = found.total()
                lines = [[n, f"{s / whole:.0%}"] for n, s in found.most_common(14)]
                places.append(markdown([name, "of the time under a profiler"], lines))
    table = markdown(["", "requests", "ms per trajectory", "in other threads"], rows)
    return "\n\n".join([f"no model, {len(tasks):,} trajectories", table, *places]) + "\n"


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument(
        "--model", default="world-1", help="one that answers the world's questions, or none"
    )
    parser.add_argument("--idle-units", type=int, default=0, help="more feed-forward units per layer")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--where", action="store_true", help="with no model: in which module time passes"
    )
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        if options.model == "none":
            found = without_model(options)
        else:
            path = model_path(options.model)
            units = options.idle_units
            found = beside_vllm(enlarge(path, units, workspace) if units else path, options)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    text = (
        f"benchmarks/policies.py, {processor()}, {os.cpu_count()} cores, {device}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; {found}"
    )
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
