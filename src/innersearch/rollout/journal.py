"""A journal of replies, so that a long trajectory that was killed goes on where it was.

Every reply is written down as it ends, with its tokens, and the tokens before it as a fingerprint. After
a kill the same trajectory is rolled out again, and its replies come from the journal as long as they are
asked for under the same tokens. All that tools remember is made anew by the same calls, so that they
must find the same again: on this machine they do, and elsewhere with a cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from innersearch.policy.base import Completion, Request, Sampler
from innersearch.records import LineWriter
from innersearch.stored import read_records
from innersearch.types import Finish

TURNS = "turns.jsonl"
"""The file of a journal in the folder of an evaluation."""


class _Line(TypedDict):
    key: str
    token_ids: list[int]
    logprobs: list[float]
    entropies: list[float]
    finish: str
    versions: list[int] | None


class Journal:
    """Replies that were written before, and those that are written now.

    Args:
        path: Its file, which is gone on with; a torn last line is dropped.

    Raises:
        RunError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {line["key"]: line for line in read_records(path, _Line)}
        self._writer: LineWriter | None = None
        self.taken = 0
        """Replies that were not sampled again."""

    def completion(self, key: str) -> Completion | None:
        """The reply of a key, if it was written before."""
        line = self._known.get(key)
        if line is None:
            return None
        self.taken += 1
        return Completion(
            line["token_ids"],
            line["logprobs"],
            line["entropies"],
            Finish(line["finish"]),
            line["versions"],
        )

    def write(self, key: str, completion: Completion) -> None:
        """Write a reply down."""
        if self._writer is None:
            self._writer = LineWriter(self.path)
        line: dict[str, Any] = {"key": key, "token_ids": completion.token_ids}
        line |= {"logprobs": completion.logprobs, "entropies": completion.entropies}
        line |= {"finish": completion.finish.value, "versions": completion.versions}
        self._writer.write(line)

    @asynccontextmanager
    async def around(self, sampler: Sampler, temperature: float) -> AsyncIterator[Sampler]:
        """A sampler whose replies are written down, and that writes none twice."""
        try:
            yield _Sampler(sampler, self, temperature)
        finally:
            if self._writer is not None:
                self._writer.close()
                self._writer = None


class _Sampler:
    def __init__(self, sampler: Sampler, journal: Journal, temperature: float) -> None:
        self.context = sampler.context
        self._sampler, self._journal, self._temperature = sampler, journal, temperature

    async def generate(self, request: Request) -> Completion:
        """See `Sampler`."""
        temperature = self._temperature if request.temperature is None else request.temperature
        key = key_of(request.stream, request.prompt_ids, temperature)
        known = self._journal.completion(key)
        if known is not None:
            return known
        completion = await self._sampler.generate(request)
        self._journal.write(key, completion)
        return completion


def key_of(stream: Sequence[str | int], prompt_ids: Sequence[int], temperature: float) -> str:
    """What a reply is known by: who asks, in which turn, how, and under which tokens."""
    said = repr((*stream, round(temperature, 6), tuple(prompt_ids))).encode()
    return hashlib.blake2b(said, digest_size=16).hexdigest()
