"""Writers of simulators that say what they are told, and simulators that ask them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from innersearch.config import NoiseSettings, SimulatorSettings
from innersearch.net.patience import CallSettings
from innersearch.search.base import SearchRequest, SearchResult
from innersearch.search.curriculum import Curriculum
from innersearch.simulator.engine import SimulatedEngine
from innersearch.simulator.writers import ChatWriter, Output, Prompt
from innersearch.types import Question
from tests.search_servers import Answer
from tests.search_servers import Asked as Arrived

Write = Callable[[Prompt, tuple[str | int, ...]], "Output | Awaitable[Output]"]


@dataclass
class Writing:
    """A writer in memory that writes what a function says, and keeps what it was asked."""

    answer: Write
    name: str = "writing"
    asked: list[Prompt] = field(default_factory=list)
    streams: list[tuple[str | int, ...]] = field(default_factory=list)
    closed: bool = False

    async def write(self, prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        self.asked.append(prompt)
        self.streams.append(stream)
        written = self.answer(prompt, stream)
        return written if isinstance(written, Output) else await written

    async def close(self) -> None:
        self.closed = True


SAID = {
    "Query": "query",
    "The user wants to answer this question": "question",
    "Its answer is": "answer",
}


def said(prompt: Prompt) -> dict[str, str]:
    """What the prompt `simulator` says of query, question, answer and label."""
    lines = prompt.message.split("\n")
    found = {}
    for line in lines:
        start, _, rest = line.partition(": ")
        if start in SAID:
            found[SAID[start]] = rest
    if lines[-1].endswith(" Output:"):
        found["label"] = lines[-1].removesuffix(" Output:")
    return found


def echo(prompt: Prompt) -> Output:
    """Two documents that hold all that the prompt says."""
    told = said(prompt)
    return Output(f"Doc 1: {told['label']} {told['query']}\nDoc 2: {told['question']} {told['answer']}")


def question(n: int | str, *answers: str) -> Question:
    return Question(f"id {n}", f"What is number {n}?", answers or (f"gold {n}", f"alias {n}"))


def asked(query: str = "q", n: int | str = 1, *answers: str) -> SearchRequest:
    return SearchRequest(query, question(n, *answers), (f"g{n}", 0, 0))


def engine(
    writer: Any, noise: float = 0.0, settings: SimulatorSettings | None = None, **changes: Any
) -> SimulatedEngine:
    curriculum = Curriculum(NoiseSettings(curve="constant", end=noise))
    return SimulatedEngine(writer, settings or SimulatorSettings(**changes), curriculum)


def texts(result: SearchResult) -> list[str]:
    return [document.text for document in result.documents]


def slowly(answer: Callable[[Prompt], Output]) -> Write:
    async def write(prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        await asyncio.sleep(0.01)
        return answer(prompt)

    return write


QUICK = CallSettings(
    deadline_s=2.0,
    backoff_s=0.002,
    backoff_max_s=0.01,
    probe_s=0.01,
    probe_max_s=0.05,
    max_outage_s=10.0,
)


def completion(text: Any, finish: str = "stop") -> Answer:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return Answer({"id": "c", "object": "chat.completion", "choices": [choice], "usage": {}})


def prompt_of(request: Arrived) -> Prompt:
    return Prompt(request.values["messages"][0]["content"])


def chat(request: Arrived) -> Answer:
    """What an OpenAI-style server answers, on its route."""
    if (request.method, request.path) != ("POST", "/v1/chat/completions"):
        return Answer({"error": {"message": "no such route"}}, 404)
    return completion(echo(prompt_of(request)).text)


def after(*first: Answer) -> Callable[[Arrived], Answer]:
    """A server that gives some answers first."""
    waiting = list(first)
    return lambda request: waiting.pop(0) if waiting else chat(request)


def at(
    url: str, calls: CallSettings = QUICK, settings: SimulatorSettings | None = None
) -> SimulatedEngine:
    settings = settings or SimulatorSettings()
    return engine(ChatWriter(url, "sim-14b", settings, calls), settings=settings)


def ask_at(simulator: SimulatedEngine, *searches: SearchRequest, k: int = 2) -> list[SearchResult]:
    async def run() -> list[SearchResult]:
        try:
            return await asyncio.gather(*(simulator.answer(one, k) for one in searches))
        finally:
            await simulator.close()

    return asyncio.run(run())
