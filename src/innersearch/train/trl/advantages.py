"""What becomes of advantages before TRL's loss reads them: whitening, and weights of importance.

TRL multiplies the advantage of a token with what the loss makes of its ratio, so that a weight of the
token may as well be multiplied into its advantage. Tensors are (rows, tokens), or (rows,) where all
tokens of a row share a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

Total = Callable[[torch.Tensor], torch.Tensor]
"""Adds up a tensor over all processes."""

_LEAST_VARIANCE = 1e-8


def whitened(advantages: torch.Tensor, trained: torch.Tensor, total: Total) -> torch.Tensor:
    """Advantages of rows, with mean 0 and deviation 1 over the trained tokens of all processes.

    Args:
        advantages: (rows,).
        trained: (rows, tokens), whether a token is trained on.
        total: Adds up a tensor over all processes.
    """
    tokens = trained.sum(1).to(advantages.dtype)
    sums = total(torch.stack([(advantages * tokens).sum(), tokens.sum()]))
    mean = sums[0] / sums[1].clamp(min=1.0)
    squares = total(((advantages - mean) ** 2 * tokens).sum())
    variance = squares / sums[1].clamp(min=1.0)
    return (advantages - mean) * variance.clamp(min=_LEAST_VARIANCE).rsqrt()


def importance(now: torch.Tensor, behaviour: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
    """p(now) / p(behaviour) of every token, from log-probabilities; 1 where none is trained on."""
    return torch.exp((now - behaviour) * trained).detach()


def corrected(weights: torch.Tensor, how: Literal["truncate", "drop"], cap: float) -> torch.Tensor:
    """Weights of at most `cap`; larger ones are cut to it, or become 0."""
    if how == "truncate":
        return weights.clamp(max=cap)
    return weights * (weights <= cap)
