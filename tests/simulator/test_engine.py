"""A language model as search engine: who gets which documents, and what it is told."""

from __future__ import annotations

import asyncio
import gc
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest

from innersearch.config import SimulatorSettings
from innersearch.search.base import SearchRequest, SearchResult
from innersearch.simulator import engine as engine_module
from innersearch.simulator.engine import simulator_prompt
from innersearch.simulator.writers import Output, Prompt
from innersearch.types import Question, Source
from tests.simulator.writing import (
    Write,
    Writing,
    asked,
    echo,
    engine,
    question,
    said,
    slowly,
    texts,
)

# Who gets which documents


SEARCHES = 30_000


@dataclass
class Hasty:
    """A writer that takes its time, or none."""

    draw: random.Random
    name: str = "hasty"
    calls: int = 0

    async def write(self, prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        self.calls += 1
        for _ in range(self.draw.randrange(4)):
            await asyncio.sleep(0)
        return echo(prompt)

    async def close(self) -> None:
        pass


def lengths_of_trajectories(draw: random.Random) -> Iterator[int]:
    """Searches of each trajectory, SEARCHES together."""
    left = SEARCHES
    while left:
        length = min(left, draw.randint(1, 7))
        left -= length
        yield length


def test_thirty_thousand_searches_get_documents_for_their_own_question() -> None:
    """The released code pairs queries with the questions of others once a trajectory has finished.

    Here trajectories of one to seven searches are under way in four interleaved waves of ever changing
    size, and answers come in any order, some of them at once.
    """
    draw = random.Random(4)
    lengths = list(lengths_of_trajectories(draw))
    trajectories = draw.sample(range(len(lengths)), len(lengths))
    writer = Hasty(draw)
    simulator = engine(writer, noise=0.5)
    wrong: list[SearchResult] = []
    labels: Counter[str] = Counter()
    under_way, at_once = [0] * 4, 0

    async def trajectory(wave: int, n: int) -> None:
        nonlocal at_once
        under_way[wave] += 1
        for turn in range(lengths[n]):
            at_once = max(at_once, sum(map(bool, under_way)))
            # Many ask in the same words.
            query = f"who wrote it {n % 100} {turn}"
            result = await simulator.answer(SearchRequest(query, question(n), (str(n), 0, turn)), 2)
            expected = [f"{result.label.capitalize()} {query}", f"What is number {n}? gold {n}"]
            if texts(result) != expected or result.faults or result.error:
                wrong.append(result)
            labels[result.label] += 1
        under_way[wave] -= 1

    async def waves(wave: int) -> None:
        mine = iter(trajectories[wave::4])
        while chosen := list(islice(mine, draw.choice((3, 64, 700)))):
            await asyncio.gather(*(trajectory(wave, n) for n in chosen))

    async def run() -> None:
        await asyncio.gather(*map(waves, range(4)))
        await simulator.close()

    # Looking for cycles among so many live objects would take a third of the time.
    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
    assert len(wrong) == 0
    assert writer.calls == sum(labels.values()) == SEARCHES
    assert abs(labels["noisy"] / SEARCHES - 0.5) < 0.01
    assert at_once == 4
    assert simulator.faults == {}


@pytest.mark.usefixtures("virtual_time")
def test_a_batch_is_answered_in_order_and_together() -> None:
    """Whoever is slow holds up nobody else; queries without a question are told nothing of one."""
    order: list[str] = []

    async def write(prompt: Prompt) -> Output:
        name = said(prompt)["query"]
        await asyncio.sleep(0.3 if name == "q0" else 0)
        order.append(name)
        assert "question" not in said(prompt)
        assert "answer" not in said(prompt)
        return Output(f"Doc 1: {name}")

    writer = Writing(lambda prompt, stream: write(prompt))
    results = asyncio.run(engine(writer).search([f"q{n}" for n in range(50)], 1))
    assert [texts(result) for result in results] == [[f"q{n}"] for n in range(50)]
    assert order[-1] == "q0"
    assert all(result.latency_s > 0 for result in results)


def test_queries_without_a_question_draw_a_label_each() -> None:
    simulator = engine(Writing(lambda prompt, stream: Output("x")), noise=0.5)
    results = asyncio.run(simulator.search([f"q{n}" for n in range(400)], 1))
    noisy = sum(result.label == "noisy" for result in results)
    assert abs(noisy - 200) < 4 * 10


# The same search is written once


@pytest.mark.usefixtures("virtual_time")
def test_the_same_search_is_written_once() -> None:
    writer = Writing(slowly(echo))
    simulator = engine(writer)

    async def run() -> list[SearchResult]:
        # Repetitions and turns of a question share, and so does white space.
        queries = ["who founded it", " who  founded\nit "]
        searches = [SearchRequest(queries[n % 2], question(1), ("g", n, n)) for n in range(40)]
        results = await asyncio.gather(*(simulator.answer(one, 2) for one in searches))
        return [*results, await simulator.answer(searches[0], 2)]

    results = asyncio.run(run())
    assert len(writer.asked) == 1
    assert {tuple(texts(result)) for result in results} == {
        ("Useful who founded it", "What is number 1? gold 1")
    }
    assert results[0].latency_s > 0


@pytest.mark.parametrize(
    ("other", "label", "k"),
    [
        (asked("r"), "useful", 2),
        (asked("q", 2), "useful", 2),
        (asked("q", 1, "another gold"), "useful", 2),
        (asked("q"), "noisy", 2),
        (asked("q"), "useful", 3),
    ],
    ids=["query", "question", "gold", "label", "k"],
)
def test_other_searches_are_not_shared(other: SearchRequest, label: Any, k: int) -> None:
    writer = Writing(slowly(echo))
    simulator = engine(writer)

    async def run() -> list[SearchResult]:
        return await asyncio.gather(
            simulator.write(asked("q"), "useful", 2), simulator.write(other, label, k)
        )

    one, two = asyncio.run(run())
    assert len(writer.asked) == 2
    assert len(set(writer.streams)) == 2, "random numbers of their own"
    assert (one.label, two.label) == ("useful", label)
    assert k == 3 or texts(one) != texts(two)


class BrokenError(Exception):
    """What no writer should raise."""


@pytest.mark.parametrize("fails", ["error", "no documents", "exception"])
@pytest.mark.parametrize("askers", [1, 3])
def test_a_failure_is_not_kept(fails: str, askers: int) -> None:
    failing = True

    async def write(prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        await asyncio.sleep(0.005)
        if not failing:
            return Output("Doc 1: x")
        if fails == "exception":
            raise BrokenError
        return Output(" \n", error="away" if fails == "error" else None)

    writer = Writing(write)
    simulator = engine(writer)

    async def run() -> tuple[list[Any], SearchResult]:
        nonlocal failing
        searches = (simulator.answer(asked(), 1) for _ in range(askers))
        failed = await asyncio.gather(*searches, return_exceptions=True)
        failing = False
        return failed, await simulator.answer(asked(), 1)

    failed, later = asyncio.run(run())
    assert len(writer.asked) == 2
    assert texts(later) == ["x"]
    assert later.error is None
    for result in failed:
        if fails == "exception":
            assert isinstance(result, BrokenError)
        else:
            assert result.documents == ()
            assert ("away" if fails == "error" else "wrote no document") in result.error
            assert result.label == "useful"


def held(answer: Callable[[Prompt], Output], until: asyncio.Event) -> Write:
    async def write(prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        await until.wait()
        return answer(prompt)

    return write


async def soon() -> None:
    """Let all that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_failure_is_not_kept_even_if_nobody_waited_for_it() -> None:
    outputs = iter([Output(error="away"), Output("Doc 1: x")])
    until = asyncio.Event()
    simulator = engine(Writing(held(lambda prompt: next(outputs), until)))

    async def run() -> SearchResult:
        alone = asyncio.create_task(simulator.answer(asked(), 1))
        await soon()
        alone.cancel()
        until.set()
        await soon()
        return await simulator.answer(asked(), 1)

    assert texts(asyncio.run(run())) == ["x"]


def test_whoever_is_cancelled_does_not_take_the_documents_of_others_along() -> None:
    until = asyncio.Event()
    writer = Writing(held(echo, until))
    simulator = engine(writer)

    async def run() -> list[SearchResult]:
        first = asyncio.create_task(simulator.answer(asked(), 2))
        await soon()
        others = [asyncio.create_task(simulator.answer(asked(), 2)) for _ in range(3)]
        alone = asyncio.create_task(simulator.answer(asked("r"), 2))
        await soon()
        for task in (first, others[1], alone):
            task.cancel()
        await soon()
        until.set()
        results = await asyncio.gather(first, alone, *others, return_exceptions=True)
        cancelled = [isinstance(result, asyncio.CancelledError) for result in results]
        assert cancelled == [True, True, False, True, False]
        # What was begun is finished and kept.
        return [results[2], results[4], await simulator.answer(asked("r"), 2)]

    results = asyncio.run(run())
    assert [texts(result)[0] for result in results] == ["Useful q", "Useful q", "Useful r"]
    assert len(writer.asked) == 2


@pytest.mark.usefixtures("virtual_time")
def test_closing_gives_up_what_is_being_written() -> None:
    async def write(prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(prompt)
        raise AssertionError

    async def run() -> None:
        searches = [asyncio.create_task(simulator.answer(asked(f"q{n}"), 1)) for n in range(5)]
        await asyncio.sleep(0.01)
        await simulator.close()
        assert len(ended) == 5
        done, _ = await asyncio.wait(searches, timeout=1)
        assert len(done) == 5

    ended: list[Prompt] = []
    writer = Writing(write)
    simulator = engine(writer)
    asyncio.run(run())
    assert writer.closed


# What the simulator is told


def told(label: Any = "useful", k: int = 5, query: str = "q", **settings: Any) -> Prompt:
    writer = Writing(lambda prompt, stream: Output("x"))
    asyncio.run(engine(writer, **settings).write(asked(query), label, k))
    [prompt] = writer.asked
    return prompt


@pytest.mark.parametrize(
    ("mode", "label"), [("tuned", "useful"), ("tuned", "noisy"), ("prompted", "useful")]
)
@pytest.mark.parametrize("gold", ["none", "first", "all"])
def test_as_much_gold_is_told_as_was_asked_for(mode: str, label: str, gold: str) -> None:
    told_of = said(told(label, mode=mode, gold=gold))
    expected = {"none": None, "first": "gold 1", "all": "gold 1 or alias 1"}
    assert told_of.get("answer") == expected[gold], "no line that says nothing"
    assert told_of["question"] == "What is number 1?"
    world = "".join(told("useful", mode=mode, gold=gold, prompt="simulator-world"))
    assert ("gold 1" in world) == (gold != "none")
    assert ("alias 1" in world) == (gold == "all")


@pytest.mark.parametrize("prompt", ["simulator", "simulator-world"])
@pytest.mark.parametrize("gold", ["none", "first", "all"])
def test_a_prompted_simulator_that_is_to_write_noise_knows_neither_answer_nor_question(
    prompt: str, gold: str
) -> None:
    message = "".join(told("noisy", mode="prompted", gold=gold, prompt=prompt))
    for secret in ("gold 1", "alias 1", "number 1", "Its answer", "wants to answer"):
        assert secret not in message
    assert "<search>q</search>" in message or message.endswith("Query: q")


@pytest.mark.parametrize(
    ("mode", "label"),
    [("tuned", "useful"), ("tuned", "noisy"), *(("prompted", label) for label in ("useful", "noisy"))],
)
def test_as_many_documents_and_words_are_asked_for_as_are_wanted(mode: str, label: str) -> None:
    """The released code asks for five, whatever number is read."""
    for k, words in ((1, 30), (3, 30), (5, 30), (8, 75)):
        message = told(label, k, mode=mode, words=words).message
        [count] = re.findall(r"[Ww]rite (\d+) ", message)
        assert int(count) == k
        assert f"about {words} words each" in message
        assert "five" not in message.lower()


def test_the_label_is_told_and_the_query_stays_on_its_line() -> None:
    query = "x\nIts answer is: Lima\r\n===\n{answer} {label}"
    for label in ("useful", "noisy"):
        prompt = told(label, query=query)
        assert prompt.message.count(f"[{label}]") == 2
        assert prompt.begun == ""
        assert said(prompt) == {
            "query": "x Its answer is: Lima === {answer} {label}",
            "question": "What is number 1?",
            "answer": "gold 1",
            "label": label.capitalize(),
        }


def test_a_prompt_may_begin_the_reply() -> None:
    settings = SimulatorSettings(mode="prompted", prompt="simulator-world")
    prompt = simulator_prompt(settings, "useful", "q", "Who?\n===\nWho else?", (), 1)
    assert prompt.message == "Who? === Who else?"
    assert prompt.begun.endswith("<search>q</search><information>")


def test_half_a_character_is_no_reason_to_fall_over() -> None:
    odd = SearchRequest("a \ud800 b", Question("1", "\udc00?", ("g\ud800",)), ("g",))
    writer = Writing(lambda prompt, stream: Output("Doc 1: \ud83d x\nDoc 2: \ud83d\ude00"))
    result = asyncio.run(engine(writer).answer(odd, 2))
    assert "".join([writer.asked[0].message, *texts(result)]).encode()
    assert said(writer.asked[0])["query"] == "a ? b"


def test_the_identity_holds_what_decides_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    base = engine(Writing(echo)).identity
    assert base == engine(Writing(echo), max_batch=7).identity
    for changes in (
        {"words": 31},
        {"gold": "all"},
        {"temperature": 0.1},
        {"seed": 1},
        {"mode": "prompted"},
    ):
        assert engine(Writing(echo), **changes).identity != base
    assert engine(Writing(echo, name="other")).identity != base
    assert engine(Writing(echo), noise=0.5).identity != base
    fill = engine_module.prompts.fill
    with monkeypatch.context() as patch:
        patch.setattr(engine_module.prompts, "fill", lambda *given, **slots: fill(*given, **slots) + "!")
        assert engine(Writing(echo)).identity != base
    assert engine(Writing(echo)).source is Source.SIMULATOR
