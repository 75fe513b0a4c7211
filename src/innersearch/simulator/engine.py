"""A language model as search engine, with documents that are useful or noisy on demand (ZeroSearch).

Each query is written for on its own: with the question and the gold answers of the trajectory that
asks, never by position in a batch. All searches under way share one continuous batch of the writer;
the same query, question, label and seed are written once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import get_args

from innersearch import prompts
from innersearch.config import SimulatorSettings
from innersearch.search.base import SearchRequest, SearchResult, answer_each
from innersearch.search.curriculum import Curriculum, Label
from innersearch.simulator.parsing import Draft, read_draft
from innersearch.simulator.writers import Prompt, Writer
from innersearch.thoughts import spoken
from innersearch.types import Source

_Key = tuple[str, str, str, tuple[str, ...], int]


class SimulatedEngine:
    """An engine whose documents a language model makes up."""

    name, source = "simulated", Source.SIMULATOR

    def __init__(
        self, writer: Writer, settings: SimulatorSettings, curriculum: Curriculum | None = None
    ) -> None:
        """Without a curriculum every search is useful.

        Raises:
            ConfigError: There is no prompt of that name.
        """
        texts = [simulator_prompt(settings, label, "", "", (), 1) for label in get_args(Label)]
        self.settings = settings
        self.curriculum = curriculum
        self.faults: Counter[str] = Counter()
        """Outputs that had to be mended, by what was wrong."""
        self.identity: Mapping[str, str | int | float | bool | None] = (
            {"engine": self.name, "writer": writer.name}
            | ({"weights": weights} if (weights := getattr(writer, "weights", "")) else {})
            | settings.model_dump(exclude={"max_batch"})
            | {"prompt_text": hashlib.sha256(repr(texts).encode()).hexdigest()}
            | (curriculum.identity if curriculum else {})
        )
        self._writer = writer
        self._written: dict[_Key, asyncio.Future[SearchResult]] = {}

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """As `answer`, for queries that belong to no question."""
        return await answer_each(self, queries, k)

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        """Documents for one query, of the quality that the curriculum draws for it."""
        return await self.write(asked, self.curriculum.label(asked) if self.curriculum else "useful", k)

    async def write(self, asked: SearchRequest, label: Label, k: int) -> SearchResult:
        """Documents of a given quality for one query; a failed call or an output without documents is a
        failed search.
        """
        started = time.perf_counter()
        gold = gold_answers(asked, self.settings)
        question = asked.question.question if asked.question else ""
        key = (" ".join(asked.query.split()), question, label, gold, k)
        if key not in self._written:
            self._written[key] = asyncio.ensure_future(self._write_once(key, label, k))
            self._written[key].add_done_callback(partial(self._forget_failure, key))
        # Others may wait for the same documents, so whoever leaves must not take them along.
        result = await asyncio.shield(self._written[key])
        return replace(result, latency_s=time.perf_counter() - started)

    def _forget_failure(self, key: _Key, future: asyncio.Future[SearchResult]) -> None:
        """Whoever asks next tries again, even if all that waited for it have left."""
        if future.cancelled() or future.exception() or future.result().error is not None:
            self._written.pop(key, None)

    async def _write_once(self, key: _Key, label: Label, k: int) -> SearchResult:
        query, question, _, gold, _ = key
        prompt = simulator_prompt(self.settings, label, query, question, gold, k)
        output = await self._writer.write(prompt, (*key[:3], *gold, k))
        if output.error is not None:
            return SearchResult(error=output.error, cost_usd=output.cost_usd, label=label)
        draft = read_draft(output.text, k, ended=output.ended)
        self.faults.update(draft.faults)
        error = None
        if not draft.documents:
            self.faults["none"] += 1
            error = _why_none(output.text, draft)
        return SearchResult(draft.documents, error, 0.0, output.cost_usd, label, draft.faults)

    async def close(self) -> None:
        """Give up what is being written, and close the writer."""
        for future in self._written.values():
            future.cancel()
        await asyncio.gather(*self._written.values(), return_exceptions=True)
        self._written.clear()
        await self._writer.close()


def _why_none(output: str, draft: Draft) -> str:
    """Why an output holds no document; what was thought, where the answer may stand, is not repeated."""
    said = spoken(output).whole
    if said is None:
        return "the simulator wrote no document, but a thought without an end"
    if "refused" in draft.faults:
        return f"the simulator refused: {said[:80]!r}"
    return f"the simulator wrote no document, but {said[:80]!r}"


def gold_answers(asked: SearchRequest, settings: SimulatorSettings) -> tuple[str, ...]:
    """The gold answers that the simulator is told."""
    every = tuple(map(str, asked.question.golden_answers)) if asked.question else ()
    return {"none": (), "first": every[:1], "all": every}[settings.gold]


def simulator_prompt(
    settings: SimulatorSettings,
    label: Label,
    query: str,
    question: str,
    gold: Sequence[str],
    k: int,
) -> Prompt:
    """What the simulator is asked; `gold` may be empty, and then nothing is said about an answer."""
    one_for_both = settings.mode == "tuned" and settings.prompt in prompts.names()
    name = settings.prompt if one_for_both else f"{settings.prompt}-{label}"
    text = prompts.fill(
        name,
        label=label,
        Label=label.capitalize(),
        query=_line(query),
        question=_line(question),
        answer=_line(" or ".join(gold)),
        count=str(k),
        words=str(settings.words),
    )
    message, _, begun = text.partition("\n===\n")
    return Prompt(message, begun)


def _line(text: str) -> str:
    """Text on one line, without halves of surrogate pairs, which no model can read."""
    return " ".join(text.encode("utf-8", "replace").decode().split())
