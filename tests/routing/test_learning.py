"""What an agent finds out in use about its own memory, with no policy and no engine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innersearch.config import SearchSettings
from innersearch.errors import ConfigError, RunError
from innersearch.routing.experience import Experience, load_experience
from innersearch.routing.kinds import alike, contradicts, kind_of
from innersearch.routing.learning import Learner, Learning, observations
from innersearch.routing.router import Query, parse_router
from innersearch.types import (
    Call,
    Decision,
    Document,
    Question,
    Sampling,
    Source,
    StopReason,
    Trajectory,
)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("employer of Belira", "employer"),
        ("company Belira works for", "company works"),
        ("who is married to Belira", "married"),
        ("Who is the mayor of Chicago in 2024?", "mayor"),
        ("current mayor of New York City", "mayor"),
        ("Mayor of Łódź", "mayor"),
        ("mayor of chicago", "chicago mayor"),
        ("", ""),
        ("日本の首都", "日本の首都"),
    ],
)
def test_a_kind_is_what_is_asked_and_not_whom_it_is_about(query: str, kind: str) -> None:
    assert kind_of(query) == kind


@given(st.text(max_size=60))
def test_every_text_has_a_kind_that_is_its_own(text: str) -> None:
    assert alike(kind_of(text), kind_of(text)) == 1.0
    assert kind_of(kind_of(text)) == " ".join(sorted(set(kind_of(kind_of(text)).split())))


@pytest.mark.parametrize(
    ("own", "text", "verdict"),
    [
        ("Belira works for Coltek.", "The employer of Belira is Coltek.", False),
        ("Belira works for Coltek.", "The employer of Belira is Nortek.", True),
        ("Coltek employs Belira.", "Belira has a job at Coltek.", False),
        # The old and the new side by side contradict neither.
        ("Belira works for Coltek.", "Belira left Coltek for Nortek.", False),
        # About somebody else: nothing is known.
        ("Belira works for Coltek.", "The employer of Gomek is Nortek.", None),
        ("Belira.", "The employer of Belira is Nortek.", None),
        ("", "The employer of Belira is Nortek.", None),
        ("It has 1,200 workers since 1998.", "Belira: 1,200 workers, 1998.", False),
        ("It has 1,200 workers since 1998.", "Belira: 3,400 workers, 2003.", True),
    ],
)
def test_an_engine_contradicts_what_it_does_not_have(own: str, text: str, verdict: bool | None) -> None:
    found = [Document("1", "", text)]
    assert contradicts(own, "employer of Belira", found) is verdict
    assert contradicts(own, "employer of Belira", []) is None


def test_distrust_is_the_tail_of_the_posterior_and_kinds_lend_by_what_they_share() -> None:
    experience = Experience()
    # Before anything is known, that of one contradiction in five checks.
    assert experience.distrust("mayor", 0.2) == pytest.approx(0.8**4)
    for bad in [True, False, True]:
        experience.add("mayor", contradicted=bad)
    # P(p > t) of Beta(3, 5), summed up as a binomial tail: fewer than three of seven.
    tail = sum(c * 0.2**n * 0.8 ** (7 - n) for n, c in enumerate((1, 7, 21)))
    assert experience.distrust("mayor", 0.2) == pytest.approx(tail)
    assert experience.distrust("spouse", 0.2) == pytest.approx(0.8**4)
    near = experience.distrust("elected mayor", 0.2)
    assert 0.8**4 < near < tail
    assert experience.checks("elected mayor") == pytest.approx(1.5)


def test_what_was_long_ago_fades() -> None:
    experience = Experience()
    for _ in range(500):
        experience.add("mayor", contradicted=False)
    assert experience.distrust("mayor", 0.2) < 0.001
    for n in range(60):
        experience.add("mayor", contradicted=n % 2 == 0)
    assert experience.distrust("mayor", 0.2) > 0.8


def test_experience_is_kept_and_what_is_none_is_refused(tmp_path: Path) -> None:
    experience = Experience(7)
    for kind, bad in (("mayor", True), ("mayor", False), ("capital", False), ("", True)):
        experience.add(kind, contradicted=bad)
    file = tmp_path / "experience.json"
    experience.save(file)
    assert load_experience(file) == experience
    stored = json.loads(file.read_text())
    for damaged in (
        stored | {"version": 2},
        {"version": 1},
        stored | {"kinds": {"mayor": {"checks": 1, "contradicted": 2}}},
        [],
    ):
        file.write_text(json.dumps(damaged))
        with pytest.raises(RunError, match="holds no experience"):
            load_experience(file)
    with pytest.raises(RunError, match="no experience at"):
        load_experience(tmp_path / "gone.json")


def test_experience_is_for_a_router_that_learns() -> None:
    SearchSettings(router="learning:entropy:0.4:0.1", experience="known.json")
    with pytest.raises(ValueError, match="no effect with the router always"):
        SearchSettings(router="always", experience="known.json")


@pytest.mark.parametrize(
    "text", ["learning", "learning:entropy", "learning:query-entropy:1", "learning:entropy:1:0", "x"]
)
def test_what_is_no_learning_router_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="learning:SIGNAL:THRESHOLD"):
        parse_router(text)


def test_a_gate_on_the_query_asks_before_anything_is_written() -> None:
    router = parse_router("gate:query-entropy:0.5")
    unsure, sure = (Query("q", 0, entropies=entropies) for entropies in ([0.2, 1.2], [0.1, 0.5]))
    assert [router.route(query).writer for query in (unsure, sure)] == ["engine", "policy"]
    assert router.route(Query("q", 0)).writer == "engine"
    assert (router.reads, router.signal) == ("entropies", "")


STALE = ("employer", "mayor")
STABLE = ("birthplace", "teacher", "founder", "spouse", "capital", "country")


def answered(number: int, learner: Learner, rng: random.Random) -> Trajectory:
    """A question about a known fact: half of those of the stale kinds have changed."""
    kind = rng.choice((*STALE, *STABLE))
    query = Query(f"{kind} of Name{number}x", 0, identity=(f"q{number}", 0, 1))
    route = learner.route(query)
    changed = kind in STALE and rng.random() < 0.5
    real = route.writer == "engine" or route.check
    own = "Oldtek" if route.writer == "policy first" and real else None
    said = f"The {kind} of Name{number}x is {'New' if changed else 'Old'}tek."
    own = own and f"The {kind} of Name{number}x is Oldtek."
    value = 0.01 if route.writer == "policy first" else route.value
    decision = Decision("learning", real, route.signal, value, route.threshold, own)
    documents = [Document("1", "", said)] if real else []
    call = Call(0, query.text, Source.RETRIEVER, documents, decision=decision)
    question = Question(f"q{number}", query.text, ("x",))
    end = StopReason.ANSWER
    return Trajectory(f"q{number}", f"q{number}", 0, question, [], [call], Sampling(0.0), end)


def simulated(learner: Learner, numbers: range, seed: int) -> Iterator[tuple[str, Call]]:
    for number in numbers:
        trajectory = answered(number, learner, random.Random(f"{seed} {number}"))
        learner.learn(trajectory)
        yield kind_of(trajectory.calls[0].input), trajectory.calls[0]


@pytest.mark.parametrize("seed", range(4))
def test_after_two_hundred_questions_stale_kinds_are_searched_and_others_are_not(seed: int) -> None:
    learner = Learner(Learning("entropy", 0.4))
    early = list(simulated(learner, range(200), seed))
    later = list(simulated(learner, range(200, 1000), seed))
    searched = {
        which: [call.decision.real for kind, call in later if kind in kinds and call.decision]
        for which, kinds in (("stale", STALE), ("stable", STABLE))
    }
    shares = {which: sum(found) / len(found) for which, found in searched.items()}
    assert shares["stale"] > 0.97
    assert shares["stable"] < 0.1
    # What is known need not be written first, but for the checks.
    written = [c.decision.own is not None for k, c in later if k in STALE and c.decision]
    assert sum(written) < 0.35 * len(written)
    assert sum(call.decision.real for _, call in early if call.decision) < 130


def test_only_checks_of_what_the_policy_was_sure_of_count() -> None:
    learner = Learner(Learning("entropy", 0.4))
    calls = [call for _, call in simulated(learner, range(60), 0)]
    found = list(observations(calls, 0.4))
    assert found
    assert len(found) == sum(c.decision is not None and c.decision.own is not None for c in calls)
    assert list(observations(calls, 0.005)) == []
    assert sum(checks for checks, _ in learner.experience.kinds.values()) == len(found)


def test_what_is_seen_is_used_from_the_next_block_on_and_the_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "known.json"
    learner = Learner(Learning("entropy", 0.4), str(file))
    query = Query("mayor of Nemie", 0, identity=("q", 0, 1))
    room, before = learner.room, learner.route(query)
    list(simulated(learner, range(room - 1), 1))
    assert (learner.room, learner.route(query), file.exists()) == (1, before, False)
    list(simulated(learner, range(room - 1, room), 1))
    assert load_experience(file) == learner.experience
    # Another process goes on where this one ended.
    other = Learner(Learning("entropy", 0.4), str(file))
    rest = range(room, room + 40)
    assert list(simulated(other, rest, 1)) == list(simulated(learner, rest, 1))
    with pytest.raises(RunError, match="leave --experience out"):
        Learner(Learning("entropy", 0.4), str(tmp_path / "gone.json")).into(file)
