"""Questions made of many pages at once; what came of each is kept, so that a killed run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from innersearch.errors import ConfigError, SearchError
from innersearch.locks import held
from innersearch.progress import Progress, silent
from innersearch.records import LineWriter, begun, claim
from innersearch.stored import read_records
from innersearch.train.synthesis import Made, Synthesis, addresses_of
from innersearch.types import Document

FILE = "made.jsonl"
_MADE = TypeAdapter(Made)
_FLOOR, _LIMIT = 10, 0.5
"""From how many pages on, and from which share of failures, nothing more is asked."""


class _Line(TypedDict):
    number: int
    outcome: str


def demand_corpus(documents: Sequence[Document] | None, engine: str) -> Sequence[Document]:
    """The documents of an engine, some of which can be begun with.

    Raises:
        ConfigError: Its corpus is not on this machine, or is empty.
    """
    if not documents:
        raise ConfigError(
            f"the engine {engine} has no corpus on this machine: give an index of one, such as bm25:DIR "
            "(`innersearch index build`), or world"
        )
    return documents


def make_all(
    synthesis: Synthesis,
    documents: Sequence[Document],
    count: int,
    path: Path,
    in_flight: int = 16,
    *,
    resume: bool = False,
    progress: Progress = silent,
) -> list[Made]:
    """What comes of `count` pages, in their order.

    Raises:
        RunError: `path` is not empty and `resume` is not given, or other settings wrote it.
        SearchError: The model could not be asked about too many pages; `resume` tries those again.
    """
    with held(path, "synthesis"):
        begun(path, resume=resume, what="synthesis")
        effort = synthesis.effort
        identity = {"engine": dict(synthesis.engine.identity), "writer": synthesis.writer.name}
        otherwise = "was written with another engine, model, seed or other numbers"
        claim(path, identity | asdict(effort), resume=resume, what="synthesis", otherwise=otherwise)
        pages = addresses_of(documents, count, effort.seed)
        known = _read(path)
        open_ = [n for n in range(len(pages)) if n not in known or known[n].outcome == "failed"]
        asyncio.run(_make(synthesis, pages, open_, path / FILE, in_flight, progress))
        known = _read(path)
        return [known[number] for number in range(len(pages))]


def _read(path: Path) -> dict[int, Made]:
    """What came of each page, by the last line about it."""
    lines = read_records(path / FILE, _Line)
    return {line["number"]: _MADE.validate_python(line) for line in lines}


async def _make(
    synthesis: Synthesis,
    pages: Sequence[str],
    numbers: Sequence[int],
    file: Path,
    in_flight: int,
    progress: Progress,
) -> None:
    places = asyncio.Semaphore(in_flight)

    async def one(number: int) -> Made:
        async with places:
            return await synthesis.make(number, pages[number])

    tasks = [asyncio.create_task(one(number)) for number in numbers]
    writer, failures = LineWriter(file), 0
    try:
        # In order, so that the file is the same every time.
        for done, task in enumerate(tasks, 1):
            made = await task
            writer.write(asdict(made))
            failures += made.outcome == "failed"
            if done >= _FLOOR and failures > _LIMIT * done:
                raise SearchError(
                    f"{synthesis.writer.name} failed at {failures} of {done} pages, the last time "
                    f"since: {made.error}; --resume tries them again"
                )
            progress("pages", done, len(tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        await synthesis.writer.close()
        await synthesis.engine.close()
