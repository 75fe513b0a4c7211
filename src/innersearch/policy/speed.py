"""How fast a model reads and writes here and now, to say before long work how long it takes."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from innersearch.policy.base import Request
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Sampling

_READ, _PROMPT, _WRITTEN = 192, 40, 8
"""Tokens that are read, of a prompt, and that are written behind each prompt."""


class Speed(NamedTuple):
    """Tokens per second, by the clock."""

    read: float
    """Of prompts, one behind the other."""
    written: float
    """Of all sequences of a batch together."""

    @property
    def trained(self) -> float:
        """About what is left of reading with a backward pass, which takes twice as long as a forward
        one.
        """
        return self.read / 3


def measure(policy: TransformersPolicy, batch: int) -> Speed:
    """The speed of a policy with so many sequences at once; takes some seconds."""
    model = policy.model
    vocabulary = int(model.config.get_text_config().vocab_size)
    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, (batch, _PROMPT), generator=drawn)
    long = torch.randint(0, vocabulary, (1, _READ), generator=drawn).to(model.device)
    with torch.inference_mode():
        began = time.perf_counter()
        model(input_ids=long, use_cache=False)
        read = _READ / (time.perf_counter() - began)
    requests = [Request(tuple(row), (number,)) for number, row in enumerate(ids.tolist())]
    one, several = (_seconds(policy, requests, tokens) for tokens in (1, 1 + _WRITTEN))
    # Beside other processes the shorter may take longer.
    return Speed(read, batch * _WRITTEN / max(several - one, several / 10))


def _seconds(policy: TransformersPolicy, requests: list[Request], tokens: int) -> float:
    """How long it takes to write so many tokens behind each prompt."""
    began = time.perf_counter()
    list(policy.stream(requests, Sampling(1.0, tokens, 0)))
    return time.perf_counter() - began
