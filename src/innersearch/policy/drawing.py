"""Tokens drawn from distributions, a row each; the same bits in whatever rows."""

from __future__ import annotations

import torch


def entropies(probabilities: torch.Tensor, logprobs: torch.Tensor) -> torch.Tensor:
    """The entropy of each row, in nats."""
    terms = probabilities * logprobs.clamp_min(-1e4)
    # Of a single row the threads would each sum a part.
    return -terms.expand(max(2, len(terms)), -1).sum(-1)[: len(terms)]


def invert(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The token at which the cumulative distribution passes each uniform number; never one of
    probability zero.
    """
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1]
    targets = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0]
