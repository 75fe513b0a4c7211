"""A local server that speaks `/v1/completions` with token ids, around a model of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerFast

from innersearch.policy.base import Request
from innersearch.policy.stops import StopStrings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Finish, Sampling
from tests.search_servers import Answer, Asked, LocalServer

_ONE_AT_A_TIME = threading.Lock()
"""Servers may share a model, and which attention is computed is a setting of the whole process."""


class ModelServer(LocalServer):
    """Answers like vLLM; `spoil` may change an answer before it is sent."""

    def __init__(
        self,
        policy: TransformersPolicy,
        tokenizer: PreTrainedTokenizerFast,
        spoil: Callable[[Asked, dict[str, Any]], Answer | None] = lambda asked, body: None,
    ) -> None:
        super().__init__(self._answer)
        self._policy, self._tokenizer, self._spoil = policy, tokenizer, spoil

    def _answer(self, asked: Asked) -> Answer:
        if asked.path == "/v1/models":
            return Answer({"data": [{"id": "tiny", "max_model_len": 256}]})
        body = self._complete(asked.values)
        return self._spoil(asked, body) or Answer(body)

    def _complete(self, asked: dict[str, Any]) -> dict[str, Any]:
        stop = StopStrings(self._tokenizer, asked["stop"]) if asked.get("stop") else None
        request = Request(tuple(asked["prompt"]), (asked.get("seed", 0),), stop)
        sampling = Sampling(asked["temperature"], asked["max_tokens"])
        with _ONE_AT_A_TIME:
            [(_, completion)] = self._policy.stream([request], sampling)
        choice = {
            "text": self._tokenizer.decode(completion.token_ids),
            "token_ids": completion.token_ids,
            "logprobs": {"token_logprobs": completion.logprobs},
            "finish_reason": "length" if completion.finish is Finish.LENGTH else "stop",
        }
        return {"choices": [choice]}
