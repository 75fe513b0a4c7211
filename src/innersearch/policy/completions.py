"""A policy behind OpenAI-style completions servers that take and give token ids, such as `vllm serve`.

    POST <base>/completions  {"prompt": [ids], "return_token_ids": true, …}

vLLM (from 0.10.2) and SGLang (pull request 30917) answer with the ids that were sampled, so nothing is
ever decoded and encoded again. Several servers share the work: the turns of a trajectory go to one
server, for its prefix cache, and move to another when it fails.

Log-probabilities are those that the server reports. At a temperature other than 1 they are of the
sampling distribution only if the server was told so (`vllm serve --logprobs-mode processed_logprobs`).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from innersearch.errors import ModelError, PolicyError
from innersearch.net.chat import outline
from innersearch.policy.base import Completion, Request, endpoint_seed
from innersearch.policy.servers import Patience, Servers, base_address
from innersearch.types import Finish, Sampling

_NO_IDS = (
    "it sends no token ids, so its text would have to be encoded again: take vLLM from 0.10.2, an "
    "SGLang with return_token_ids, or --policy chat:URL for an evaluation that is marked as re-tokenised"
)


_LARGEST = sys.float_info.max
_ROUNDING = 1e-3
"""How far above 0 a log-probability may come out."""


class CompletionsPolicy:
    """Samples from a model that servers hold; the weights are theirs."""

    provides = frozenset({"tokens", "logprobs"})
    served = True
    """Whether another process holds the weights, which then cannot be told apart here."""
    stated = ""
    """What the servers say that they have loaded, where they do."""

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        end_ids: Iterable[int],
        context: int,
        *,
        vocabulary: int,
        in_flight: int = 256,
        patience: Patience | None = None,
    ) -> None:
        """Args:
            urls: Base addresses such as `http://127.0.0.1:8000/v1`.
            model: The name that the servers give the model.
            end_ids: Tokens that end a sequence.
            context: Longest sequence of the model, in tokens.
            vocabulary: Number of tokens that it may sample.
            in_flight: Requests under way at most, over all servers.
            patience: How long failing servers are waited for.

        Raises:
            PolicyError: An address cannot be used, or there is none.
        """
        self.name, self.end_ids, self.context = model, frozenset(end_ids), context
        self.urls, self.vocabulary = tuple(map(base_address, urls)), vocabulary
        self._in_flight, self._patience = in_flight, patience or Patience()
        if not urls:
            raise PolicyError("no address given: write http:URL or http:URL,URL")

    def at(self, urls: Sequence[str], patience: Patience) -> CompletionsPolicy:
        """The same model at other addresses."""
        return CompletionsPolicy(
            urls,
            self.name,
            self.end_ids,
            self.context,
            vocabulary=self.vocabulary,
            in_flight=self._in_flight,
            patience=patience,
        )

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[_Session]:
        """Sample under `sampling` for many coroutines at once; see `Sampler`."""
        servers = Servers(self.urls, self._in_flight, self._patience)
        try:
            yield _Session(self, servers, sampling)
        finally:
            await servers.close()


class _Session:
    def __init__(self, policy: CompletionsPolicy, servers: Servers, sampling: Sampling) -> None:
        self.context = policy.context
        self._policy, self._servers, self._sampling = policy, servers, sampling

    async def generate(self, request: Request) -> Completion:
        body = self._body(request, request.room(self.context))
        answer = await self._servers.post("completions", body, request.sequence)
        return read_completion(answer, request, self._policy, body["max_tokens"])

    def _body(self, request: Request, room: int) -> dict[str, Any]:
        sampling, temperature = self._sampling, request.temperature
        temperature = sampling.temperature if temperature is None else temperature
        budget = request.max_new_tokens or sampling.max_new_tokens
        body: dict[str, Any] = {
            "model": self._policy.name,
            "prompt": list(request.prompt_ids),
            "max_tokens": min(budget, room),
            "temperature": temperature,
            "logprobs": 0,
            "return_token_ids": True,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            # A server knows those of its own configuration only.
            "stop_token_ids": sorted(self._policy.end_ids),
        }
        if temperature:
            body["seed"] = endpoint_seed(sampling.seed, request.stream)
        if request.stop and request.stop.strings:
            body |= {"stop": list(request.stop.strings), "include_stop_str_in_output": True}
            body["no_stop_trim"] = True
        return body


def read_completion(answer: Any, request: Request, policy: CompletionsPolicy, budget: int) -> Completion:
    """The completion in the answer of a server, without what a server wrote on where it had to end.

    Raises:
        ModelError: It holds no token ids or log-probabilities, or impossible ones, or ended for no
            reason that is known.
    """
    try:
        [choice] = answer["choices"]
        token_ids = choice.get("token_ids")
        logprobs: Any = (choice.get("logprobs") or {}).get("token_logprobs")
        reason = choice.get("finish_reason")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ModelError(f"the server sent no completion, but {outline(answer)}") from None
    if token_ids is None:
        raise ModelError(f"the server cannot be a policy: {_NO_IDS}")
    _check_tokens(token_ids, policy.vocabulary, budget)
    _check_logprobs(logprobs, len(token_ids))
    end = _end(token_ids, request, policy.end_ids)
    return finished(token_ids[:end], logprobs[:end], reason, request, policy.end_ids)


def _check_tokens(token_ids: Any, vocabulary: int, budget: int) -> None:
    if not isinstance(token_ids, list) or any(
        type(i) is not int or not 0 <= i < vocabulary for i in token_ids
    ):
        raise ModelError(
            f"the server sent tokens that are none of the {vocabulary:,} of the model here: is it "
            "another model?"
        )
    if len(token_ids) > budget:
        raise ModelError(f"the server sent {len(token_ids)} tokens where {budget} were asked for")


def _check_logprobs(logprobs: Any, tokens: int) -> None:
    if not isinstance(logprobs, list) or len(logprobs) != tokens or None in logprobs:
        raise ModelError("the server sent no log-probability for each token it sampled")
    for value in logprobs:
        # JSON may hold whole numbers that are too large to be one of any other kind.
        if type(value) not in (int, float) or not -_LARGEST <= value <= _ROUNDING:
            raise ModelError(f"the server sent {repr(value)[:40]} as a log-probability")


def _end(token_ids: list[int], request: Request, end_ids: frozenset[int]) -> int:
    """Tokens before which nothing ended the generation, the one that did included."""
    stopped = request.stop.first(token_ids) if request.stop else 0
    ends = (number for number, token_id in enumerate(token_ids, 1) if token_id in end_ids)
    return min(stopped or len(token_ids), next(ends, len(token_ids)))


def finished(
    token_ids: list[int],
    logprobs: list[float],
    reason: str | None,
    request: Request,
    end_ids: frozenset[int],
) -> Completion:
    """A completion from what an engine sampled, with the reason to end found in the tokens themselves.

    Raises:
        ModelError: The tokens show none: the engine took some away, or was aborted.
    """
    if token_ids and token_ids[-1] in end_ids:
        finish = Finish.EOS
    elif request.stop and token_ids and request.stop.found(token_ids):
        finish = Finish.STOP
    elif reason == "length" and token_ids:
        finish = Finish.LENGTH
    else:
        raise ModelError(
            f"{len(token_ids)} tokens were sampled and ended by {reason!r}, but they end in no stop "
            "string and no end-of-sequence token: the engine took them away, or gave up"
        )
    return Completion(token_ids, logprobs, [], finish)
