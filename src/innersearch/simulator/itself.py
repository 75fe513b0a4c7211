"""A policy that searches its own memory, as an engine: self-search behind a search API.

In a rollout with the router `self` the policy writes the information block after its own query. Here
somebody else asks: the query is put into its mouth, behind the question where one is known, and it goes
on to write what it knows. The documents of its information block are the result.

    …question… <search> spouse of Nemie</search><information> Nemie is married to Zisara.</information>
               └────────────────── put there ───────────────┘└─────────────── sampled ─────────────┘
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from innersearch import prompts
from innersearch.config import SimulatorSettings
from innersearch.errors import DataError
from innersearch.grammar import TAGS
from innersearch.grammar.control import harmless
from innersearch.policy.base import Policy, Request, Sampler
from innersearch.policy.stops import StopStrings
from innersearch.search.base import SearchRequest, SearchResult, answer_each
from innersearch.search.curriculum import Curriculum
from innersearch.simulator.parsing import read_draft
from innersearch.types import Finish, Kind, Sampling, Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_OPENS, _CLOSES = TAGS.opening(Kind.INFORMATION), TAGS.closing(Kind.INFORMATION)


class SelfSearchEngine:
    """An engine whose documents are what a policy says it knows.

    Args:
        policy: Who writes.
        tokenizer: What it writes in.
        prompt: Name of the prompt text that it is asked questions with.
        settings: Temperature, seed and length of what it writes.
        weights: Fingerprint of its weights, for the identity.
    """

    name: str = "self"
    source: Source = Source.SELF_SEARCH
    curriculum: Curriculum | None = None
    """None: it writes what it knows, and never noise on purpose."""

    def __init__(
        self,
        policy: Policy,
        tokenizer: PreTrainedTokenizerFast,
        prompt: str,
        settings: SimulatorSettings,
        weights: str = "",
    ) -> None:
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "engine": "self",
            "model": policy.name,
            "weights": weights,
            "prompt": prompt,
            "temperature": settings.temperature,
            "seed": settings.seed,
            "max_new_tokens": settings.max_new_tokens,
        }
        self._policy, self._tokenizer, self._prompt = policy, tokenizer, prompt
        self._sampling = Sampling(settings.temperature, settings.max_new_tokens, settings.seed)
        self._stop = StopStrings(tokenizer, [_CLOSES])
        self._stack = AsyncExitStack()
        self._sampler: Sampler | None = None

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """As `answer`, for queries that belong to no question."""
        return await answer_each(self, queries, k)

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        """Up to `k` documents; an output without one is a failed search."""
        started = time.perf_counter()
        result = await self._write(asked, k)
        return replace(result, latency_s=time.perf_counter() - started)

    async def _write(self, asked: SearchRequest, k: int) -> SearchResult:
        if self._sampler is None:
            session = self._policy.session(self._sampling)
            self._sampler = await self._stack.enter_async_context(session)
        try:
            ids = self._put(asked)
            # The same question and query are answered alike, whoever asks.
            stream = (asked.question.question if asked.question else "", asked.query)
            completion = await self._sampler.generate(Request(ids, stream, stop=self._stop))
        except DataError as error:
            return SearchResult(error=f"the policy cannot be asked: {error}")
        text = str(self._tokenizer.decode(completion.token_ids, skip_special_tokens=True))
        content, closed, _ = text.partition(_CLOSES)
        draft = read_draft(content, k, ended=bool(closed) or completion.finish is not Finish.LENGTH)
        if not draft.documents:
            return SearchResult(error=f"the policy wrote no document, but {content[:80]!r}")
        return SearchResult(draft.documents, faults=draft.faults)

    def _put(self, asked: SearchRequest) -> tuple[int, ...]:
        """The prompt, and the query in its tags; no tag or control token comes of what others wrote."""
        question = asked.question.question if asked.question else asked.query
        ids = list(prompts.encode(self._tokenizer, self._prompt, question))
        query = harmless(self._tokenizer, " " + " ".join(asked.query.split()))
        if query is None:
            raise DataError("it holds markup that its tokenizer restores whatever is put in its place")
        opens, closes, information = (
            self._tokenizer.encode(tag, add_special_tokens=False)
            for tag in (TAGS.opening(Kind.SEARCH), TAGS.closing(Kind.SEARCH), _OPENS)
        )
        return (*ids, *opens, *query.token_ids, *closes, *information)

    async def close(self) -> None:
        """End the running batch."""
        self._sampler = None
        await self._stack.aclose()
