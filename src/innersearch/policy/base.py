"""The policy seam: token ids in, token ids with log-probabilities out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from innersearch.types import Finish, Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """One generation: the tokens to continue and the name of its stream of random numbers."""

    prompt_ids: tuple[int, ...]
    stream: tuple[str | int, ...] = ()
    """Identity of the trajectory, for example (step, question id, repetition)."""


@dataclass(frozen=True, slots=True)
class Completion:
    """Sampled tokens, the end-of-sequence token included, with values from the same pass."""

    token_ids: list[int]
    logprobs: list[float]
    """Natural log of each token's probability under the sampling distribution."""
    entropies: list[float]
    """Entropy of each sampling distribution in nats."""
    finish: Finish


class Finished(NamedTuple):
    """A completion and the position of its request."""

    request: int
    completion: Completion


class Policy(Protocol):
    """Who samples tokens."""

    def stream(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Finished]:
        """Yield completions as they finish, in any order."""


def stream_key(seed: int, stream: tuple[str | int, ...]) -> int:
    """A 128-bit key for the random numbers of one trajectory.

    It depends on nothing else, so a trajectory draws the same numbers in any batch and any order.
    """
    digest = hashlib.blake2b(repr((seed, *stream)).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")
