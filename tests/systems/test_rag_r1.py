"""RAG-R1: what its released code gets wrong, and ours must not."""

from __future__ import annotations

import json
import unicodedata

import pytest

from benchmarks import five_systems, world_agents
from innersearch.assemble.sources import load_questions
from innersearch.evaluate.scores import score
from innersearch.grammar import RAG_R1, Malformed, several_queries
from innersearch.policy.stops import StopStrings
from innersearch.search.base import Engine, SearchRequest, SearchResult
from innersearch.search.wrappers.around import Around
from innersearch.search.wrappers.slow import Latency, Slow
from innersearch.types import Kind, StopReason, Trajectory
from tests.families import ALL, tokenizer_of
from tests.rollout.scripts import PROMPT, Found
from tests.scoring import trajectory_of
from tests.systems.published import reward, rolled, shown

ANSWER = "<think>t</think><answer>Belira</answer>"


def asks(queries: str) -> str:
    return f"<think>t</think><search>{queries}</search>"


def search(*texts: str, **changes: object) -> Trajectory:
    return rolled("rag-r1", texts, **changes)  # type: ignore[arg-type]


def test_rr_1_a_query_may_hold_a_comma_and_surplus_is_counted() -> None:
    def inputs(trajectory: Trajectory) -> list[str]:
        return [call.input for call in trajectory.calls]

    assert inputs(search(asks("a, b,c"), ANSWER)) == ["a", "b", "c"]
    assert inputs(search(asks('["Paris, Texas", "b"]'), ANSWER)) == ["Paris, Texas", "b"]
    lines = several_queries("lines", by="\n").reads[Kind.SEARCH]("Paris, Texas\nb")
    assert not isinstance(lines, Malformed)
    assert lines[0].inputs == ("Paris, Texas", "b")
    many = RAG_R1.reads[Kind.SEARCH]("Paris, Texas, b, c, d")
    assert not isinstance(many, Malformed)
    assert many[0].dropped == 2
    assert len(search(asks("a,b,c,d"), ANSWER).calls) == 3


def test_rr_2_the_policy_reads_what_it_is_to_copy() -> None:
    """Composed characters, not escapes of them; who copies them is right."""
    apart = unicodedata.normalize("NFD", "Beyoncé")
    trajectory = search(asks("who"), ANSWER, engine=Found(lambda query: apart))
    assert "Beyoncé" in shown(trajectory)
    assert "\\u" not in shown(trajectory)
    held = shown(trajectory).partition("<information>")[2].partition("</information>")[0]
    [document] = json.loads(held)["documents"]
    echo = trajectory_of(f"<answer>{document.removeprefix('Doc 1: ')}</answer>", golds=["Beyoncé"])
    assert reward("rag-r1", echo) == 1.0


def test_rr_3_answers_and_queries_are_the_policys_own() -> None:
    """Without an answer there is none, and the examples in the prompt are no queries."""
    engine = Found()
    trajectory = search("<think>t</think>", "nothing", *["<think>t</think>"] * 6, engine=engine)
    assert trajectory.answer is None
    assert not trajectory.calls
    assert reward("rag-r1", trajectory) == 0.0
    stated = Found(lambda query: "<answer>Belira</answer> Belira")
    assert search(*[asks("a")] * 5, engine=stated).answer is None


@pytest.mark.parametrize("answer", ["U.S.A.", "well-known", "The  Lima", "a_b", "O'Neil", "3.5"])
@pytest.mark.parametrize("gold", ["usa", "wellknown", "well known", "Lima", "ab", "a b", "oneil", "35"])
def test_rr_4_training_and_evaluation_score_alike(answer: str, gold: str) -> None:
    one = trajectory_of(f"<answer>{answer}</answer>", golds=[gold], grammar=RAG_R1)
    assert reward("rag-r1", one) == float(score(one, RAG_R1, direct=False).em)


def test_rr_5_separators_alone_are_malformed_and_told() -> None:
    trajectory = search(asks(" , "), asks("a"), ANSWER)
    assert trajectory.malformed == 1
    assert "the request is empty" in shown(trajectory)
    assert [call.input for call in trajectory.calls] == ["a"]
    assert trajectory.answer == "Belira"


def test_rr_6_what_is_sampled_from_is_what_is_trained_on() -> None:
    """The question stays: a trajectory that would overflow ends there, and tokens are lost at no end."""
    long = Found(lambda query: "word " * 400)
    trajectory = search(*[asks("a,b")] * 4, ANSWER, engine=long, context=len(PROMPT) + 900)
    assert trajectory.stop_reason is StopReason.CONTEXT_FULL
    [segment] = trajectory.segments
    assert tuple(segment.token_ids[: len(PROMPT)]) == PROMPT
    assert len(segment.token_ids) <= len(PROMPT) + 900
    assert not any(segment.sampled_mask[: segment.prompt_len])


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("behind", ["", " ", "\n", ".", "\n\n<information>"])
def test_rr_7_a_search_ends_the_reply_however_its_tag_is_spelled(family: str, behind: str) -> None:
    tokenizer = tokenizer_of(family)
    stop = StopStrings(tokenizer, RAG_R1.stops)
    for parts in (
        ["x</search>"],
        ["x", "</search>"],
        ["x</", "search>"],
        ["x<", "/", "sea", "rch", ">"],
    ):
        parts[-1] += behind
        ids = [i for part in parts for i in tokenizer.encode(part, add_special_tokens=False)]
        spelled = tokenizer.decode(ids).replace(" ", "")
        assert bool(stop.first(ids)) == ("</search>" in tokenizer.decode(ids)), spelled


class Watched(Around):
    """Counts how many searches are under way at once."""

    active = most = 0

    async def answer(self, asked: SearchRequest, k: int) -> SearchResult:
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            return await super().answer(asked, k)
        finally:
            self.active -= 1


@pytest.mark.usefixtures("virtual_time")
def test_rr_8_trajectories_and_their_queries_are_searched_at_once() -> None:
    asked = load_questions("world:triples-test")[:12]
    watched: list[Watched] = []

    def around(engine: Engine) -> Engine:
        watched.append(Watched(Slow(engine, Latency(1.0, 1.0))))
        return watched[0]

    found = world_agents.play(five_systems.world("rag-r1"), world_agents.at_once(3), asked, around)
    assert watched[0].most == 12 * 3
    assert all(world_agents.waited_s(trajectory) < 1.9 for trajectory in found)


def test_after_the_last_search_one_more_reply_may_answer_and_searches_nothing() -> None:
    answered = search(*[asks("a")] * 4, ANSWER)
    assert (answered.answer, len(answered.calls)) == ("Belira", 4)
    ignored = search(*[asks("a")] * 5, ANSWER)
    assert (ignored.answer, len(ignored.calls)) == (None, 4)


def test_results_stand_beside_their_queries_and_each_is_cut_alone() -> None:
    texts = {"long": "word " * 3000, "short": "Lima."}
    trajectory = search(asks("long,short"), ANSWER, engine=Found(lambda query: texts[query]))
    held = shown(trajectory).partition("<information>")[2].partition("</information>")[0]
    read = json.loads(held)
    assert read["query"] == ["long", "short"]
    assert read["documents"][1] == "Doc 1: Lima."
    assert len(read["documents"][0]) < len(texts["long"])
