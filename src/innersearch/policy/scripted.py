"""A policy that writes given texts, as a model would have: for demonstrations and tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from innersearch.policy.base import Completion, Request, Sampler
from innersearch.policy.stops import StopStrings
from innersearch.types import Finish, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Replies = Callable[[Request], str] | Sequence[str]


@dataclass
class ScriptedPolicy:
    """A policy that writes given texts.

    A list holds the replies of every trajectory, turn after turn; after the last one it writes the end
    of the sequence alone. A function gets the request. A reply ends behind a stop string as a model's
    would, at the budget of tokens, or with the end of the sequence.
    """

    tokenizer: PreTrainedTokenizerFast
    replies: Replies
    name: str = "scripted"
    context: int = 4096
    """Longest sequence, in tokens."""
    logprob: float = -0.5
    """Of every token; natural log."""
    entropy: float = 0.5
    """Of every distribution; nats."""
    provides: frozenset[str] = frozenset(("tokens", "logprobs", "entropies"))
    requests: list[Request] = field(default_factory=list)
    """What it was asked, in order."""

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[Sampler]:
        """See `Policy`."""
        yield _Session(self, sampling, self.context)

    def reply(self, request: Request) -> str:
        """The text that answers a request, before it is cut."""
        if callable(self.replies):
            return self.replies(request)
        return nth(self.replies, request)


def nth(replies: Sequence[str], request: Request) -> str:
    """The reply to a request in its turn; empty after the last one."""
    turn = request.stream[2] if len(request.stream) > 2 else 0
    return replies[turn] if isinstance(turn, int) and turn < len(replies) else ""


@dataclass
class _Session:
    policy: ScriptedPolicy
    sampling: Sampling
    context: int

    async def generate(self, request: Request) -> Completion:
        policy = self.policy
        policy.requests.append(request)
        most = min(request.max_new_tokens or self.sampling.max_new_tokens, request.room(policy.context))
        ids = policy.tokenizer.encode(policy.reply(request), add_special_tokens=False, verbose=False)
        ids, finish = _cut(ids, policy.tokenizer.eos_token_id, most, request.stop)
        logprobs = [policy.logprob] * len(ids) if "logprobs" in policy.provides else []
        entropies = [policy.entropy] * len(ids) if "entropies" in policy.provides else []
        return Completion(ids, logprobs, entropies, finish)


def _cut(ids: list[int], end: int, most: int, stop: StopStrings | None) -> tuple[list[int], Finish]:
    """The tokens that a sampler would have kept, and why it ended."""
    stopped = stop.first(ids) if stop else 0
    if stopped:
        ids, finish = ids[:stopped], Finish.STOP
    else:
        ids, finish = [*ids, end], Finish.EOS
    return (ids, finish) if len(ids) <= most else (ids[:most], Finish.LENGTH)
