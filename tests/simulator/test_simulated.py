"""A language model as search engine: who gets which documents, what it is told, what it may write."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from innersearch.assemble.engines import open_engine
from innersearch.config import NoiseSettings, SearchSettings, SimulatorSettings
from innersearch.errors import ConfigError, ModelError, SearchError
from innersearch.net.patience import CallSettings
from innersearch.records import write_json
from innersearch.search.base import SearchRequest, SearchResult
from innersearch.search.curriculum import Curriculum
from innersearch.simulator import engine as engine_module
from innersearch.simulator.engine import SimulatedEngine, simulator_prompt
from innersearch.simulator.loading import TRAINED, as_trained, open_simulator
from innersearch.simulator.parsing import read_draft
from innersearch.simulator.writers import KEY_VARIABLE, ChatWriter, Output, Prompt
from innersearch.types import Question, Source
from innersearch.world.bundled import BUNDLED
from tests.rollout.test_rollout import injected, plan, roll, tasks
from tests.search_servers import KEY, Answer, LocalServer
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


def slowly(answer: Callable[[Prompt], Output]) -> Write:
    async def write(prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        await asyncio.sleep(0.01)
        return answer(prompt)

    return write


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


# What it wrote

DRAFTS: dict[str, tuple[str, list[tuple[str, str]], set[str]]] = {
    "numbered": ("Doc 1: Lima.\nDoc 2: Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "on several lines": (
        "Doc 1: Lima\nis it.\n\nDoc 2:\nPeru.\n",
        [("", "Lima is it."), ("", "Peru.")],
        set(),
    ),
    "titled": (
        "Doc 1(Title: Lima) It is.\nDoc 2 (title: Peru): So is it.",
        [("Lima", "It is."), ("Peru", "So is it.")],
        set(),
    ),
    "titled with brackets": (
        "Doc 1: (Title: Lima (city)) It is.\nDoc 2(Title: ) Peru (land).",
        [("Lima (city)", "It is."), ("", "Peru (land).")],
        set(),
    ),
    "in bold type": ("**Doc 1:** Lima.\n**Document 2**: Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "with a preamble": ("Sure!\n\nDoc 1: Lima.\nDoc 2: Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "without numbers": ("Lima.\n\n- Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "no numbers at all": (
        "Doctors met.\nDoc 3D printing.",
        [("", "Doctors met."), ("", "Doc 3D printing.")],
        set(),
    ),
    "CRLF": ("Doc 1: Lima.\r\n\r\nDoc 2: Peru.\r\n", [("", "Lima."), ("", "Peru.")], set()),
    "an old Mac": ("Lima.\rPeru.", [("", "Lima."), ("", "Peru.")], set()),
    "unicode": (
        "Doc 1: 利馬是首都。🎉\nDoc 2(Title: Ñandú) über \u00a0Zoë\u2028!",
        [("", "利馬是首都。🎉"), ("Ñandú", "über Zoë !")],
        set(),
    ),
    "too few": ("Doc 1: Lima.", [("", "Lima.")], {"few"}),
    "too many": ("Doc 1: a\nDoc 2: b\nDoc 3: c", [("", "a"), ("", "b")], {"many"}),
    "an empty one": ("Doc 1:\nDoc 2: b", [("", "b")], {"few"}),
    "repeated": ("Doc 1: a\nDoc 2: b\nDoc 3: a", [("", "a"), ("", "b")], {"repeated"}),
    "repeated and few": ("Doc 1: a\nDoc 2:  a", [("", "a")], {"repeated", "few"}),
    "a cue before": ("Useful Output:\nDoc 1: a\nDoc 2: b", [("", "a"), ("", "b")], {"cue"}),
    "a cue on the line": ("Noisy Output: Doc 1: a\nDoc 2: b", [("", "a"), ("", "b")], {"cue"}),
    "a cue after": ("Doc 1: a [Useful output]\nDoc 2: b\n[noisy]", [("", "a"), ("", "b")], {"cue"}),
    "the query again": ("Query: q\nDoc 1: a\nDoc 2: b\n query : r", [("", "a"), ("", "b")], {"cue"}),
    "tags": ("<information>Doc 1: a\nDoc 2: b</information>", [("", "a"), ("", "b")], {"cue"}),
    "a useful word": (
        "Doc 1: a useful one.\nDoc 2: noisy outputs",
        [("", "a useful one."), ("", "noisy outputs")],
        set(),
    ),
}


@pytest.mark.parametrize("name", DRAFTS)
def test_drafts(name: str) -> None:
    output, documents, faults = DRAFTS[name]
    draft = read_draft(output, 2)
    assert [(document.title, document.text) for document in draft.documents] == documents
    assert set(draft.faults) == faults
    assert len(draft.faults) == len(faults)
    assert [document.id for document in draft.documents] == ["1", "2"][: len(documents)]
    cut = read_draft(output, 2, ended=False)
    assert cut.documents == draft.documents
    assert set(cut.faults) == faults | {"cut"}


@pytest.mark.parametrize(
    "output", ["", " \n\r\n\t ", "Useful Output:\n", "Doc 1:\nDoc 2: -", "</information>"]
)
def test_an_output_without_documents_is_a_failed_search(output: str) -> None:
    simulator = engine(Writing(lambda prompt, stream: Output(output)))
    result = asyncio.run(simulator.answer(asked(), 2))
    assert result.documents == ()
    assert result.error.startswith("the simulator wrote no document, but ")
    assert repr(output[:9])[1:-1] in result.error
    assert simulator.faults["none"] == 1


def test_what_had_to_be_mended_is_recorded_and_counted() -> None:
    outputs = {
        "a": Output("Doc 1: x"),
        "b": Output("Noisy output:\nx\ny", ended=False),
        "c": Output("x\ny"),
    }
    simulator = engine(Writing(lambda prompt, stream: outputs[said(prompt)["query"]]))
    results = asyncio.run(simulator.search([*"abcab"], 2))
    assert [result.faults for result in results] == [
        ("few",),
        ("cue", "cut"),
        (),
        ("few",),
        ("cue", "cut"),
    ]
    assert simulator.faults == {"few": 1, "cue": 1, "cut": 1}, "an output that is shared counts once"


LONG = {
    "one document": "Doc 1: " + "lima " * 200_000,
    "lines": "\n" * 1_000_000,
    "spaces": "Doc 1: a" + " " * 1_000_000 + "b",
    "a cue and spaces": "useful" + " " * 1_000_000 + "x",
    "cues": "useful output: " * 70_000,
    "documents": "".join(f"Doc {n}: text {n}\n" for n in range(60_000)),
    "an open title": "Doc 1(Title: " + "(a" * 500_000,
    "digits": "Doc " + "1" * 1_000_000 + "x",
}


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_is_read_in_linear_time(name: str) -> None:
    """In quadratic time it would take hours."""
    draft = read_draft(LONG[name], 3)
    assert len(draft.documents) <= 3
    assert "".join(document.text for document in draft.documents).count("lima") in (0, 200_000)


# A simulator behind an address


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


DOCUMENTS = ["Useful q", "What is number 1? gold 1"]


def test_what_is_sent_to_a_chat_endpoint() -> None:
    settings = SimulatorSettings(temperature=0.3, max_new_tokens=77)
    with LocalServer(chat) as server:
        for url in (
            server.url,
            server.url + "/",
            server.url + "/v1",
            server.url + "/v1/chat/completions",
        ):
            [result] = ask_at(at(url, settings=settings), asked())
            assert texts(result) == DOCUMENTS
            assert (result.error, result.faults, result.label) == (None, (), "useful")
    sent = [request.values for request in server.asked]
    assert len(sent) == 4
    assert sent[0] == sent[1] == sent[2] == sent[3]
    assert 0 <= sent[0].pop("seed") < 2**31
    assert "gold 1" in sent[0].pop("messages")[0]["content"]
    assert sent[0] == {
        "model": "sim-14b",
        "temperature": 0.3,
        "max_tokens": 77,
        "stop": ["</information>"],
    }
    assert "authorization" not in server.asked[0].headers


def test_a_completion_that_was_cut_off_says_so() -> None:
    with LocalServer(lambda request: completion("Doc 1: a\nDoc 2: b", "length")) as server:
        [result] = ask_at(at(server.url), asked())
    assert (texts(result), result.faults) == (["a", "b"], ("cut",))


@pytest.mark.parametrize(
    "trouble",
    [Answer({"error": "boom"}, 500), Answer(b"", 503), Answer({}, 429), Answer({}, 408)],
    ids=["500", "503", "429", "408"],
)
def test_trouble_that_passes_is_outlasted(trouble: Answer) -> None:
    with LocalServer(after(trouble, trouble)) as server:
        simulator = at(server.url)
        [result] = ask_at(simulator, asked())
    assert (texts(result), result.error) == (DOCUMENTS, None)
    assert len(server.asked) == 3
    assert {request.values["seed"] for request in server.asked} == {server.asked[0].values["seed"]}


def test_a_retry_after_is_waited_for() -> None:
    busy = Answer({"error": {"message": "rate limit"}}, 429, {"retry-after": "1"})
    with LocalServer(after(busy)) as server:
        [result] = ask_at(at(server.url), asked())
    assert texts(result) == DOCUMENTS
    assert result.latency_s >= 1
    assert len(server.asked) == 2


def test_a_slow_answer_is_asked_for_again() -> None:
    slow = replace(completion("Doc 1: late"), delay_s=0.5)
    with LocalServer(after(slow)) as server:
        simulator = at(server.url, replace(QUICK, deadline_s=0.15))
        [result] = ask_at(simulator, asked())
    assert texts(result) == DOCUMENTS


BAD_ANSWERS = {
    "no JSON": (Answer(b'{"choices": [{"mess'), "sent no JSON"),
    "HTML": (Answer(b"<html>"), "sent no JSON"),
    "not UTF-8": (Answer(b"\xff\xfe"), "sent no JSON"),
    "an array": (Answer([1]), "sent no completion"),
    "a number": (Answer(7), "sent no completion"),
    "no choices": (Answer({"choices": []}), "sent no completion"),
    "choices null": (Answer({"choices": None}), "sent no completion"),
    "no message": (Answer({"choices": [{"text": "x"}]}), "sent no completion"),
    "content null": (completion(None), "sent no text, and 'stop' as the reason"),
    "content a number": (completion(7), "sent no text, but a int"),
    "content in empty parts": (completion([{"type": "text"}]), "wrote no document"),
    "content empty": (completion(""), "wrote no document"),
    "content blank": (completion(" \n"), "wrote no document"),
    "too long a prompt": (
        Answer({"message": "maximum context length"}, 400),
        "HTTP 400.*context length",
    ),
    "a redirect": (Answer(b"", 307, {"location": "/elsewhere"}), "HTTP 307"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answers_are_failed_searches_and_not_asked_for_again(name: str) -> None:
    answer, message = BAD_ANSWERS[name]
    with LocalServer(lambda request: answer) as server:
        [result] = ask_at(at(server.url), asked())
    assert result.documents == ()
    assert re.search(message, result.error)
    assert len(server.asked) == 1


def test_a_wrong_path_is_said_at_once() -> None:
    with LocalServer(chat) as server:
        [result] = ask_at(at(server.url + "/v2"), asked())
    assert re.search(r"sim-14b answered HTTP 404.*no such route", result.error)
    assert len(server.asked) == 1


def test_a_query_that_breaks_the_server_is_given_up_alone() -> None:
    def answer(request: Arrived) -> Answer:
        return Answer({}, 500) if "Query: bad" in prompt_of(request).message else chat(request)

    with LocalServer(answer) as server:
        good, bad = ask_at(at(server.url), asked(), asked("bad"))
    assert texts(good) == DOCUMENTS
    assert bad.error == "the simulator sim-14b answered HTTP 500, in 5 tries"


def test_half_a_character_from_the_server_can_be_written_to_a_file() -> None:
    body = rb'{"choices": [{"message": {"content": "Doc 1: \ud83d x"}, "finish_reason": "stop"}]}'
    with LocalServer(lambda request: Answer(body)) as server:
        [result] = ask_at(at(server.url), asked("\ud800"), k=1)
    assert texts(result) == ["? x"]
    assert result.error is None


@pytest.mark.parametrize("max_batch", [7, 60])
def test_as_many_calls_are_under_way_as_the_settings_allow(max_batch: int) -> None:
    """The released code has ten threads, whatever the server can take."""
    full = threading.Event()

    def answer(request: Arrived) -> Answer:
        if server.most_at_once >= max_batch:
            full.set()
        full.wait(5)
        return chat(request)

    with LocalServer(answer) as server:
        simulator = at(server.url, replace(QUICK, deadline_s=9), SimulatorSettings(max_batch=max_batch))
        results = ask_at(simulator, *(asked(f"q{n}", n) for n in range(3 * max_batch)))
        assert server.most_at_once == max_batch
    assert [texts(result)[0] for result in results] == [f"Useful q{n}" for n in range(3 * max_batch)]


def test_a_server_that_goes_away_and_comes_back_loses_nothing_and_takes_no_work() -> None:
    """The released code asks again and again without a pause, for ever."""

    async def run(simulator: SimulatedEngine) -> tuple[list[SearchResult], float]:
        waiting = [simulator.answer(asked(f"q{n}", n), 2) for n in range(256)]
        searches = asyncio.gather(*waiting)
        while len(server.asked) < 60:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        arrived, worked = len(server.asked), time.process_time()
        await asyncio.sleep(1.0)
        worked = time.process_time() - worked
        assert len(server.asked) == arrived
        assert not searches.done()
        server.start()
        results = await searches
        await simulator.close()
        return results, worked

    with LocalServer(chat) as server:
        writer = ChatWriter(server.url, "sim", SimulatorSettings(max_batch=16), QUICK)
        results, worked = asyncio.run(run(engine(writer)))
    assert [texts(result) for result in results] == [
        [f"Useful q{n}", f"What is number {n}? gold {n}"] for n in range(256)
    ]
    assert worked < 0.25
    assert writer.calls.counts.outages >= 1
    assert writer.calls.counts.lost == 0


def test_a_server_that_stays_away_is_a_failed_search_that_can_be_asked_again() -> None:
    async def run(simulator: SimulatedEngine) -> list[SearchResult]:
        lost = await simulator.answer(asked(), 2)
        server.start()
        found = await simulator.answer(asked(), 2)
        await simulator.close()
        return [lost, found]

    server = LocalServer(chat)
    server.start()
    server.stop()
    lost, found = asyncio.run(run(at(server.url, replace(QUICK, max_outage_s=0.2))))
    server.stop()
    assert lost.error is not None
    assert lost.error.startswith("the simulator sim-14b has been down for more than 0.2 s (")
    assert server.url in lost.error
    assert "connection refused" in lost.error
    assert texts(found) == DOCUMENTS


def test_seeds_are_the_same_again_and_differ_between_searches() -> None:
    def seeds(*searches: SearchRequest, seed: int = 0, noise: float = 0.0, k: int = 2) -> list[int]:
        settings = SimulatorSettings(seed=seed)
        with LocalServer(chat) as server:
            writer = ChatWriter(server.url, "sim", settings, QUICK)
            ask_at(engine(writer, noise, settings), *searches, k=k)
        by_message = {prompt_of(request).message: request.values["seed"] for request in server.asked}
        return sorted(by_message.values())

    searches = [asked(f"q{n % 10}", n) for n in range(60)]
    once = seeds(*searches)
    assert once == seeds(*reversed(searches))
    assert len(set(once)) == 60
    one = seeds(searches[0])
    others = [
        seeds(searches[0], seed=1),
        seeds(searches[0], noise=1.0),
        seeds(searches[0], k=3),
        seeds(asked("q0", 0, "another gold")),
        seeds(asked("q1", 0)),
    ]
    assert len({tuple(drawn) for drawn in [one, *others]}) == 6


def test_the_key_goes_into_the_header_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)

    def answer(request: Arrived) -> Answer:
        """A server that says what it was sent, in all that it sends back."""
        headers = dict(request.headers)
        return {
            "q1": Answer({"error": headers}, 401),
            "q2": Answer({"error": headers}, 400),
            "q3": Answer({"error": headers}, 503),
            "q4": Answer({"headers": headers}),
            "q5": completion(f"Doc 1: {headers}"),
        }.get(said(prompt_of(request))["query"]) or chat(request)

    caplog.set_level("DEBUG")
    with LocalServer(answer) as server:
        writer = ChatWriter(server.url, "sim", SimulatorSettings(), replace(QUICK, max_outage_s=0.1))
        simulator = engine(writer)
        results = ask_at(simulator, *(asked(f"q{n}") for n in (0, 1, 2, 4, 5)))
        results += ask_at(at(server.url, replace(QUICK, max_outage_s=0.1)), asked("q3"))
    assert {request.headers["authorization"] for request in server.asked} == {f"Bearer {KEY}"}
    assert [result.error is None for result in results] == [True, False, False, False, True, False]
    assert KEY_VARIABLE in results[1].error
    completions = writer._completions
    shown = [results, simulator, vars(simulator), vars(writer), vars(completions), simulator.identity]
    shown += [completions.identity, completions._key, vars(completions._key), caplog.text]
    shown += [request.values for request in server.asked] + [request.path for request in server.asked]
    assert KEY not in repr(shown)


def test_a_key_that_is_none_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " ")
    with pytest.raises(SearchError, match=f"set the environment variable {KEY_VARIABLE}"):
        at("http://127.0.0.1:1")
    monkeypatch.setenv(KEY_VARIABLE, "schlüssel-1234")
    with pytest.raises(SearchError, match="holds no key") as refused:
        at("http://127.0.0.1:1")
    assert "1234" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://user:secret@127.0.0.1", "ftp://127.0.0.1", "http://", "127.0.0.1:80"]
)
def test_addresses_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SearchError, match="the address of the simulator sim-14b") as refused:
        at(url)
    assert "secret" not in str(refused.value)


# A simulator in this process


def local(**settings: Any) -> SimulatedEngine:
    chosen = {"mode": "prompted", "prompt": "simulator-world", "max_new_tokens": 32} | settings
    return open_simulator(str(BUNDLED), SimulatorSettings(**chosen))


def test_a_local_model_writes_the_same_in_any_batch() -> None:
    searches = [
        SearchRequest(f"birthplace of {task.question.metadata['chain'][0]}", task.question)
        for task in tasks(60)
    ]

    def write(order: list[SearchRequest], **settings: Any) -> dict[str, list[str]]:
        results = ask_at(local(**settings), *order, k=1)
        for result in results:
            assert (result.error, result.label) == (None, "useful")
            assert set(result.faults) <= {"cut"}
            assert "<" not in texts(result)[0]
        return {one.query: texts(result) for one, result in zip(order, results, strict=True)}

    once = write(searches)
    assert len(once) > 25
    assert once == write(searches[::-1], max_batch=3)
    again = write(searches, seed=1)
    assert sum(once[query] != again[query] for query in once) > 5, "another seed, other documents"


def test_a_local_model_cannot_be_asked_at_any_length() -> None:
    long = SearchRequest("who " * 1000, tasks()[0].question)
    fine = SearchRequest("who founded it", tasks()[0].question)
    results = ask_at(local(), fine, long, replace(fine, query="who leads it"), k=1)
    assert "the simulator cannot be asked" in results[1].error
    assert [result.error for result in results[::2]] == [None, None]


def test_trajectories_read_what_was_written_for_their_own_question() -> None:
    writer = Writing(slowly(echo))
    simulator = engine(writer, noise=0.5)
    labels: Counter[str] = Counter()
    for trajectory in roll(plan("always", simulator, k=3), wanted=tasks(40, 2)):
        gold = trajectory.question.golden_answers[0]
        assert len(injected(trajectory)) <= len(trajectory.calls)
        for call in trajectory.calls:
            labels[call.label] += 1
            assert [document.text for document in call.documents] == [
                f"{call.label.capitalize()} {' '.join(call.input.split())}",
                f"{trajectory.question.question} {gold}",
            ]
            assert (call.source, call.engine) == (Source.SIMULATOR, "simulated")
            assert call.faults == ("few",)
            assert call.latency_s > 0
    assert min(labels["useful"], labels["noisy"]) > 20
    assert writer.closed


# Opening


@pytest.mark.parametrize(
    ("engine", "changes", "error", "message"),
    [
        ("simulated:", {}, ConfigError, "write simulated:DIR, or simulated:URL#NAME"),
        ("simulated", {}, ConfigError, "write simulated:DIR, or simulated:URL#NAME"),
        ("simulated:/no/such", {}, ModelError, "no simulator at /no/such; .*simulator collect"),
        ("simulated:/no/such", {"mode": "prompted"}, ModelError, "/no/such"),
        (f"simulated:{BUNDLED}", {}, ConfigError, "not trained as a simulator.*mode prompted"),
        ("simulated:http://127.0.0.1:1", {}, ConfigError, "URL#NAME"),
        ("simulated:http://127.0.0.1:1#", {}, ConfigError, "URL#NAME"),
        ("simulated:http://u:p@127.0.0.1#m", {}, SearchError, "no user or password"),
        ("world,simulated:/no/such", {}, ConfigError, "neither fused nor cached"),
        ("simulated:/no/such,simulated:/no/other", {}, ConfigError, "neither fused nor cached"),
        ("simulatd:/no/such", {}, ConfigError, "did you mean 'simulated'"),
        ("simulated:http://127.0.0.1:1#m", {"prompt": "no-such"}, ConfigError, "no-such"),
    ],
)
def test_simulators_that_cannot_be_opened(
    engine: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    settings = SearchSettings(engine=engine, simulator=SimulatorSettings(**changes))
    with pytest.raises(error, match=message):
        open_engine(settings)


def test_a_simulator_cannot_be_cached(tmp_path: Path) -> None:
    settings = SearchSettings(engine="simulated:http://127.0.0.1:1#m", cache=str(tmp_path / "c.sqlite"))
    with pytest.raises(ConfigError, match="neither fused nor cached"):
        open_engine(settings)
    assert list(tmp_path.iterdir()) == []


def test_a_simulator_is_opened_with_its_noise() -> None:
    noise = NoiseSettings(curve="constant", end=1.0)
    with LocalServer(chat) as server:
        settings = SearchSettings(engine=f"simulated:{server.url}#m", noise=noise)
        opened = open_engine(settings)
        assert isinstance(opened, SimulatedEngine)
        [result] = ask_at(opened, asked())
    assert (result.label, texts(result)[0]) == ("noisy", "Noisy q")


def test_a_tuned_simulator_keeps_what_it_was_trained_with(tmp_path: Path) -> None:
    trained = {"prompt": "simulator-world", "words": 12, "gold": "none"}
    write_json(tmp_path / TRAINED, {"settings": trained})
    settings = as_trained(str(tmp_path), SimulatorSettings(temperature=0.1, gold="all"))
    assert settings == SimulatorSettings(**trained, temperature=0.1)
    prompted = SimulatorSettings(mode="prompted", gold="all")
    assert as_trained(str(tmp_path), prompted) == prompted
