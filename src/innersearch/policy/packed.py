"""One pass over all tokens of a step: the last one of each running sequence, and those of newcomers.

They stand behind one another as a single row, so that newcomers cost their tokens and no pass of their
own. Attention is plain matrix products with the arithmetic of PyTorch's `SDPBackend.MATH`, bit for bit;
but keys are scaled once, when they are written, and each tile of sequences reads no more columns than
its longest has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface, PreTrainedModel

from innersearch.errors import UnsupportedModelError
from innersearch.policy.cache import ONE_PASS, TILE, SlotCache, mask_of, tiled

_NAME = "innersearch-packed"
_under_way: list[PackedPass] = []


class Newcomer(NamedTuple):
    """Tokens of a sequence that joins."""

    slots: list[int]
    """The slot in which they are computed, and those that get copies."""
    start: int
    """Tokens of it that are in the slot already."""
    token_ids: Sequence[int]


class _Tile(NamedTuple):
    """Running sequences that attend together."""

    rows: slice
    width: int
    mask: torch.Tensor


class _Group(NamedTuple):
    """Newcomers that attend together, padded to a common length."""

    tokens: torch.Tensor
    """Where each token stands in the pass, shape (newcomers, length)."""
    slots: torch.Tensor
    width: int
    mask: torch.Tensor
    real: torch.Tensor
    """Which of them are no padding; shape (newcomers, length)."""


class PackedPass:
    """What a pass computes, and where its keys and values go."""

    def __init__(
        self,
        cache: SlotCache,
        last: torch.Tensor,
        positions: torch.Tensor,
        newcomers: Sequence[Newcomer],
    ) -> None:
        """`last` and `positions`: tokens of the sequences in the first slots, and where they stand."""
        self.cache, size = cache, len(last)
        places = list(chain.from_iterable(_places(newcomer) for newcomer in newcomers))
        ids = list(chain.from_iterable(newcomer.token_ids for newcomer in newcomers))
        padding = [0] * (tiled(size + len(ids)) - size - len(ids))
        self.ids = torch.cat([last, torch.tensor(ids + padding, dtype=torch.long)])[None]
        self.positions = torch.cat([positions, torch.tensor(places + padding, dtype=torch.long)])[None]
        self._size = size
        firsts = [size]
        for newcomer in newcomers:
            firsts.append(firsts[-1] + len(newcomer.token_ids))
        self._write(newcomers, firsts)
        self._tiles = list(self._running(positions))
        fresh = [pair for pair in zip(newcomers, firsts, strict=False) if not pair[0].start]
        resumed = [pair for pair in zip(newcomers, firsts, strict=False) if pair[0].start]
        self._groups = [_group(pairs) for pairs in (fresh, resumed) if pairs]
        self.ends = [*range(size), *(first - 1 for first in islice(firsts, 1, None))]
        """Where the last token of each sequence stands."""
        cache.reserve(max((width for _, width, _ in self._tiles), default=0))
        cache.reserve(max((group.width for group in self._groups), default=0))

    def _write(self, newcomers: Sequence[Newcomer], firsts: Sequence[int]) -> None:
        sources, slots = [*range(self._size)], [*range(self._size)]
        for newcomer, first in zip(newcomers, firsts, strict=False):
            for slot in newcomer.slots:
                sources += range(first, first + len(newcomer.token_ids))
                slots += [slot] * len(newcomer.token_ids)
        self._sources, self._slots = torch.tensor(sources), torch.tensor(slots)
        self._columns = self.positions[0, self._sources]

    def _running(self, positions: torch.Tensor) -> Iterator[_Tile]:
        for start in range(0, len(positions), TILE):
            rows = slice(start, min(start + TILE, len(positions)))
            width = tiled(int(positions[rows].max()) + 1)
            yield _Tile(rows, width, mask_of(positions[rows, None], width, torch.float32))

    def logits(self, model: PreTrainedModel) -> torch.Tensor:
        """What follows the last token of each sequence, shape (sequences or more, vocabulary)."""
        ends = self.ends + self.ends[:1] * (tiled(len(self.ends)) - len(self.ends))
        with self._under_way(model):
            found = model(
                input_ids=self.ids,
                position_ids=self.positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=torch.tensor(ends),
            )
        return found.logits[0]

    @contextmanager
    def _under_way(self, model: PreTrainedModel) -> Iterator[None]:
        """Let the layers of `model` attend as this pass says."""
        config = model.config.get_text_config()
        with ONE_PASS:
            before = config._attn_implementation
            config._attn_implementation, self.cache.handed_over = _NAME, True
            _under_way.append(self)
            try:
                yield
            finally:
                _under_way.pop()
                config._attn_implementation, self.cache.handed_over = before, False

    def attend(
        self, index: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """Shapes (1, heads, tokens, width); the result (1, tokens, heads, width)."""
        layer = self.cache.slot_layers[index]
        layer.put(key, value, self._sources, self._slots, self._columns)
        found = query.new_zeros((query.shape[2], query.shape[1], value.shape[3]))
        queries = query[0].transpose(0, 1)
        for rows, width, mask in self._tiles:
            seen = layer.keys[rows, :, :width], layer.values[rows, :, :width]
            found[rows] = _product(queries[rows, :, None], *seen, mask)[:, :, 0]
        for tokens, slots, width, mask, real in self._groups:
            seen = layer.keys[slots, :, :width], layer.values[slots, :, :width]
            product = _product(queries[tokens].transpose(1, 2), *seen, mask)
            found[tokens[real]] = product.transpose(1, 2)[real]
        return found[None]


def packs(model: PreTrainedModel) -> bool:
    """Whether the layers of a model leave attention to a function that can be put in its place."""
    with ONE_PASS:
        return (
            model.device.type == "cpu"
            and model.dtype is torch.float32
            and bool(getattr(model, "_supports_attention_backend", False))
            and getattr(model.config.get_text_config(), "_attn_implementation", None) == "sdpa"
        )


def _places(newcomer: Newcomer) -> range:
    return range(newcomer.start, newcomer.start + len(newcomer.token_ids))


def _group(pairs: Sequence[tuple[Newcomer, int]]) -> _Group:
    lengths = torch.tensor([len(newcomer.token_ids) for newcomer, _ in pairs])[:, None]
    steps = torch.arange(tiled(int(lengths.max())))[None]
    within = torch.minimum(steps, lengths - 1)
    positions = torch.tensor([newcomer.start for newcomer, _ in pairs])[:, None] + within
    width = tiled(int(positions.max()) + 1)
    tokens = torch.tensor([first for _, first in pairs])[:, None] + within
    slots = torch.tensor([newcomer.slots[0] for newcomer, _ in pairs])
    return _Group(tokens, slots, width, mask_of(positions, width, torch.float32), steps < lengths)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    if position_bias is not None:
        raise UnsupportedModelError("the transformers policy handles no attention with position biases")
    root = math.sqrt(query.shape[-1] ** -0.5 if scaling is None else scaling)
    index: Any = module.layer_idx
    return _under_way[-1].attend(index, query * root, key * root, value), None


def _product(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    rows, heads, tokens, width = query.shape
    shared = heads // keys.shape[1]
    if tokens == 1:
        # Heads that share keys are the queries of one product.
        query = query.reshape(rows, -1, shared, width)
    elif shared > 1:
        keys, values = keys.repeat_interleave(shared, 1), values.repeat_interleave(shared, 1)
    scores = query @ keys.transpose(-2, -1)
    scores += mask
    return (torch.softmax(scores, -1) @ values).view(rows, heads, tokens, -1)


AttentionInterface.register(_NAME, _attend)
