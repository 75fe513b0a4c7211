"""verl's vLLM servers as a sampler: token ids in, token ids and log-probabilities out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from innersearch.errors import ModelError
from innersearch.policy.base import Completion, Request, endpoint_seed
from innersearch.policy.completions import finished
from innersearch.types import Sampling


class Server(Protocol):
    """What is used of verl's `LLMServerClient`; the answer is its `TokenOutput`."""

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Any:
        """Tokens that follow `prompt_ids`."""


@dataclass
class ServerPolicy:
    """The policy behind verl's servers, whose weights verl changes from step to step."""

    server: Server
    end_ids: frozenset[int]
    """Tokens that end a sequence."""
    context: int
    """Longest sequence, in tokens: verl's `max_model_len`."""
    seeded: bool = True
    name: str = "verl"
    provides: frozenset[str] = frozenset({"tokens", "logprobs"})

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[ServerSampler]:
        """Sample under `sampling`; all requests of a session go to the same server."""
        yield ServerSampler(self, sampling, self.context)


@dataclass
class ServerSampler:
    """The requests of one session, and what the server said about them."""

    policy: ServerPolicy
    sampling: Sampling
    context: int
    seconds: float = 0.0
    """Spent waiting for the server."""
    versions: list[int] = field(default_factory=list)
    """Training steps whose weights wrote the tokens."""
    preempted: int = -1

    async def generate(self, request: Request) -> Completion:
        """The completion of one request.

        Raises:
            ModelError: The server gave up, or tells no log-probabilities.
        """
        limit = request.max_new_tokens or self.sampling.max_new_tokens
        started = time.perf_counter()
        output = await self.policy.server.generate(
            "/".join(map(str, request.stream[:2])),
            prompt_ids=list(request.prompt_ids),
            sampling_params=self._parameters(request, limit),
        )
        self.seconds += time.perf_counter() - started
        self._note(output)
        token_ids = [int(i) for i in output.token_ids]
        if not token_ids or output.stop_reason == "aborted":
            raise ModelError(f"the server returned {len(token_ids)} tokens ({output.stop_reason})")
        if output.log_probs is None or len(output.log_probs) != len(token_ids):
            raise ModelError(
                "the server returned no log-probabilities: leave "
                "actor_rollout_ref.rollout.calculate_log_probs at true"
            )
        logprobs = [float(value) for value in output.log_probs]
        # verl says "completed" for all of them.
        reason = "length" if len(token_ids) >= limit else str(output.stop_reason)
        return finished(token_ids, logprobs, reason, request, self.policy.end_ids)

    def _parameters(self, request: Request, limit: int) -> dict[str, Any]:
        given = self.sampling.temperature if request.temperature is None else request.temperature
        parameters: dict[str, Any] = {
            "temperature": given,
            "top_p": 1.0,
            "top_k": -1,
            "max_tokens": limit,
            "logprobs": True,
            "stop_token_ids": sorted(self.policy.end_ids),
        }
        if self.policy.seeded and given:
            parameters["seed"] = endpoint_seed(self.sampling.seed, request.stream)
        if request.stop is not None:
            parameters |= {
                "stop": list(request.stop.strings),
                "include_stop_str_in_output": True,
                # Tags may be special tokens, and text without them would hide the stop string.
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
            }
        return parameters

    def _note(self, output: Any) -> None:
        extra: Mapping[str, Any] = output.extra_fields or {}
        for name in ("min_global_steps", "max_global_steps"):
            if extra.get(name) is not None:
                self.versions.append(int(extra[name]))
        if output.num_preempted is not None:
            self.preempted = max(self.preempted, 0) + int(output.num_preempted)
