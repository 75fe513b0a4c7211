"""A policy that samples from a copy of weights in training, and tells with each token which they were.

Training changes weights in place, so that nobody can sample from them meanwhile. The copy is brought up
to date between two tokens, in the event loop in which it samples; sequences under way go on, with the
keys and values that they have.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Sampling


class VersionedPolicy(TransformersPolicy):
    """Samples from a copy of a model, of the version that it was last brought to."""

    source: PreTrainedModel
    version = 0
    _queue: Any = None

    @classmethod
    def following(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_batch: int,
        *,
        rounded: bool = False,
    ) -> VersionedPolicy:
        """The policy of a model that is to be trained; `rounded`: its copy is in bfloat16."""
        followed = copy.deepcopy(model).requires_grad_(requires_grad=False)
        for module in followed.modules():
            # Trainers put functions of their own in the place of some, which would compute the original.
            vars(module).pop("forward", None)
        if rounded:
            torch.nn.Module.to(followed, torch.bfloat16)
        policy = cls.of(followed, tokenizer, max_batch)
        assert isinstance(policy, VersionedPolicy)  # noqa: S101
        policy.source = model
        return policy

    @torch.no_grad()
    def refresh(self, version: int) -> None:
        """Take over the weights as they are, and call them `version`; not while a token is sampled."""
        pairs = zip(self.model.parameters(), self.source.parameters(), strict=True)
        for mine, theirs in pairs:
            mine.copy_(theirs)
        self.version = version
        if self._queue is not None:
            self._queue.batch.version = version

    @contextmanager
    def _batch(self, sampling: Sampling) -> Iterator[Any]:
        with super()._batch(sampling) as queue:
            queue.batch.version, self._queue = self.version, queue
            try:
                yield queue
            finally:
                self._queue = None
