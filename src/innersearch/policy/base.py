"""The policy seam: token ids in, token ids with log-probabilities out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from innersearch.errors import DataError
from innersearch.grammar import TAGS, Grammar
from innersearch.policy.stops import StopStrings
from innersearch.types import Finish, Sampling

Message = tuple[str, str]
"""The role and the content of a message in a chat."""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation: the tokens to continue and the name of its stream of random numbers."""

    prompt_ids: tuple[int, ...]
    stream: tuple[str | int, ...] = ()
    """Identity of the generation, for example (step, question id, repetition, turn)."""
    stop: StopStrings | None = None
    """What ends it besides the end-of-sequence token and the token budget."""
    max_new_tokens: int | None = None
    """Its token budget, at most that of the sampling; the same by default."""
    temperature: float | None = None
    """Its temperature; that of the sampling by default."""
    sequence: str | None = None
    """Name under which its keys and values are kept when it stops at a stop string. The next request
    of that name computes only what differs from there on."""
    shared: int = 0
    """Tokens at its beginning that many requests have in common: what the policy may compute once for
    all of them, while the session is open. Nothing it samples depends on it."""
    messages: Sequence[Message] = ()
    """The messages with which its prompt begins, where they are known: for policies that take text, not
    tokens."""
    opening: int = 0
    """Tokens at its beginning that stand for these messages; all of them by default."""
    grammar: Grammar = TAGS
    """How its text is read, for them."""
    heard: Callable[[int], None] | None = field(default=None, compare=False)
    """Told each token as it is sampled, where the policy can; the completion holds them all."""

    def room(self, context: int) -> int:
        """Tokens that may follow its prompt in a model's context.

        Raises:
            DataError: There is no prompt, or no room.
        """
        length = len(self.prompt_ids)
        if not 0 < length < context:
            raise DataError(
                f"the prompt of {self.stream or 'a request'} has {length} tokens; the model's context "
                f"of {context} takes 1 to {context - 1}: shorten the question, or drop it"
            )
        return context - length


def demand_room(prompt_ids: Mapping[str, Sequence[int]], context: int, model: str) -> None:
    """Refuse prompts of questions, by id, that leave no room in the model's context.

    Raises:
        DataError: One does not.
    """
    if long := too_long(prompt_ids, context - 1):
        more = f" ({len(long)} of {len(prompt_ids)} are too long)" if len(long) > 1 else ""
        raise DataError(
            f"the prompt of question {long[0]!r} has {len(prompt_ids[long[0]])} tokens, and the context "
            f"of {model} takes {context - 1}{more}: shorten the question or the prompt, give it a "
            "longer context, or leave such questions out: --skip-long, of train --prompt.skip-long"
        )


def too_long(prompt_ids: Mapping[str, Sequence[int]], limit: int) -> list[str]:
    """The ids of questions whose prompts have more than `limit` tokens."""
    return [question for question, ids in prompt_ids.items() if len(ids) > limit]


@dataclass(frozen=True, slots=True)
class Completion:
    """Sampled tokens, the end-of-sequence token included, with values from the same pass."""

    token_ids: list[int]
    logprobs: list[float]
    """Natural log of each token's probability under the sampling distribution; empty if the policy does
    not tell, see `Policy`."""
    entropies: list[float]
    """Entropy of each sampling distribution in nats; empty if the policy does not tell."""
    finish: Finish
    versions: list[int] | None = None
    """The optimizer step whose weights sampled each token, where the policy tells."""


class Finished(NamedTuple):
    """A completion and the position of its request."""

    request: int
    completion: Completion


class Sampler(Protocol):
    """An open session with a policy: requests of many coroutines share its running batch."""

    context: int
    """Longest sequence of the model, in tokens."""

    async def generate(self, request: Request) -> Completion:
        """The completion of one request; cancelling the call frees what it holds.

        Raises:
            DataError: The prompt is empty or leaves no room in the model's context.
            ModelError: The weights are damaged.
            PolicyError: No server answers, or one refused this request.
        """


class Policy(Protocol):
    """Who samples tokens."""

    name: str
    """Model directory or hub id, or the name that servers give the model."""
    provides: frozenset[str]
    """What it tells besides text: `tokens` as sampled, `logprobs`, `entropies`."""

    @property
    def context(self) -> int:
        """Longest sequence of the model, in tokens."""

    def session(self, sampling: Sampling) -> AbstractAsyncContextManager[Sampler]:
        """Sample under `sampling` while the session is open."""


def endpoint_seed(seed: int, stream: tuple[str | int, ...]) -> int:
    """The seed of one generation for engines that take 31 bits of it."""
    return stream_key(seed, stream) % 2**31


def stream_key(seed: int, stream: tuple[str | int, ...]) -> int:
    """A 128-bit key for the random numbers of one generation.

    It depends on nothing else, so a generation draws the same numbers in any batch and any order.
    """
    digest = hashlib.blake2b(repr((seed, *stream)).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")
