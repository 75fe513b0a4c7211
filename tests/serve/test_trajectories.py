"""Trajectories with an engine behind the gateway are those with the engine in this process."""

from __future__ import annotations

import pytest

from innersearch.assemble.agents import open_agent
from innersearch.assemble.sources import load_questions
from innersearch.types import Trajectory
from innersearch.world.engine import world_engine
from tests.serve.gateways import gateway


@pytest.mark.parametrize("options", ["", "#single"])
def test_trajectories_through_the_gateway_have_the_same_tokens(options: str) -> None:
    agent = open_agent("world")
    questions = load_questions("world:test")[:6]

    def roll(engine: object) -> list[Trajectory]:
        rolled = agent.roll_out(
            questions,
            engine=engine,  # type: ignore[arg-type]
            repetitions=2,
            reward="0.9*em + 0.1*format:strict",
            max_new_tokens=96,
            seed=5,
        )
        return list(rolled)

    here = roll(world_engine())
    with gateway(world_engine()) as client:
        there = roll(f"remote:{client.base_url}{options}")
    assert sum(len(trajectory.calls) for trajectory in here) > 6
    for one, other in zip(here, there, strict=True):
        assert one.segments == other.segments
        assert (one.reward, one.answer, one.stop_reason) == (
            other.reward,
            other.answer,
            other.stop_reason,
        )
        assert [call.input for call in one.calls] == [call.input for call in other.calls]
        found = [[document.text for document in call.documents] for call in one.calls]
        assert found == [[document.text for document in call.documents] for call in other.calls]
