"""A key-value cache with one slot per running sequence, for decoding sequences of any age together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_GROWTH = 64
"""Slots grow by multiples of this many tokens."""
ONE_PASS = threading.Lock()
"""Held by whoever computes on the CPU: a policy and the simulator of its searches may sample in threads
of one process, and which attention is computed is a setting of the process and of the model."""
TILE = 16
"""Attention reads multiples of this many tokens, the last ones masked; see `policy.batch`."""

Kept = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of one sequence outside of the cache, each (heads, length, width), per layer."""


class Paused(NamedTuple):
    """A sequence that stopped and may go on."""

    token_ids: list[int]
    """The tokens whose keys and values are kept."""
    kept: Kept

    def shared_with(self, prompt: Sequence[int]) -> int:
        """Tokens of a prompt that need not be computed again; its last one always is."""
        alike = zip(self.token_ids, prompt, strict=False)
        shared = next((n for n, (one, other) in enumerate(alike) if one != other), None)
        shorter = min(len(self.token_ids), len(prompt))
        return min(shorter if shared is None else shared, len(prompt) - 1)


class Prefill(NamedTuple):
    """Where the prompts of a forward pass go: row `sources[i]` of the pass fills slot `slots[i]`."""

    sources: torch.Tensor
    slots: torch.Tensor


class Extension(NamedTuple):
    """Several tokens for each of some slots: row i writes `positions[i]` of slot `slots[i]`."""

    slots: torch.Tensor
    positions: torch.Tensor


def tiled(tokens: int) -> int:
    """The next multiple of `TILE`.

    >>> tiled(16), tiled(17)
    (16, 32)
    """
    return -(-tokens // TILE) * TILE


def mask_of(positions: torch.Tensor, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (rows, 1, queries, width): each query sees all up to its own position."""
    beyond = torch.arange(width, device=positions.device) > positions[..., None]
    mask = torch.zeros(beyond.shape, dtype=dtype, device=positions.device)
    return mask.masked_fill_(beyond, torch.finfo(dtype).min)[:, None]


class SlotCache(Cache):
    """Preallocated keys and values, shape (slots, heads, length, width) per layer.

    Announce each forward pass: `start_prefill` for prompts from their first token, `start_extend` for
    further tokens of some slots, `start_decode` for one token of each running sequence, which occupy
    the first slots.
    """

    def __init__(self, slots: int, layers: int) -> None:
        self.slot_layers = [_SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.slot_layers))
        self.slots = slots
        self.length = 0
        self.prefill: Prefill | None = None
        self.extension: Extension | None = None
        self.positions = torch.empty(0, dtype=torch.long)
        self.rows = self.positions
        self.width = 0
        self.handed_over = False
        """Whether layers are handed nothing, because the pass reads and writes slots itself."""

    def start_prefill(self, prefill: Prefill, length: int) -> None:
        """The next pass computes prompts of up to `length` tokens."""
        self.prefill, self.extension = prefill, None
        self.reserve(length)

    def start_extend(self, extension: Extension) -> None:
        """The next pass computes further tokens of some slots."""
        self.prefill, self.extension = None, extension
        self.width = tiled(int(extension.positions.max()) + 1)
        self.reserve(self.width)

    def start_decode(self, positions: torch.Tensor) -> None:
        """The next pass computes one token for each of the first `len(positions)` slots."""
        self.prefill = self.extension = None
        self.positions = positions
        self.rows = torch.arange(len(positions), device=positions.device)
        self.width = tiled(int(positions.max()) + 1)
        self.reserve(self.width)

    def move(self, sources: torch.Tensor, targets: torch.Tensor, length: int) -> None:
        """Copy the first `length` tokens of slots, to close gaps that finished sequences left."""
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            for layer in self.slot_layers:
                layer.keys[target, :, :length] = layer.keys[source, :, :length]
                layer.values[target, :, :length] = layer.values[source, :, :length]

    def keep(self, slot: int, length: int) -> Kept:
        """A copy of the first `length` tokens of a slot."""
        return [
            (layer.keys[slot, :, :length].clone(), layer.values[slot, :, :length].clone())
            for layer in self.slot_layers
        ]

    def restore(self, slot: int, kept: Kept, length: int) -> None:
        """Fill a slot with the first `length` tokens of what was kept."""
        self.reserve(length)
        for layer, (keys, values) in zip(self.slot_layers, kept, strict=True):
            layer.keys[slot, :, :length] = keys[:, :length]
            layer.values[slot, :, :length] = values[:, :length]

    def reserve(self, length: int) -> None:
        """See to it that slots hold `length` tokens."""
        if length <= self.length:
            return
        self.length = max(-(-length // _GROWTH) * _GROWTH, self.length * 3 // 2)
        for layer in self.slot_layers:
            if layer.is_initialized:
                layer.grow(self.length)


class _SlotLayer(CacheLayerMixin):
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = self._allocate(key_states)
        self.values = self._allocate(value_states)
        self.is_initialized = True

    def _allocate(self, states: torch.Tensor) -> torch.Tensor:
        _, heads, _, width = states.shape
        return states.new_zeros((self.cache.slots, heads, self.cache.length, width))

    def grow(self, length: int) -> None:
        """Lengthen every slot, keeping what is in it."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = self._allocate(old)
            new[:, :, : old.shape[2]] = old
            setattr(self, name, new)

    def put(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        sources: torch.Tensor,
        slots: torch.Tensor,
        columns: torch.Tensor,
    ) -> None:
        """Write token `sources[i]` of a single row to column `columns[i]` of slot `slots[i]`."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys[slots, :, columns] = keys[0].transpose(0, 1)[sources]
        self.values[slots, :, columns] = values[0].transpose(0, 1)[sources]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device = key_states.device.type
        if torch.is_autocast_enabled(device):
            # As attention is going to read them: rotary positions leave keys in float32.
            key_states = key_states.to(torch.get_autocast_dtype(device))
        if self.cache.handed_over:
            return key_states, value_states
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self.cache
        if cache.prefill is not None:
            sources, slots = cache.prefill
            length = key_states.shape[2]
            self.keys[slots, :, :length] = key_states[sources]
            self.values[slots, :, :length] = value_states[sources]
            return key_states, value_states
        if cache.extension is not None:
            slots, positions = cache.extension
            self.keys[slots[:, None], :, positions] = key_states.transpose(1, 2)
            self.values[slots[:, None], :, positions] = value_states.transpose(1, 2)
            return self.keys[slots, :, : cache.width], self.values[slots, :, : cache.width]
        count = len(cache.rows)
        self.keys[cache.rows, :, cache.positions] = key_states[:, :, 0]
        self.values[cache.rows, :, cache.positions] = value_states[:, :, 0]
        return self.keys[:count, :, : cache.width], self.values[:count, :, : cache.width]

    def get_seq_length(self) -> int:
        return 0 if self.cache.prefill is not None else self.cache.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        # The name of `get_max_length` in older releases, verl's among them.
        return self.get_max_length()
