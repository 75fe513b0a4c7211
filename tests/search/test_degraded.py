"""The dial of quality for engines without a language model: useful and noisy results of BM25."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest

from innersearch.assemble.engines import open_engine
from innersearch.config import NoiseSettings, SearchSettings, TermSettings
from innersearch.metrics import normalise
from innersearch.rewards import Rubric
from innersearch.search.base import Engine, InformedEngine, SearchRequest, SearchResult, ask
from innersearch.search.curriculum import Curriculum
from innersearch.search.evidence import is_evidence
from innersearch.search.kinds import EngineKind
from innersearch.search.wrappers.degraded import DegradedEngine
from innersearch.train.monitors import step_metrics
from innersearch.types import Document, Question, Source, Trajectory
from innersearch.world_1.engine import world_engine
from tests.rollout.rolling import TEST, injected, plan, roll, tasks

DISTRACTORS = ("lower", "other", "removed")
OTHERS = [question.question for question in TEST]


@cache
def world() -> Engine:
    return world_engine()


@dataclass
class Ranked:
    """An engine in memory with one ranking for every query; document 3 and 7 hold the answer."""

    count: int = 30
    error: str | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)
    closed: bool = False
    name = "ranked"
    source = Source.WEB

    def __post_init__(self) -> None:
        self.identity: dict[str, Any] = {"engine": "ranked", "count": self.count}

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.asked += [(query, k) for query in queries]
        if self.error:
            return [SearchResult(error=self.error, cost_usd=0.5)] * len(queries)
        return [
            SearchResult(tuple(self.page(query)[:k]), latency_s=0.25, cost_usd=0.5) for query in queries
        ]

    def page(self, query: str) -> list[Document]:
        held = {3: "It was Lima!", 7: "lima."}
        return [
            Document(f"d{n}", "T", f"About {query}: {held.get(n, 'nothing')}", score=1 / (1 + n))
            for n in range(self.count)
        ]

    async def close(self) -> None:
        self.closed = True


LIMA = Question("1", "Capital of Peru?", ("Lima",))


def degraded(
    inner: Engine, noise: float = 1.0, others: Sequence[str] = (), **settings: Any
) -> DegradedEngine:
    curriculum = Curriculum(NoiseSettings(curve="constant", end=noise, **settings), seed=5)
    return DegradedEngine(inner, curriculum, others)


def one(engine: Engine, asked: SearchRequest, k: int = 3) -> SearchResult:
    return asyncio.run(ask(engine, asked, k))


def ids(result: SearchResult) -> list[str]:
    return [document.id for document in result.documents]


# Which documents


@pytest.mark.parametrize(
    ("distractors", "expected"),
    [
        ("lower", ["d5", "d6", "d8", "d9", "d10"]),
        ("removed", ["d0", "d1", "d2", "d4", "d5"]),
        ("other", ["d0", "d1", "d2", "d4", "d5"]),
    ],
)
def test_each_kind_of_distractor(distractors: str, expected: list[str]) -> None:
    inner = Ranked()
    result = one(
        degraded(inner, others=["other?"], distractors=distractors), SearchRequest("q", LIMA), 5
    )
    assert (ids(result), result.label, result.error) == (expected, "noisy", None)
    [(query, k)] = inner.asked
    assert query == ("other?" if distractors == "other" else "q")
    assert k > 5
    assert all(f"About {query}" in document.text for document in result.documents)
    assert (result.latency_s, result.cost_usd) == (0.25, 0.5)


def test_useful_results_are_the_engine_s_own() -> None:
    inner = Ranked()
    result = one(degraded(inner, 0.0), SearchRequest("q", LIMA), 5)
    assert inner.asked == [("q", 5)]
    [own] = asyncio.run(inner.search(["q"], 5))
    assert result == replace(own, label="useful")


@pytest.mark.parametrize("distractors", DISTRACTORS)
def test_noisy_results_of_the_world_hold_no_evidence(distractors: str) -> None:
    """Judged here anew: neither the answer in the text nor one of the gold documents."""
    engine = degraded(world(), others=OTHERS, distractors=distractors)
    asked = [
        SearchRequest(q.question, q, (q.id, repetition, 0))
        for q in TEST[::12]
        for repetition in range(2)
    ]

    async def run() -> list[SearchResult]:
        return await asyncio.gather(*(engine.answer(query, 3) for query in asked))

    found = []
    for query, result in zip(asked, asyncio.run(run()), strict=True):
        assert (result.label, result.error) == ("noisy", None)
        found.append(len(result.documents))
        gold = normalise(query.question.golden_answers[0])
        for document in result.documents:
            assert gold not in normalise(f"{document.title} {document.text}")
            assert document.id.split("/")[0] not in query.question.metadata["documents"]
    assert max(found) == 3
    assert statistics.fmean(found) > 2.7, "there is noise to be read"


def test_useful_results_of_the_world_do_hold_evidence() -> None:
    """Or else the test before this one would prove nothing."""
    engine = degraded(world(), 0.0)
    chosen = [question for question in TEST if question.metadata["hops"] == 1][::10]

    async def run() -> list[SearchResult]:
        return await asyncio.gather(*(engine.answer(SearchRequest(q.question, q), 3) for q in chosen))

    results = asyncio.run(run())
    own = asyncio.run(world().search([question.question for question in chosen], 3))
    assert [result.documents for result in results] == [result.documents for result in own]
    pairs = zip(results, chosen, strict=True)
    helpful = [any(is_evidence(d, question) for d in result.documents) for result, question in pairs]
    assert statistics.fmean(helpful) > 0.9


def test_another_question_s_documents_are_of_many_others_and_the_same_again() -> None:
    inner = Ranked()
    engine = degraded(inner, others=[f"other {n}" for n in range(50)], distractors="other")
    searches = [SearchRequest("q", LIMA, (f"g{n}", 0, 0)) for n in range(200)]
    for asked in [*searches, *searches]:
        one(engine, asked)
    queries = [query for query, _ in inner.asked]
    assert queries[:200] == queries[200:]
    assert len(set(queries)) > 40


def test_evidence_is_a_gold_answer_or_a_gold_document() -> None:
    gold = replace(LIMA, metadata={"documents": ["a:capital", "https://x.org/wiki/Peru"]})

    def judged(identity: str, text: str = "nothing", title: str = "") -> bool:
        return is_evidence(Document(identity, title, text), gold)

    assert judged("x", "the LIMA, of course")
    assert judged("x", title="Lima")
    assert judged("a:capital")
    assert judged("a:capital/2"), "another statement of the same fact"
    assert judged("https://x.org/wiki/Peru"), "ids may hold slashes"
    assert not judged("a")
    assert not judged("https:")
    assert not judged("https://x.org/wiki/Chile")
    assert not is_evidence(Document("a:capital", "", "Lima"), None)
    assert not is_evidence(Document("1", "", "any"), Question("1", "?", ()))


# What stays as it is


@pytest.mark.parametrize("distractors", DISTRACTORS)
@pytest.mark.parametrize("count", [0, 1, 2, 4, 30])
def test_never_more_documents_than_wanted_and_no_fault_where_there_are_few(
    distractors: str, count: int
) -> None:
    for noise in (0.0, 1.0):
        for k in (1, 2, 5):
            engine = degraded(Ranked(count), noise, ["other?"], distractors=distractors)
            for question in (LIMA, None):
                result = one(engine, SearchRequest("q", question), k)
                assert len(result.documents) <= k
                assert result.error is None
                assert result.label == ("noisy" if noise else "useful")


@pytest.mark.parametrize("distractors", DISTRACTORS)
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_errors_of_the_engine_pass_through(distractors: str, noise: float) -> None:
    engine = degraded(Ranked(error="away"), noise, ["other?"], distractors=distractors)
    result = one(engine, SearchRequest("q", LIMA))
    assert (result.error, result.documents, result.cost_usd) == ("away", (), 0.5)


def test_an_exception_of_the_engine_is_not_swallowed() -> None:
    class Broken(Ranked):
        async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
            raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        one(degraded(Broken()), SearchRequest("q"))


def test_other_without_others_takes_the_engine_s_own() -> None:
    inner = Ranked()
    result = one(degraded(inner, distractors="other"), SearchRequest("q", LIMA), 5)
    assert inner.asked[0][0] == "q"
    assert "d3" not in ids(result)


def test_queries_without_a_question_have_labels_of_their_own() -> None:
    engine = degraded(Ranked(), 0.3)
    results = asyncio.run(engine.search([f"q{n}" for n in range(500)], 2))
    assert [f"About q{n}:" in r.documents[0].text for n, r in enumerate(results)] == [True] * 500
    noisy = sum(result.label == "noisy" for result in results)
    assert abs(noisy - 150) < 4 * 10.3


def test_it_passes_for_the_engine_but_for_its_identity() -> None:
    inner = Ranked()
    engine = degraded(inner, 0.4, distractors="removed")
    assert (engine.name, engine.source) == ("ranked", Source.WEB)
    assert isinstance(engine, InformedEngine)
    assert not isinstance(inner, InformedEngine)
    assert engine.identity.items() > inner.identity.items()
    assert engine.identity["noise_end"] == 0.4
    assert engine.identity["noise_distractors"] == "removed"
    asyncio.run(engine.close())
    assert inner.closed


def test_it_is_there_only_where_there_is_noise() -> None:
    def opened(**noise: Any) -> Engine:
        settings = SearchSettings(engine="ranked", noise=NoiseSettings(**noise))
        kind = EngineKind("ranked", "ranked", lambda name, opening: Ranked())
        return open_engine(settings, kinds=[kind])

    assert isinstance(opened(), Ranked)
    assert isinstance(opened(start=0.0, end=0.25), DegradedEngine)
    assert isinstance(opened(curve="constant", start=0.5, end=0.0), Ranked)
    # Outside of training, noise is at its end.
    assert one(opened(end=1.0), SearchRequest("q", LIMA)).label == "noisy"


def test_the_step_decides_how_much_noise_there_is() -> None:
    curriculum = Curriculum(NoiseSettings(curve="linear", end=1.0), steps=4, seed=1)
    engine = DegradedEngine(Ranked(), curriculum)
    shares = []
    for step in (1, 2, 3, 4, 0):
        searches = [SearchRequest("q", LIMA, (f"{step}/{n}", 0, 0), step) for n in range(400)]
        shares.append(statistics.fmean(one(engine, a).label == "noisy" for a in searches))
    for share, wanted in zip(shares, (0.25, 0.5, 0.75, 1.0, 1.0), strict=True):
        assert abs(share - wanted) <= 4 * (wanted * (1 - wanted) / 400) ** 0.5


# In rollouts


def scored(trajectory: Trajectory) -> Trajectory:
    reward, parts = Rubric.of([TermSettings(measure="f1")]).score(trajectory)
    return replace(trajectory, reward=reward, components=parts)


def test_trajectories_carry_the_labels_and_the_metrics_count_them() -> None:
    curriculum = Curriculum(NoiseSettings(end=0.75), steps=4, seed=2)
    engine = DegradedEngine(world(), curriculum, OTHERS)
    wanted = [replace(task, step=3, group=f"3/{task.group}") for task in tasks(10)]
    trajectories = [scored(t) for t in roll(plan("always", engine), wanted=wanted)]
    calls: Counter[str] = Counter()
    for trajectory in trajectories:
        assert len(injected(trajectory)) <= len(trajectory.calls)
        for call in trajectory.calls:
            calls[call.label] += 1
            assert (call.engine, call.source) == ("bm25", Source.RETRIEVER)
            if call.label == "noisy":
                assert not any(is_evidence(d, trajectory.question) for d in call.documents)
            else:
                [own] = asyncio.run(world().search([call.input], 1))
                assert call.documents == list(own.documents)
    assert set(calls) == {"useful", "noisy"}
    metrics = step_metrics(trajectories)
    assert metrics["search/noise"] == calls["noisy"] / calls.total()
    at = curriculum.at(3)
    assert round(at, 3) == 0.457
    assert abs(metrics["search/noise"] - at) < 3 * (at * (1 - at) / calls.total()) ** 0.5
    assert calls.total() > 150
    assert "search/mended_share" not in metrics


def test_noise_is_the_same_whatever_finishes_when() -> None:
    def labels(**limits: int) -> list[list[str]]:
        engine = degraded(world(), 0.5)
        trajectories = roll(plan("always", engine), wanted=tasks(60), **limits)
        return [[call.label for call in trajectory.calls] for trajectory in trajectories]

    once = labels()
    assert once == labels(max_batch=5, in_flight=7)
    assert {label for drawn in once for label in drawn} == {"useful", "noisy"}


def test_noise_costs_reward() -> None:
    """A policy that reads the documents of the world answers from them, and from noise it cannot."""
    rewards = {}
    for noise in (0.0, 1.0):
        engine = degraded(world(), noise)
        trajectories = [scored(t) for t in roll(plan("always", engine), 0.0, tasks(40))]
        rewards[noise] = statistics.fmean(t.components["em"] for t in trajectories)
    assert rewards[0.0] > rewards[1.0] + 0.2
