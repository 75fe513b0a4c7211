"""A Hugging Face causal language model as policy, with continuous batching.

`model.generate` runs a batch until its longest sequence ends, copies the key-value cache at every
token and draws with `torch.multinomial`. Here finished sequences leave at once and waiting ones take
their slots, prompts shared by a group are computed once, and a token is drawn by inverting the
cumulative distribution at a random number that belongs to the generation.

The forward pass is the model's own, so log-probabilities equal the trainer's up to rounding.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count, islice
from types import MappingProxyType

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from innersearch.errors import UnsupportedModelError
from innersearch.policy.base import Completion, Finished, Request
from innersearch.policy.batch import Batch
from innersearch.policy.cache import SlotCache, tiled
from innersearch.policy.loading import context_of, demand_vocabulary, end_ids
from innersearch.types import Sampling

_SHARE, _PATIENCE = 8, 4
"""Where newcomers take passes of their own they are admitted together: an eighth of the running
sequences, or whoever waited 4 tokens. A pass for each would cost as much as a token of all others."""
_HOPS = 16
"""Turns of the event loop between two tokens; an answer passes through about eight on its way from an
engine to the next request, and without work one takes some microseconds."""


class TransformersPolicy:
    """Samples from a model that is in memory; the weights may change between calls."""

    provides = frozenset({"tokens", "logprobs", "entropies"})

    def __init__(
        self,
        model: PreTrainedModel,
        end_ids: Iterable[int],
        *,
        max_batch: int = 256,
        logit_bias: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Args:
            model: A causal language model with full attention in every layer.
            end_ids: Tokens that end a sequence.
            max_batch: Sequences in flight at most.
            logit_bias: Constants that are added to the logits of tokens before anything is drawn.

        Raises:
            UnsupportedModelError: Some layer is not full attention over rotary or learned positions.
        """
        _check_attention(model)
        self.model, self.name = model, str(model.name_or_path)
        self.end_ids = frozenset(end_ids)
        self.max_batch, self.logit_bias = max_batch, dict(logit_bias)
        self._cache: SlotCache | None = None

    @property
    def context(self) -> int:
        """Longest sequence of the model, in tokens."""
        return context_of(self.model.config, self.name)

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_batch: int = 256,
        logit_bias: Mapping[int, float] = MappingProxyType({}),
    ) -> TransformersPolicy:
        """The policy of a model, which ends sequences as its configuration and tokenizer say."""
        demand_vocabulary(model, tokenizer, str(model.name_or_path))
        return cls(model, end_ids(model, tokenizer), max_batch=max_batch, logit_bias=logit_bias)

    def stream(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Finished]:
        """Yield completions as they finish; up to `max_batch` requests are in flight at once.

        Raises:
            DataError: A prompt is empty or leaves no room in the model's context.
            ModelError: The weights are damaged.
        """
        waiting = enumerate(requests)
        with self._batch(sampling) as queue:
            while True:
                queue.add(islice(waiting, self.max_batch - queue.size))
                if not queue.size:
                    return
                yield from queue.step()

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[_Session]:
        """Sample under `sampling` for many coroutines at once; see `Sampler`."""
        with self._batch(sampling) as queue:
            session = _Session(queue)
            driver = asyncio.create_task(session.drive())
            try:
                yield session
            finally:
                driver.cancel()
                await asyncio.wait([driver])
                session.fail(RuntimeError("the sampling session is closed"))

    @contextmanager
    def _batch(self, sampling: Sampling) -> Iterator[_Queue]:
        training = self.model.training
        self.model.eval()
        cache = self._take_cache()
        batch = Batch(self.model, self.end_ids, sampling, cache, self.max_batch, self.logit_bias)
        queue = _Queue(batch)
        try:
            yield queue
        finally:
            self.model.train(training)
            # Without a GPU the cache is kept, since fresh memory costs as much as its use; but not
            # with numbers in it that are none.
            self._cache = cache if self.model.device.type == "cpu" and not queue.broken else None

    def _take_cache(self) -> SlotCache:
        cache, self._cache = self._cache, None
        if cache is None:
            layers = self.model.config.get_text_config().num_hidden_layers
            cache = SlotCache(tiled(self.max_batch), layers)
        return cache


class _Queue:
    """A running batch and those who wait to join it; paused sequences go first."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.fresh: deque[tuple[int, Request]] = deque()
        self.resumed: deque[tuple[int, Request]] = deque()
        self.patience = _PATIENCE
        self.broken = False

    @property
    def size(self) -> int:
        """Requests that are not finished."""
        return self.batch.size + len(self.fresh) + len(self.resumed)

    def add(self, requests: Iterable[tuple[int, Request]]) -> None:
        for ticket, request in requests:
            self.batch.check(request)
            again = request.sequence in self.batch.paused
            (self.resumed if again else self.fresh).append((ticket, request))

    def abandon(self, ticket: int) -> None:
        """Forget a request, wherever it is."""
        for waiting in (self.fresh, self.resumed):
            for entry in [entry for entry in waiting if entry[0] == ticket]:
                waiting.remove(entry)
        self.batch.abandon(ticket)

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """One token for every running sequence, and for newcomers that have joined."""
        self.broken = True
        self.batch.advance(self._newcomers())
        finished = self.batch.sample() if self.batch.size else []
        self.broken = False
        return finished

    def _newcomers(self) -> list[tuple[int, Request]]:
        ready = min(self.batch.free, len(self.fresh) + len(self.resumed))
        self.patience = self.patience - 1 if ready else _PATIENCE
        if self.batch.packs or ready * _SHARE >= self.batch.size or self.patience <= 0:
            self.patience = _PATIENCE
            return [(self.resumed or self.fresh).popleft() for _ in range(ready)]
        return []


class _Session:
    def __init__(self, queue: _Queue) -> None:
        self.context = queue.batch.context
        self._queue = queue
        self._tickets = count()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}
        self._work = asyncio.Event()
        self._failure: Exception | None = None

    async def generate(self, request: Request) -> Completion:
        if self._failure is not None:
            raise self._failure
        ticket = next(self._tickets)
        self._queue.add([(ticket, request)])
        self._work.set()
        future = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            return await future
        finally:
            if self._waiting.pop(ticket, None) is not None:
                self._queue.abandon(ticket)

    async def drive(self) -> None:
        """Step as long as there is work; what fails reaches everybody who waits."""
        try:
            while True:
                # Whoever woke it up may have been cancelled since.
                while not self._queue.size:
                    self._work.clear()
                    await self._work.wait()
                for ticket, completion in self._queue.step():
                    future = self._waiting.pop(ticket, None)
                    if future is not None and not future.done():
                        future.set_result(completion)
                # Whoever got a completion acts on it, in several hops, before the next token.
                for _ in range(_HOPS):
                    await asyncio.sleep(0)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Let everybody who waits, and whoever asks from now on, have an error; the first one stays."""
        self._failure = self._failure or error
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)


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
