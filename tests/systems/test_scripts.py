"""What scripted agents reach in the environments of the recipes, over the second world."""

from __future__ import annotations

from statistics import fmean

import pytest

from benchmarks import five_systems, world_agents
from innersearch.assemble.sources import load_questions
from innersearch.search.wrappers.slow import Slow
from innersearch.types import Trajectory

FACTS = five_systems.facts_of_pages()[::10]


def exact(trajectories: list[Trajectory]) -> float:
    return fmean(five_systems.em(trajectories))


def test_several_queries_at_once_need_one_round_for_two_or_three_at_equal_em() -> None:
    asked = load_questions("world:pairs-test")[::6] + load_questions("world:triples-test")[::6]
    several, single = (
        world_agents.play(
            five_systems.world("rag-r1", rollout={"grammar": name}), world_agents.at_once(most), asked
        )
        for name, most in (("rag-r1", 3), ("rag-r1-single", 1))
    )
    assert {world_agents.rounds(t) for t in several} == {1}
    sizes = [len(question.metadata["documents"]) for question in asked]
    assert [world_agents.rounds(t) for t in single] == sizes
    assert set(sizes) == {2, 3}
    assert five_systems.em(several) == five_systems.em(single)
    assert exact(several) >= 0.99
    rounds = five_systems.mean_rounds(several) / five_systems.mean_rounds(single)
    assert rounds <= 0.55


@pytest.mark.usefixtures("virtual_time")
def test_several_queries_at_once_wait_at_most_seven_tenths_as_long() -> None:
    asked = load_questions("world:pairs-test")[:10]
    waits = [
        fmean(
            world_agents.waited_s(trajectory)
            for trajectory in world_agents.play(
                five_systems.world("rag-r1", rollout={"grammar": name}),
                world_agents.at_once(most),
                asked,
                lambda engine: Slow(engine, five_systems.LATENCY),
            )
        )
        for name, most in (("rag-r1", 3), ("rag-r1-single", 1))
    ]
    assert waits[0] <= 0.7 * waits[1]


def test_facts_absent_from_leads_take_opened_pages() -> None:
    alone = world_agents.play(five_systems.without_pages(), world_agents.with_pages(0), FACTS)
    opened = world_agents.play(five_systems.world("deepresearcher"), world_agents.with_pages(2), FACTS)
    assert exact(alone) <= 0.05
    assert exact(opened) >= 0.99


def test_passages_take_two_fifths_of_the_tokens_of_whole_pages_at_most() -> None:
    def read(reader: str) -> list[Trajectory]:
        recipe = five_systems.world("deepresearcher", rollout={"reader": reader})
        return world_agents.play(recipe, world_agents.with_pages(2), FACTS[::2])

    passages, whole = read("passages:2"), read("whole")
    tokens = [sum(map(world_agents.page_tokens, found)) for found in (passages, whole)]
    assert tokens[0] <= 0.4 * tokens[1]
    assert exact(passages) >= exact(whole) - 0.03


def test_no_visit_returns_what_one_before_it_did() -> None:
    recipe = five_systems.world(
        "deepresearcher", rollout={"reader": "passages:1"}, search={"max_searches": 9}
    )
    again = world_agents.play(recipe, world_agents.again_and_again(3), FACTS[::3])
    for trajectory in again:
        opened = [call for call in trajectory.calls if call.tool == "open"]
        texts = [document.text for call in opened for document in call.documents]
        assert len(opened) == 3
        assert len(texts) == len(set(texts)) >= 2


@pytest.mark.parametrize("depth", [1, 2])
def test_queries_inside_one_thought_follow_a_chain(depth: int) -> None:
    asked = [q for q in load_questions("world:test") if q.metadata["depth"] == depth][::24]
    found = world_agents.play(five_systems.world("r1-searcher"), world_agents.one_by_one, asked)
    assert exact(found) >= 0.97
    assert all(trajectory.components["format"] == 1.0 for trajectory in found)
    assert {world_agents.rounds(trajectory) for trajectory in found} == {depth}
