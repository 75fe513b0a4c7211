"""The running batch of the transformers policy: sequences that join, grow, pause and leave together.

Sequence i is in slot i of the cache and in row i of every tensor. A sequence that stops at a stop
string leaves the batch; its keys and values are kept, so that its next request computes only the
tokens that were added since.

On the CPU a sequence gets the same numbers, to the last bit, whatever else is in the batch, so that a
run is repeated byte for byte although its searches take other times. The libraries below round every
row alike, except in small products and in what is left over after the last full vector: so rows and
tokens come in multiples of 16, and attention is plain matrix products, since the fused one rounds
differently from thread to thread. This has limits. PyTorch has another kernel for products of less than
400 multiplications, so heads must have 25 numbers or more; and three threads or more may cut a large
activation anywhere.

Where a model lets its attention be replaced, one pass computes what follows every sequence, newcomers
included (`policy.packed`); elsewhere newcomers take passes of their own (`policy.padded`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel

from innersearch.errors import ModelError
from innersearch.policy.base import Completion, Finished, Request, stream_key
from innersearch.policy.cache import Paused, SlotCache, tiled
from innersearch.policy.drawing import entropies, invert
from innersearch.policy.packed import Newcomer, PackedPass, packs
from innersearch.policy.padded import PaddedPasses
from innersearch.policy.stops import StopStrings
from innersearch.types import Finish, Sampling

_SCORES = 1 << 26
"""Attention scores that one pass over prompts holds at most, per layer, where they are written out."""
_KEPT = 2
"""Paused sequences that are kept, per slot: those that never come back must not fill the memory."""


class _Running(NamedTuple):
    ticket: int
    request: Request


_Newcomer = TypeVar("_Newcomer", tuple[int, Request], tuple[int, Request, Paused])


class Batch:
    """The sequences that a model is running, and those that paused at a stop string."""

    def __init__(
        self,
        model: PreTrainedModel,
        end_ids: frozenset[int],
        sampling: Sampling,
        cache: SlotCache,
        max_size: int,
        logit_bias: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        self.model, self.sampling, self.cache, self.max_size = model, sampling, cache, max_size
        config = model.config.get_text_config()
        device = model.device
        self.exact = device.type == "cpu"
        self.packs = packs(model)
        self.heads = config.num_attention_heads
        self.end_ids = torch.tensor(sorted(end_ids), device=device)
        self.context = config.max_position_embeddings
        self.padded = PaddedPasses(model, cache, self.context)
        self.version: int | None = None
        """Which weights the model has; None where nobody says."""
        self.running: list[_Running] = []
        self.paused: dict[str, Paused] = {}
        self.beginnings: dict[tuple[int, ...], Paused] = {}
        columns = min(sampling.max_new_tokens, self.context)

        def table(dtype: torch.dtype, *shape: int) -> torch.Tensor:
            return torch.zeros((cache.slots, *shape), dtype=dtype, device=device)

        self.uniforms = table(torch.float32, columns)
        self.tokens = table(torch.long, columns)
        self.logprobs = table(torch.float32, columns)
        self.entropies = table(torch.float32, columns)
        self.versions = table(torch.long, columns)
        self.counts = table(torch.long)
        self.budgets = table(torch.long)
        self.positions = table(torch.long)
        self.stop_rows = table(torch.long)
        self.temperatures = table(torch.float32)
        self.logits = torch.empty(0, config.vocab_size, device=device)
        self.bias: torch.Tensor | None = None
        if logit_bias:
            self.bias = torch.zeros(config.vocab_size, device=device)
            self.bias[list(logit_bias)] = torch.tensor([*logit_bias.values()], device=device)
        self.stops: list[StopStrings | None] = [None]
        self.may_stop = torch.zeros((1, config.vocab_size), dtype=torch.bool, device=device)

    @property
    def size(self) -> int:
        """Sequences running."""
        return len(self.running)

    @property
    def free(self) -> int:
        """Sequences that may join."""
        return self.max_size - self.size

    def check(self, request: Request) -> None:
        """Refuse what cannot be run.

        Raises:
            DataError: The prompt is empty or leaves no room in the model's context.
        """
        request.room(self.context)

    def advance(self, newcomers: Sequence[tuple[int, Request]]) -> None:
        """Give slots to newcomers, and compute what follows the last token of every sequence."""
        resumed: list[tuple[int, Request, Paused]] = []
        fresh: list[tuple[int, Request]] = []
        for ticket, request in newcomers:
            before = self.paused.pop(request.sequence or "", None) or self._beginning(request)
            if before is None:
                fresh.append((ticket, request))
            else:
                resumed.append((ticket, request, before))
        if self.packs and not torch.is_autocast_enabled("cpu"):
            # Both in one pass, with the sequences that run.
            parts = zip_longest(self._parts(fresh), self._parts(resumed), fillvalue=())
            first, *more = [*parts] or [((), ())]
            logits = [self._packed(self.size, *first), *(self._packed(0, *part) for part in more)]
        else:
            logits = [self._decode()] if self.size else []
            logits += [self._prefill(part) for part in self._parts(fresh)]
            logits += [self._resume(part) for part in self._parts(resumed)]
        self.logits = torch.cat(logits)

    def _beginning(self, request: Request) -> Paused | None:
        """What is kept of the tokens that a request has in common with others; computed for the first
        of them, in a slot that is free.
        """
        ids = request.prompt_ids[: request.shared]
        if ids and ids not in self.beginnings:
            free = torch.tensor([self.size], device=self.model.device)
            if self.packs and not torch.is_autocast_enabled("cpu"):
                nobody = free[:0]
                newcomer = Newcomer([self.size], 0, ids)
                PackedPass(self.cache, nobody, nobody, [newcomer]).logits(self.model)
            else:
                self.padded.prefill([ids], free)
            self.beginnings[ids] = Paused([*ids], self.cache.keep(self.size, len(ids)))
        return self.beginnings.get(ids)

    def _packed(
        self,
        running: int,
        fresh: Sequence[tuple[int, Request]],
        resumed: Sequence[tuple[int, Request, Paused]],
    ) -> torch.Tensor:
        """Logits that follow the sequences in the first slots, and the prompts of newcomers."""
        rows = torch.arange(running)
        last, positions = self.tokens[rows, self.counts[:running] - 1], self.positions[:running]
        chosen = list(range(running))
        newcomers: dict[object, Newcomer] = {}
        for slot, (_, request) in zip(self._enlist(fresh).tolist(), fresh, strict=True):
            # Each distinct prompt is computed once.
            newcomer = newcomers.setdefault(request.prompt_ids, Newcomer([], 0, request.prompt_ids))
            newcomer.slots.append(slot)
            chosen.append(running + list(newcomers).index(request.prompt_ids))
        slots = self._enlist([(ticket, request) for ticket, request, _ in resumed]).tolist()
        for slot, (_, request, before) in zip(slots, resumed, strict=True):
            shared = self._restore(slot, request, before)
            chosen.append(running + len(newcomers))
            newcomers[slot] = Newcomer([slot], shared, request.prompt_ids[shared:])
        step = PackedPass(self.cache, last, positions, list(newcomers.values()))
        return step.logits(self.model)[chosen]

    def _restore(self, slot: int, request: Request, before: Paused) -> int:
        """Fill a slot with what was computed of a prompt before; how many tokens that is."""
        shared = before.shared_with(request.prompt_ids)
        self.cache.restore(slot, before.kept, shared)
        return shared

    def _parts(self, newcomers: Sequence[_Newcomer]) -> Iterator[Sequence[_Newcomer]]:
        """Newcomers in groups of which one pass holds no more than `_SCORES` attention scores."""
        if not newcomers:
            return
        longest = tiled(max(len(newcomer[1].prompt_ids) for newcomer in newcomers))
        size = max(1, _SCORES // (self.heads * longest**2)) if self.exact else len(newcomers)
        for start in range(0, len(newcomers), size):
            yield newcomers[start : start + size]

    def abandon(self, ticket: int) -> None:
        """Let a sequence end at its next token."""
        for row, running in enumerate(self.running):
            if running.ticket == ticket:
                self.budgets[row] = 0
                self.running[row] = _Running(ticket, replace(running.request, sequence=None))

    def _enlist(self, newcomers: Sequence[tuple[int, Request]]) -> torch.Tensor:
        """Slots for sequences, the next free ones in order."""
        start = self.size
        for slot, (ticket, request) in enumerate(newcomers, start):
            length = len(request.prompt_ids)
            wanted = request.max_new_tokens or self.sampling.max_new_tokens
            budget = min(wanted, self.sampling.max_new_tokens, self.context - length)
            self.running.append(_Running(ticket, request))
            self.counts[slot], self.budgets[slot], self.positions[slot] = 0, budget, length - 1
            self.stop_rows[slot] = self._stop_row(request.stop)
            hot = self.sampling.temperature if request.temperature is None else request.temperature
            self.temperatures[slot] = hot
            if hot > 0:
                key = stream_key(self.sampling.seed, request.stream)
                draws = np.random.Generator(np.random.Philox(key=key)).random(budget, dtype=np.float32)
                self.uniforms[slot, :budget] = torch.from_numpy(draws)
        return torch.arange(start, self.size, device=self.model.device)

    def _stop_row(self, stop: StopStrings | None) -> int:
        if stop not in self.stops:
            self.stops.append(stop)
            row = torch.zeros_like(self.may_stop[:1])
            if stop is not None:
                # A tokenizer may know more tokens than the model has.
                row[0, [i for i in stop.candidates if i < row.shape[1]]] = True
            self.may_stop = torch.cat([self.may_stop, row])
        return self.stops.index(stop)

    def _decode(self) -> torch.Tensor:
        """Logits that follow the last token of each sequence."""
        rows = torch.arange(self.size, device=self.model.device)
        last = self.tokens[rows, self.counts[: self.size] - 1]
        return self.padded.decode(last, self.positions[: self.size])

    def _prefill(self, newcomers: Sequence[tuple[int, Request]]) -> torch.Tensor:
        """Logits after each prompt."""
        slots = self._enlist(newcomers)
        return self.padded.prefill([request.prompt_ids for _, request in newcomers], slots)

    def _resume(self, newcomers: Sequence[tuple[int, Request, Paused]]) -> torch.Tensor:
        """Logits after each prompt, of which the part that was computed before is restored."""
        slots = self._enlist([(ticket, request) for ticket, request, _ in newcomers])
        starts, rest = [], []
        for slot, (_, request, before) in zip(slots.tolist(), newcomers, strict=True):
            shared = self._restore(slot, request, before)
            starts.append(shared)
            rest.append(request.prompt_ids[shared:])
        return self.padded.extend(rest, starts, slots)

    def sample(self) -> list[Finished]:
        """Draw one token for every sequence and retire those that ended."""
        rows = torch.arange(self.size, device=self.model.device)
        counts = self.counts[: self.size]
        temperatures = self.temperatures[: self.size, None]
        scales = temperatures.where(temperatures > 0, 1.0)
        logits = self.logits.float() if self.bias is None else self.logits.float() + self.bias
        logprobs = torch.log_softmax(logits / scales, dim=-1)
        # One number that is none spoils its whole row, so that one column tells.
        if bool(logprobs[:, 0].isnan().any()):
            raise ModelError("the model's logits are not finite: its weights are damaged")
        # Not the exponential of these, whose last bits depend on the place of a row in the batch.
        probabilities = torch.softmax(logits / scales, dim=-1)
        drawn = self._draw(probabilities, self.uniforms[rows, counts])
        self.tokens[rows, counts] = drawn
        self.logprobs[rows, counts] = logprobs[rows, drawn]
        self.entropies[rows, counts] = entropies(probabilities, logprobs)
        if self.version is not None:
            self.versions[rows, counts] = self.version
        self.counts[: self.size] += 1
        self.positions[: self.size] += 1
        self._tell(drawn)
        ended = torch.isin(drawn, self.end_ids)
        stopped = self._stopped(self.may_stop[self.stop_rows[: self.size], drawn] & ~ended)
        done = ended | stopped | (self.counts[: self.size] >= self.budgets[: self.size])
        return self._retire(done, ended, stopped) if bool(done.any()) else []

    def _tell(self, drawn: torch.Tensor) -> None:
        """Tell those who listen what was drawn for them."""
        listening = [n for n, one in enumerate(self.running) if one.request.heard is not None]
        for row, token_id in zip(listening, drawn[listening].tolist() if listening else (), strict=True):
            heard = self.running[row].request.heard
            assert heard is not None  # noqa: S101
            heard(token_id)

    def _draw(self, probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        greedy = self.temperatures[: self.size] == 0
        if bool(greedy.all()):
            return probabilities.argmax(-1)
        drawn = invert(probabilities, uniforms)
        return probabilities.argmax(-1).where(greedy, drawn) if bool(greedy.any()) else drawn

    def _stopped(self, candidates: torch.Tensor) -> torch.Tensor:
        rows = candidates.nonzero()[:, 0].tolist()
        if rows:
            counts, stop_rows = self.counts.tolist(), self.stop_rows.tolist()
            written = self.tokens[rows, : max(counts[row] for row in rows)].tolist()
            stops = [self.stops[stop_rows[row]] for row in rows]
            candidates[rows] = torch.tensor(
                [
                    stop is not None and stop.found(token_ids[: counts[row]])
                    for row, stop, token_ids in zip(rows, stops, written, strict=True)
                ],
                device=candidates.device,
            )
        return candidates

    def _retire(self, done: torch.Tensor, ended: torch.Tensor, stopped: torch.Tensor) -> list[Finished]:
        finished = []
        for row in done.nonzero()[:, 0].tolist():
            finish = Finish.EOS if ended[row] else Finish.STOP if stopped[row] else Finish.LENGTH
            finished.append(self._collect(row, finish))
        keep = self.size - len(finished)
        gaps = done[:keep].nonzero()[:, 0]
        movers = (~done[keep:]).nonzero()[:, 0] + keep
        if len(movers):
            self._move(movers, gaps)
        del self.running[keep:]
        return finished

    def _move(self, movers: torch.Tensor, gaps: torch.Tensor) -> None:
        """Let the last sequences close the gaps that others left."""
        for table in (
            self.uniforms,
            self.tokens,
            self.logprobs,
            self.entropies,
            self.versions,
            self.counts,
            self.budgets,
            self.positions,
            self.stop_rows,
            self.temperatures,
        ):
            table[gaps] = table[movers]
        self.cache.move(movers, gaps, int(self.positions[gaps].max()))
        for gap, mover in zip(gaps.tolist(), movers.tolist(), strict=True):
            self.running[gap] = self.running[mover]

    def _collect(self, row: int, finish: Finish) -> Finished:
        count = int(self.counts[row])
        ticket, request = self.running[row]
        token_ids = self.tokens[row, :count].tolist()
        if finish is Finish.STOP:
            self._pause(row, request, token_ids)
        completion = Completion(
            token_ids,
            self.logprobs[row, :count].tolist(),
            self.entropies[row, :count].tolist(),
            finish,
            None if self.version is None else self.versions[row, :count].tolist(),
        )
        return Finished(ticket, completion)

    def _pause(self, row: int, request: Request, token_ids: Sequence[int]) -> None:
        if request.sequence is None or (request.stop and request.stop.final(token_ids)):
            return
        # The last token has not been through the model yet.
        known = [*request.prompt_ids, *token_ids[:-1]]
        self.paused[request.sequence] = Paused(known, self.cache.keep(row, len(known)))
        if len(self.paused) > _KEPT * self.cache.slots:
            del self.paused[next(iter(self.paused))]
