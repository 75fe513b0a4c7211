"""Passes over padded rows, each with a sequence: for models whose attention cannot be replaced.

One computes the next token of all running sequences, and newcomers take passes of their own; how
`policy.packed` does both at once is not for every model and device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad
from transformers import PreTrainedModel

from innersearch.policy.cache import ONE_PASS, TILE, Extension, Prefill, SlotCache, mask_of, tiled


class PaddedPasses:
    """Passes of a model over a cache; all return logits, shape (sequences, vocabulary)."""

    def __init__(self, model: PreTrainedModel, cache: SlotCache, context: int) -> None:
        """`context`: tokens of a sequence at most."""
        self.model, self.cache, self.context = model, cache, context
        self._exact = model.device.type == "cpu"

    def decode(self, last: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """What follows the sequences in the first slots, given their last tokens and where they are."""
        size = len(last)
        # Further rows write to the beginning of free slots, where whoever comes next writes as well.
        further = tiled(size) - size if self._exact else 0
        positions = pad(positions, (0, further))[:, None]
        self.cache.start_decode(positions[:, 0])
        with self._attention():
            logits = self.model(
                input_ids=pad(last, (0, further))[:, None],
                position_ids=positions,
                attention_mask=self._mask(positions),
                past_key_values=self.cache,
                use_cache=True,
            ).logits
        return logits[:size, -1]

    def prefill(self, prompts: Sequence[tuple[int, ...]], slots: torch.Tensor) -> torch.Tensor:
        """What follows each prompt, computed once where several slots get the same."""
        rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
        sources = torch.tensor([rows[prompt] for prompt in prompts], device=slots.device)
        ids, lengths = self._pad(list(rows))
        self.cache.start_prefill(Prefill(sources, slots), ids.shape[1])
        # Padding stands on the right, where causal attention keeps it out of every real position.
        steps = torch.arange(ids.shape[1], device=slots.device).clamp(max=self.context - 1)
        positions = steps.expand(len(ids), -1)
        return self._forward(ids, lengths, positions)[sources]

    def extend(
        self, rest: Sequence[Sequence[int]], starts: Sequence[int], slots: torch.Tensor
    ) -> torch.Tensor:
        """What follows further tokens of slots, in each of which so many tokens are already."""
        tokens, lengths = self._pad(rest)
        steps = torch.arange(tokens.shape[1], device=slots.device)
        positions = torch.tensor(starts, device=slots.device)[:, None] + steps
        # What padding writes behind the last token is overwritten before anything attends to it.
        positions = positions.clamp(max=self.context - 1)
        self.cache.start_extend(Extension(slots, positions))
        return self._forward(tokens, lengths, positions, self._mask(positions))

    def _pad(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.model.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        ids = torch.zeros((len(prompts), tiled(int(lengths.max()))), dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        return ids, lengths

    def _forward(
        self,
        ids: torch.Tensor,
        lengths: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits after the last token of each row."""
        ends, chosen = (lengths - 1).unique(return_inverse=True)
        more = -(-TILE // len(ids)) - len(ends) if self._exact else 0
        with self._attention():
            logits = self.model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=torch.cat([ends, ends[:1].expand(more)]) if more > 0 else ends,
            ).logits
        return logits[torch.arange(len(ids), device=ids.device), chosen]

    @contextmanager
    def _attention(self) -> Iterator[None]:
        if not self._exact:
            yield
            return
        with ONE_PASS, sdpa_kernel(SDPBackend.MATH):
            yield

    def _mask(self, positions: torch.Tensor) -> torch.Tensor:
        return mask_of(positions, self.cache.width, self.model.dtype)
