"""The policy, lent to a tool that wants it to write first: it goes on from its own request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from innersearch.policy.base import Completion
from innersearch.rollout.segment import Mark
from innersearch.tools.base import Draft
from innersearch.types import Kind

if TYPE_CHECKING:
    from innersearch.rollout.episode import Episode


class EpisodePen:
    """See `innersearch.tools.base.Pen`."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._mark: Mark | None = None

    async def write(self) -> Draft:
        """Let the policy write the information; it stays in the trajectory unless it is taken back."""
        self._mark = self._episode.builder.mark()
        return self._add(await self._episode.generate(self._episode.rules.block_stop))

    async def samples(self, count: int) -> list[Draft]:
        """Further ways in which it would, drawn at temperature 1; they leave no trace."""
        stop, builder = self._episode.rules.block_stop, self._episode.builder
        completions = await asyncio.gather(
            *(self._episode.generate(stop, sample=number) for number in range(count))
        )
        drafts = []
        for completion in completions:
            mark = builder.mark()
            drafts.append(self._add(completion))
            builder.roll_back(mark)
        return drafts

    def take_back(self) -> None:
        """Undo `write`."""
        if self._mark is not None:
            self._episode.builder.roll_back(self._mark)
            self._mark = None

    def _add(self, completion: Completion) -> Draft:
        builder = self._episode.builder
        builder.add_sampled(completion)
        written = builder.written(Kind.INFORMATION)
        tokens = len(completion.token_ids)
        if written is None:
            return Draft(None, (), (), tokens)
        return Draft(written.text, written.logprobs, written.entropies, tokens)
