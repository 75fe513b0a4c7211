"""Servers as verl's agent loops see them: one that repeats trajectories, one with the world's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from innersearch.policy.base import Request
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.stops import StopStrings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Sampling, Segment
from innersearch.world_1.bundled import BUNDLED


class Repeating:
    """Goes on from a prefix of a known segment as its policy did.

    A prefix that no segment has, because tokens were changed on the way, is an error.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = list(segments)
        self.parameters: list[Mapping[str, Any]] = []

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> SimpleNamespace:
        self.parameters.append(dict(sampling_params))
        start = len(prompt_ids)
        known = [s for s in self.segments if s.token_ids[:start] == prompt_ids]
        if not known:
            raise LookupError(f"no segment begins with {prompt_ids}")
        segment = known[0]
        end = start
        while end < len(segment.token_ids) and segment.sampled_mask[end]:
            end += 1
        return output(segment.token_ids[start:end], segment.logprobs[start:end])


def output(
    token_ids: Sequence[int], logprobs: Sequence[float | None] | None = None, **other: Any
) -> Any:
    """Fields of verl's `TokenOutput`."""
    values = [-1.0] * len(token_ids) if logprobs is None else list(logprobs)
    fields = {"stop_reason": "completed", "num_preempted": None, "extra_fields": {"min_global_steps": 3}}
    return SimpleNamespace(token_ids=list(token_ids), log_probs=values, **(fields | other))


class World:
    """The world's model behind verl's interface; it is loaded where it is used."""

    def __init__(self) -> None:
        self._session: Any = None
        self._stops: dict[tuple[str, ...], StopStrings] = {}

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        if self._session is None:
            await self._open(sampling_params["temperature"])
        wanted = tuple(sampling_params.get("stop", ()))
        if wanted and wanted not in self._stops:
            self._stops[wanted] = StopStrings(self._tokenizer, wanted)
        request = Request(
            tuple(prompt_ids),
            (sampling_params["seed"],),
            stop=self._stops.get(wanted),
            max_new_tokens=sampling_params["max_tokens"],
        )
        completion = await self._session.generate(request)
        return TokenOutput(
            token_ids=completion.token_ids,
            log_probs=completion.logprobs,
            stop_reason="completed",
            extra_fields={"min_global_steps": 6, "max_global_steps": 6},
        )

    async def _open(self, temperature: float) -> None:
        self._tokenizer, model = load_tokenizer(str(BUNDLED)), load_model(str(BUNDLED))
        policy = TransformersPolicy(model, end_ids(model, self._tokenizer))
        # Never closed: the process ends with the test.
        self._context = policy.session(Sampling(temperature, 96))
        self._session = await self._context.__aenter__()
