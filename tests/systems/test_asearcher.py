"""What the released code of ASearcher does wrong, which ours does not; answers are in tests/rewards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from innersearch.assemble.agents import Agent
from innersearch.assemble.pages import demand_tools
from innersearch.assemble.recipes import open_recipe
from innersearch.assemble.sources import load_questions
from innersearch.errors import ConfigError
from innersearch.grammar import GRAMMARS, MaskRule
from innersearch.policy.base import Completion
from innersearch.policy.loading import load_tokenizer
from innersearch.random_draws import draw
from innersearch.rollout.segment import SegmentBuilder
from innersearch.search.base import Engine, SearchResult
from innersearch.testing import ScriptedPolicy
from innersearch.train.order import rows_of
from innersearch.train.samples import samples
from innersearch.types import Finish, Source, StopReason
from innersearch.world.bundled import BUNDLED
from innersearch.world.engine import world_engine
from innersearch.world.follower import follower
from tests.pages.reading import Shelf
from tests.rollout.scripts import TOKENIZER, Script, roll
from tests.tools.test_opening import opening, tool

RECIPE = "recipes/asearcher.toml"


def test_as_1_a_question_comes_again_in_every_epoch_also_after_a_resume() -> None:
    rows = rows_of(0, 32, 8, 12)
    assert len(rows) == 96
    assert set(Counter(rows).values()) == {3}
    for epoch in range(3):
        assert sorted(rows[32 * epoch : 32 * (epoch + 1)]) == list(range(32))
    resumed = rows_of(0, 32, 8, 12)[8 * 5 :]
    assert rows[: 8 * 5] + resumed == rows


class Raising:
    """An engine that raises in one of twenty searches."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.source, self.identity = engine.name, engine.source, engine.identity
        self.inner, self.raised, self.asked = engine, 0, 0

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.asked += 1
        if draw("raises", self.asked) < 0.05:
            self.raised += 1
            raise KeyError(queries[0])
        return await self.inner.search(queries, k)

    async def close(self) -> None:
        await self.inner.close()


def test_as_2_a_tool_that_raises_ends_no_run_and_is_counted() -> None:
    tokenizer, engine = load_tokenizer(str(BUNDLED)), Raising(world_engine(1))
    questions = [q for q in load_questions("world:lineages-test") if q.metadata["depth"] in (4, 8)][::2]
    found = list(
        Agent(ScriptedPolicy(tokenizer, follower(tokenizer)), tokenizer).roll_out(
            questions,
            engine=engine,
            grammar="asearcher",
            rollout={"reads_first": True, "pages": "corpus"},
            prompt="world",
            k=1,
            style="linked",
            max_searches=40,
            max_error_rate=0.5,
            stop_at_answer=True,
            max_new_tokens=2000,
        )
    )
    assert len(found) == len(questions)
    assert engine.raised > 0
    assert sum(call.error is not None for one in found for call in one.calls) == engine.raised
    assert sum(one.stop_reason is StopReason.ANSWER for one in found) > 0.9 * len(found)


def test_as_3_every_token_says_by_which_weights_it_was_sampled() -> None:
    replies = [
        "t</think><search>a</search>",
        "t</think><search>b</search>",
        "t</think><answer>c</answer>",
    ]
    trajectory = roll(Script(replies, versions=True), "asearcher", search={"stop_at_answer": True})
    [segment] = trajectory.segments
    assert segment.versions is not None
    for sampled, version in zip(segment.sampled_mask, segment.versions, strict=True):
        assert (version is not None) == sampled
    assert {version for version in segment.versions if version is not None} == {1, 2, 3}
    assert trajectory.step == 1
    [sample] = samples(trajectory)
    assert all(isinstance(version, int) for version in sample.versions)


def test_as_6_pages_that_failed_are_counted_as_such() -> None:
    shelf = Shelf({f"https://world.invalid/{n}": "A page." for n in range(0, 20, 2)})
    what = [opening(f"https://world.invalid/{n}") for n in range(20)]
    given = {"max_searches": 99, "max_error_rate": 1.0, "stop_at_answer": True}
    trajectory = roll(
        Script([*what, "t</think><answer>a</answer>"]),
        "asearcher",
        tools=[tool(shelf, only_seen=False)],
        search=given,
        tokens=9000,
    )
    opened = [call for call in trajectory.calls if call.source is Source.PAGE]
    assert len(opened) == 20
    assert sum(call.error is not None for call in opened) == 10
    assert all((call.error is None) == bool(call.documents) for call in opened)


def test_as_7_a_grammar_that_opens_pages_needs_some() -> None:
    recipe = open_recipe(RECIPE)
    without = recipe.rollout.model_copy(update={"pages": ""})
    search = recipe.search.model_copy(update={"engine": "world"})
    with pytest.raises(
        ConfigError, match=r"asearcher opens pages, and there are none: set rollout.pages"
    ):
        demand_tools(without, search)
    demand_tools(recipe.rollout.model_copy(update={"pages": "corpus"}), search)


def work(turns: int) -> int:
    """What the builder does for a trajectory of so many turns."""
    builder = SegmentBuilder(TOKENIZER, (1, 2), MaskRule(), GRAMMARS["asearcher"])
    ids = TOKENIZER.encode("t</think><search>who founded Goltek</search>")
    nothing = [0.0] * len(ids)
    for _ in range(turns):
        builder.begin_reply()
        builder.add_sampled(Completion(ids, nothing, nothing, Finish.STOP))
        builder.add_information("Belira founded Goltek.", Source.RETRIEVER)
    return builder.work


def test_as_8_a_reply_costs_the_same_however_many_came_before() -> None:
    assert work(128) <= 4.1 * work(32)
