"""A Hugging Face causal language model as policy, with continuous batching.

`model.generate` runs a batch until its longest sequence ends, copies the key-value cache at every
token and draws with `torch.multinomial`. Here finished sequences leave at once and waiting ones take
their slots, prompts shared by a group are computed once, and a token is drawn by inverting the
cumulative distribution at a random number that belongs to the trajectory.

The forward pass is the model's own, so log-probabilities equal the trainer's up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from innersearch.errors import DataError, ModelError, UnsupportedModelError
from innersearch.policy.base import Completion, Finished, Request, stream_key
from innersearch.policy.cache import Prefill, SlotCache
from innersearch.types import Finish, Sampling


class TransformersPolicy:
    """Samples from a model that is in memory; the weights may change between calls."""

    def __init__(self, model: PreTrainedModel, end_ids: Iterable[int], *, max_batch: int = 256) -> None:
        """Args:
            model: A causal language model with full attention in every layer.
            end_ids: Tokens that end a sequence.
            max_batch: Sequences in flight at most.

        Raises:
            UnsupportedModelError: Some layer is not full attention over rotary or learned positions.
        """
        _check_attention(model)
        self.model = model
        self.end_ids = frozenset(end_ids)
        self.max_batch = max_batch
        self._cache: SlotCache | None = None

    @torch.inference_mode()
    def stream(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Finished]:
        """Yield completions as they finish; up to `max_batch` requests are in flight at once.

        Raises:
            DataError: A prompt is empty or leaves no room in the model's context.
            ModelError: The weights are damaged.
        """
        training = self.model.training
        self.model.eval()
        try:
            yield from self._stream(enumerate(requests), sampling)
        finally:
            self.model.train(training)

    def _stream(self, waiting: Iterator[tuple[int, Request]], sampling: Sampling) -> Iterator[Finished]:
        batch = _Batch(self.model, self.end_ids, sampling, self._take_cache())
        while True:
            # Filling single free slots would cost a prefill pass per token.
            if batch.free * 8 >= self.max_batch or not batch.size:
                batch.admit(list(islice(waiting, batch.free)))
            if not batch.size:
                return
            yield from batch.sample()
            if batch.size:
                batch.decode()

    def _take_cache(self) -> SlotCache:
        """Without a GPU the cache is kept between calls, since fresh memory costs as much as its use."""
        cache = self._cache
        if cache is None:
            layers = self.model.config.get_text_config().num_hidden_layers
            cache = SlotCache(self.max_batch, layers)
        self._cache = cache if self.model.device.type == "cpu" else None
        return cache


class _Batch:
    """The running sequences; sequence i is in slot i, in row i of every tensor."""

    def __init__(
        self, model: PreTrainedModel, end_ids: frozenset[int], sampling: Sampling, cache: SlotCache
    ) -> None:
        self.model, self.sampling, self.cache = model, sampling, cache
        device = model.device
        self.end_ids = torch.tensor(sorted(end_ids), device=device)
        self.context = model.config.get_text_config().max_position_embeddings
        self.owners: list[int] = []
        columns = sampling.max_new_tokens

        def table(dtype: torch.dtype, *shape: int) -> torch.Tensor:
            return torch.zeros((cache.slots, *shape), dtype=dtype, device=device)

        self.uniforms = table(torch.float32, columns)
        self.tokens = table(torch.long, columns)
        self.logprobs = table(torch.float32, columns)
        self.entropies = table(torch.float32, columns)
        self.counts = table(torch.long)
        self.budgets = table(torch.long)
        self.positions = table(torch.long)
        self.logits = torch.empty(0, model.config.get_text_config().vocab_size, device=device)

    @property
    def size(self) -> int:
        return len(self.owners)

    @property
    def free(self) -> int:
        return self.cache.slots - self.size

    def admit(self, newcomers: list[tuple[int, Request]]) -> None:
        """Compute the prompts of new sequences, each distinct prompt once."""
        if not newcomers:
            return
        start = self.size
        prompts = {request.prompt_ids: None for _, request in newcomers}
        rows = {prompt: row for row, prompt in enumerate(prompts)}
        for slot, (index, request) in enumerate(newcomers, start):
            self._enlist(slot, index, request)
        slots = torch.arange(start, self.size, device=self.model.device)
        sources = torch.tensor(
            [rows[request.prompt_ids] for _, request in newcomers], device=self.model.device
        )
        logits = self._prefill(list(prompts), Prefill(sources, slots))[sources]
        self.logits = torch.cat([self.logits, logits]) if start else logits

    def _enlist(self, slot: int, index: int, request: Request) -> None:
        length = len(request.prompt_ids)
        budget = min(self.sampling.max_new_tokens, self.context - length)
        if not length or budget < 1:
            raise DataError(
                f"the prompt of {request.stream or index} has {length} tokens; the model's context of "
                f"{self.context} takes 1 to {self.context - 1}: shorten the question, or drop it"
            )
        self.owners.append(index)
        self.counts[slot], self.budgets[slot], self.positions[slot] = 0, budget, length - 1
        if self.sampling.temperature > 0:
            key = stream_key(self.sampling.seed, request.stream)
            draws = np.random.Generator(np.random.Philox(key=key)).random(budget, dtype=np.float32)
            self.uniforms[slot, :budget] = torch.from_numpy(draws)

    def _prefill(self, prompts: list[tuple[int, ...]], prefill: Prefill) -> torch.Tensor:
        """Logits after the last token of each prompt, shape (prompts, vocabulary)."""
        device = self.model.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        width = int(lengths.max())
        ids = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        self.cache.start_prefill(prefill, width)
        ends, chosen = (lengths - 1).unique(return_inverse=True)
        # Padding stands on the right, where causal attention keeps it out of every real position.
        logits = self.model(
            input_ids=ids,
            position_ids=torch.arange(width, device=device).expand(len(prompts), -1),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=ends,
        ).logits
        return logits[torch.arange(len(prompts), device=device), chosen]

    def sample(self) -> list[Finished]:
        """Draw one token for every sequence and retire those that ended."""
        rows = torch.arange(self.size, device=self.model.device)
        counts = self.counts[: self.size]
        greedy = self.sampling.temperature == 0
        scale = 1.0 if greedy else self.sampling.temperature
        logprobs = torch.log_softmax(self.logits.float() / scale, dim=-1)
        # One number that is none spoils its whole row, so that one column tells.
        if bool(logprobs[:, 0].isnan().any()):
            raise ModelError("the model's logits are not finite: its weights are damaged")
        probabilities = logprobs.exp()
        uniforms = self.uniforms[rows, counts]
        drawn = logprobs.argmax(-1) if greedy else _invert(probabilities, uniforms)
        self.tokens[rows, counts] = drawn
        self.logprobs[rows, counts] = logprobs[rows, drawn]
        self.entropies[rows, counts] = -(probabilities * logprobs.clamp_min(-1e4)).sum(-1)
        self.counts[: self.size] += 1
        self.positions[: self.size] += 1
        ended = torch.isin(drawn, self.end_ids)
        done = ended | (self.counts[: self.size] >= self.budgets[: self.size])
        return self._retire(done, ended) if bool(done.any()) else []

    def _retire(self, done: torch.Tensor, ended: torch.Tensor) -> list[Finished]:
        finished = [self._collect(row, ended=bool(ended[row])) for row in done.nonzero()[:, 0].tolist()]
        keep = self.size - len(finished)
        gaps = done[:keep].nonzero()[:, 0]
        movers = (~done[keep:]).nonzero()[:, 0] + keep
        for table in (
            self.uniforms,
            self.tokens,
            self.logprobs,
            self.entropies,
            self.counts,
            self.budgets,
            self.positions,
        ):
            table[gaps] = table[movers]
        self.cache.move(movers, gaps)
        for gap, mover in zip(gaps.tolist(), movers.tolist(), strict=True):
            self.owners[gap] = self.owners[mover]
        del self.owners[keep:]
        return finished

    def _collect(self, row: int, *, ended: bool) -> Finished:
        count = int(self.counts[row])
        completion = Completion(
            self.tokens[row, :count].tolist(),
            self.logprobs[row, :count].tolist(),
            self.entropies[row, :count].tolist(),
            Finish.EOS if ended else Finish.LENGTH,
        )
        return Finished(self.owners[row], completion)

    def decode(self) -> None:
        """Compute the logits that follow the token just drawn."""
        rows = torch.arange(self.size, device=self.model.device)
        positions = self.positions[: self.size]
        self.cache.start_decode(positions)
        reach = torch.arange(self.cache.width, device=positions.device) <= positions[:, None]
        mask = torch.zeros(reach.shape, dtype=self.model.dtype, device=positions.device)
        mask.masked_fill_(~reach, torch.finfo(mask.dtype).min)
        self.logits = self.model(
            input_ids=self.tokens[rows, self.counts[: self.size] - 1][:, None],
            position_ids=positions[:, None],
            attention_mask=mask[:, None, None, :],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]


def _invert(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The token at which the cumulative distribution passes each uniform number; never one of
    probability zero.
    """
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1]
    targets = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0]


def _check_attention(model: PreTrainedModel) -> None:
    obstacles = sorted(set(_obstacles(model.config.get_text_config())))
    if obstacles:
        raise UnsupportedModelError(
            f"{type(model).__name__} has layers with {', '.join(obstacles)}; the transformers "
            "policy handles full attention with fixed positions only"
        )


def _obstacles(config: PreTrainedConfig) -> Iterator[str]:
    """What the slot cache cannot reproduce, as the configurations of many architectures call it."""
    kinds = getattr(config, "layer_types", None)
    yield from (kind for kind in kinds or () if kind != "full_attention")
    for kind in getattr(config, "attention_layers", ()):
        if kind != "global":
            yield f"{kind} attention"
    context = getattr(config, "max_position_embeddings", None)
    window = getattr(config, "sliding_window", None) or getattr(config, "window_size", None)
    used = not kinds and getattr(config, "use_sliding_window", True)
    if used and window and context and window < context:
        yield f"a sliding window of {window}"
    if context is None or getattr(config, "alibi", False):
        yield "attention without position embeddings"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    if rope in ("longrope", "dynamic"):
        yield f"{rope} positions"
