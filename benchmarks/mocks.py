"""Mocks for benchmarks of rollouts: search latencies, a policy and an engine that take their time, and
an event loop whose time is virtual.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from innersearch.grammar import TAGS
from innersearch.policy.base import Completion, Request
from innersearch.search.base import SearchResult
from innersearch.types import Document, Finish, Kind, Sampling, Source
from innersearch.world_1.bundled import BUNDLED_SEED
from innersearch.world_1.encyclopedia import Encyclopedia

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SLOTS, STREAM_RATE, FULL_RATE = 256, 80.0, 12_000.0
"""Of the mock policy; rates in tokens per second, of one sequence and of all."""
MEDIAN_TOKENS, TOKENS_SIGMA, FEWEST, MOST = 120, 0.6, 24, 500
"""Tokens of a turn: log-normal, within what a turn needs and what Search-R1 allows it."""
CONTEXT = 32_768

Order = Literal["paused first", "as they come", "longest first"]
"""Who gets a free slot: those that come back from a search, as in our policy; or whoever waits longest,
as in most servers; or who has most left to do, which nobody can know."""
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True)
class Latency:
    """Seconds of a search: log-normal by two quantiles, with a share of searches that hang."""

    name: str
    p50: float
    p99: float
    turns: int = 4
    hanging: float = 0.0
    hangs_s: float = 60.0

    def draw(self, rng: np.random.Generator, count: int) -> list[float]:
        """The seconds of some searches."""
        sigma = math.log(self.p99 / self.p50) / 2.3263
        seconds = rng.lognormal(math.log(self.p50), sigma, count)
        return np.where(rng.random(count) < self.hanging, self.hangs_s, seconds).tolist()


LOCAL = Latency("local index, p50 20 ms", 0.02, 0.06)
WEB = Latency("web, p50 0.4 s, p99 3 s", 0.4, 3.0)
SIMULATOR = Latency("simulator, p50 2 s, p99 8 s", 2.0, 8.0)
PAGES = Latency("web and pages, p50 2 s, p99 8 s, 0.5 % take 60 s", 2.0, 8.0, turns=8, hanging=0.005)


@dataclass(frozen=True)
class Work:
    """What each trajectory does: tokens of its turns, and seconds of the searches between them."""

    tokens: list[list[int]]
    seconds: list[list[float]]

    @classmethod
    def draw(cls, latency: Latency, count: int, seed: int = 0) -> Work:
        """Work for `count` trajectories, with their searches spread evenly from 1 to the most."""
        rng = np.random.default_rng([seed, count])
        tokens, seconds = [], []
        for turns in rng.integers(2, latency.turns, count, endpoint=True):
            drawn = rng.lognormal(math.log(MEDIAN_TOKENS), TOKENS_SIGMA, turns)
            tokens.append(np.clip(drawn, FEWEST, MOST).astype(int).tolist())
            seconds.append(latency.draw(rng, turns - 1))
        return cls(tokens, seconds)

    @property
    def events(self) -> int:
        """Generations and searches."""
        return sum(map(len, self.tokens)) + sum(map(len, self.seconds))

    def left(self, number: int, turn: int) -> float:
        """Seconds of a trajectory from a turn on, with the policy to itself."""
        return sum(self.tokens[number][turn:]) / STREAM_RATE + sum(self.seconds[number][turn:])

    def bound(self) -> float:
        """Seconds that no schedule can beat."""
        longest = max(self.left(number, 0) for number in range(len(self.tokens)))
        return max(sum(map(sum, self.tokens)) / FULL_RATE, longest)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing else is to be done."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.jumping.now


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits and no timer is set: the benchmark is stuck")
            self.now += max(timeout, 0)
        return ready


class _Wanted(NamedTuple):
    tokens: int
    future: asyncio.Future[None]
    first: bool
    """Whether it is the first turn of its trajectory."""
    left: float
    """Seconds that its trajectory takes from here on, with the policy to itself."""


class SharedRate:
    """A policy's token rate, shared evenly by the sequences that have a slot.

    All running sequences get tokens at the same rate, so one sum of tokens per sequence tells how far
    everybody is, and the next to finish is the one with the least of it left.
    """

    def __init__(self, slots: int, full_rate: float, scale: float, order: Order) -> None:
        self.slots, self.full_rate, self.scale, self.order = slots, full_rate, scale, order
        self.loop = asyncio.get_running_loop()
        self.running: list[tuple[float, int, asyncio.Future[None]]] = []
        self.waiting: deque[_Wanted] = deque()
        self.paused: deque[_Wanted] = deque()
        """Those that go before the others."""
        self.timer: asyncio.TimerHandle | None = None
        self.count = 0
        self.updated = self.started = self.loop.time()
        self.given = 0.0
        """Tokens that a sequence has got that has been running all the time."""
        self.total = 0.0
        """Tokens that all have got."""
        self.idle = 0.0
        """Slot-seconds without a sequence."""
        self.full_until = 0.0
        """Share of the full rate that was used until the last trajectory started."""

    async def tokens(self, count: int, *, first: bool, left: float) -> None:
        """Wait for a slot and then for `count` tokens."""
        wanted = _Wanted(count, self.loop.create_future(), first, left)
        before = self.order == "paused first" and not first
        (self.paused if before else self.waiting).append(wanted)
        self._advance()
        await wanted.future

    @property
    def _rate(self) -> float:
        return min(STREAM_RATE, self.full_rate / len(self.running)) if self.running else 0.0

    def _advance(self) -> None:
        """Bring everything up to now, and set the timer for whoever finishes next."""
        now = self.loop.time()
        elapsed, self.updated = (now - self.updated) / self.scale, now
        self.given += elapsed * self._rate
        self.total += elapsed * self._rate * len(self.running)
        self.idle += elapsed * (self.slots - len(self.running))
        while self.running and self.running[0][0] <= self.given + 1e-6:
            heapq.heappop(self.running)[2].set_result(None)
        while len(self.running) < self.slots and (self.paused or self.waiting):
            self._start(self._next())
        if self.timer:
            self.timer.cancel()
        if self.running:
            left = (self.running[0][0] - self.given) / self._rate
            self.timer = self.loop.call_at(now + left * self.scale, self._advance)

    def _next(self) -> _Wanted:
        if self.order == "longest first":
            longest = max(self.waiting, key=lambda wanted: wanted.left)
            self.waiting.remove(longest)
            return longest
        return (self.paused or self.waiting).popleft()

    def _start(self, wanted: _Wanted) -> None:
        self.count += 1
        heapq.heappush(self.running, (self.given + wanted.tokens, self.count, wanted.future))
        since = (self.updated - self.started) / self.scale
        if wanted.first and since:
            self.full_until = self.total / (since * self.full_rate)


@dataclass
class MockPolicy:
    """A policy that writes what it is told to, in the time that a real one would take."""

    work: Work
    tokenizer: PreTrainedTokenizerFast
    slots: int = SLOTS
    full_rate: float = FULL_RATE
    scale: float = 1.0
    order: Order = "paused first"
    context: int = CONTEXT
    times: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Of each trajectory, when it asked for its first token and when it got its last one."""

    def __post_init__(self) -> None:
        def encode(text: str) -> list[int]:
            return self.tokenizer.encode(text, add_special_tokens=False, verbose=False)

        facts = Encyclopedia.generate(BUNDLED_SEED).facts
        words = encode(" ".join(fact.state(0) for fact in facts[:100]))
        self.thoughts = np.array(list(islice(cycle(words), MOST)))
        self.values = np.linspace(0.1, 2.0, MOST)
        self.think, self.search, self.answer = (
            (encode(TAGS.opening(kind)), encode(TAGS.closing(kind)))
            for kind in (Kind.THINK, Kind.SEARCH, Kind.ANSWER)
        )
        self.encode = encode

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[MockPolicy]:
        """See `Policy`."""
        self.rate = SharedRate(self.slots, self.full_rate, self.scale, self.order)
        yield self

    async def generate(self, request: Request) -> Completion:
        """See `Sampler`; the stream of the request tells trajectory and turn."""
        number, turn = int(request.stream[0]), int((*request.stream, 0)[2])
        loop = asyncio.get_running_loop()
        asked = loop.time()
        count = self.work.tokens[number][turn]
        await self.rate.tokens(count, first=turn == 0, left=self.work.left(number, turn))
        self.times[number] = (self.times.get(number, (asked, 0.0))[0], loop.time())
        return self._completion(number, turn, count)

    def _completion(self, number: int, turn: int, count: int) -> Completion:
        last = turn == len(self.work.seconds[number])
        before, after = self.answer if last else self.search
        end = [self.tokenizer.eos_token_id] if last else []
        block = [*before, *self.encode(f"{number} {turn}"), *after, *end]
        # Numbers of its own for every token, as a real policy returns them: memory is measured.
        thoughts = self.thoughts[: count - len(block) - 2].tolist()
        ids = [*self.think[0], *thoughts, *self.think[1], *block]
        finish = Finish.EOS if last else Finish.STOP
        return Completion(ids, (-self.values[:count]).tolist(), self.values[:count].tolist(), finish)


class MockEngine:
    """Search with the latencies that it is told; the query is the number of trajectory and turn."""

    name = "mock"
    source = Source.RETRIEVER

    def __init__(self, work: Work, scale: float = 1.0) -> None:
        self.work, self.scale = work, scale
        self.identity = {"engine": "mock"}
        facts = Encyclopedia.generate(BUNDLED_SEED).facts
        texts = [" ".join(f.state(0) for f in facts[start : start + 15]) for start in (0, 15, 30)]
        self.documents = tuple(Document(str(i), facts[i].head, text) for i, text in enumerate(texts))

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """See `Engine`."""
        number, turn = map(int, queries[0].split())
        seconds = self.work.seconds[number][turn]
        await asyncio.sleep(seconds * self.scale)
        return [SearchResult(self.documents[:k], latency_s=seconds)]

    async def close(self) -> None:
        """Nothing is open."""
