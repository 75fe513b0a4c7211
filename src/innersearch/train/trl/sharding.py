"""Whole weights for rollouts, where training spreads them over the processes.

A sharded layer gathers its weights in every forward pass, together with all other processes. Rollouts
cannot do that: each process samples as many tokens as its own questions take, and the first to end would
leave the others waiting for ever. So the weights are gathered once and given back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule
from trl.models import unwrap_model_for_generation


@contextmanager
def whole(trainer: Any) -> Iterator[None]:
    """Hold all weights of a trainer's model in this process: of FSDP2, or of DeepSpeed ZeRO-3."""
    with (
        unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator),
        unsharded(trainer.model_wrapped),
    ):
        yield


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Hold all weights of FSDP2 in this process; forward passes inside gather nothing."""
    layers = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for layer in layers:
        layer.set_reshard_after_forward(False, recurse=False)
        layer.unshard()
    try:
        yield
    finally:
        # The outermost one is kept whole between forward and backward, as FSDP2 does by itself.
        for position, layer in enumerate(layers):
            layer.set_reshard_after_forward(position > 0, recurse=False)
            layer.reshard()
