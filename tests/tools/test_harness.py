"""An agent that gathers documents: its tools, its prompts, and what the released code did wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness_states import lost

from innersearch.assemble.agents import Agent
from innersearch.assemble.models import rollout_settings
from innersearch.assemble.pages import demand_tools, tools_of
from innersearch.assemble.recipes import open_recipe
from innersearch.assemble.sources import load_questions
from innersearch.config import RolloutSettings, SearchSettings
from innersearch.config.harness import HarnessSettings
from innersearch.errors import ConfigError, DataError
from innersearch.evaluate.protocols import PROTOCOLS
from innersearch.grammar import HARNESS
from innersearch.memory import replay
from innersearch.policy.base import Request
from innersearch.policy.loading import load_tokenizer
from innersearch.prompts import encode
from innersearch.rewards import Rubric, Scored, find_measure
from innersearch.rollout.episode import Task
from innersearch.rollout.journal import Journal
from innersearch.rollout.run import Rollout
from innersearch.runs import Run
from innersearch.search.base import SearchResult
from innersearch.stored import read_json
from innersearch.testing import ScriptedEngine, ScriptedPolicy
from innersearch.tools.search import SearchTool
from innersearch.train.monitors import step_metrics
from innersearch.train.samples import without_failed
from innersearch.train.start import demand_documents
from innersearch.types import Call, Document, Question, Sampling, Source, StopReason, Trajectory
from innersearch.world.bundled import BUNDLED
from innersearch.world.engine import world_engine
from innersearch.world.gatherer import call, gatherer

ROOT = Path(__file__).parents[2]
TOKENIZER = load_tokenizer(str(BUNDLED))
WINDOW, ROOM, REPLY, TURNS = 512, 392, 112, 40
QUESTION = Question("q", "Who rules Lim?", ("Zo",), {"documents": ["a", "b", "gone"]})
CORPUS = {
    "lim": [Document("a", "Lim", "Zo rules Lim."), Document("b", "Zo", "Zo was born in Lim.")],
    "else": [Document("c", "Kim", "Kim is big."), Document("a", "Lim", "Zo rules Lim.")],
}


def engine(fails: str = "") -> ScriptedEngine:
    def answer(query: str) -> SearchResult:
        if query == fails:
            raise KeyError(query)
        return SearchResult(tuple(CORPUS.get(query, ())))

    return ScriptedEngine(answer)


def rolled(
    replies: Sequence[str] | Callable[[Request], str], *, fails: str = "", k: int = 3, **values: Any
) -> Trajectory:
    policy = ScriptedPolicy(TOKENIZER, replies, context=values.pop("window", 4000))
    rollout = {"harness": {"auto_seed": 0, **values.pop("harness", {})}, "max_turns": 40, **values}
    [trajectory] = Agent(policy, TOKENIZER).roll_out(
        [QUESTION],
        engine=engine(fails),
        grammar="harness",
        context="render:5",
        rollout=rollout,
        prompt="world",
        k=k,
        style="named",
        max_searches=1000,
        max_error_rate=1.0,
        max_new_tokens=4000,
    )
    assert not trajectory.error, trajectory.error
    return trajectory


def prompts(trajectory: Trajectory) -> list[str]:
    return [TOKENIZER.decode(s.token_ids[: s.prompt_len]) for s in trajectory.segments]


def measured(trajectory: Trajectory, name: str) -> float:
    measure = find_measure(name)
    assert callable(measure)
    return measure(Scored(trajectory, HARNESS))


def test_h1_1_calls_of_the_last_reply_are_made_before_the_end() -> None:
    last = call("curate", add=["a"]) + call("end", reason="done") + call("curate", add=["b"])
    trajectory = rolled([call("search", query="lim"), last])
    assert trajectory.stop_reason is StopReason.ANSWER
    assert trajectory.chosen == ["a", "b"]
    found = rolled([call("search", query="lim") + call("curate", add=["a"]) + "<answer>done</answer>"])
    assert (found.chosen, found.stop_reason) == (["a"], StopReason.ANSWER)
    limit = rolled(
        [call("search", query="lim"), call("curate", add=["b"]) + call("search", query="else")],
        max_turns=2,
    )
    assert (limit.chosen, limit.stop_reason) == (["b"], StopReason.TURN_LIMIT)
    assert [one.tool for one in limit.calls if one.documents or one.tool == "curate"] == [
        "search",
        "curate",
    ]


def test_h1_2_a_guessed_id_is_refused_and_worth_nothing() -> None:
    honest = rolled([call("search", query="lim"), call("curate", add=["a"]), call("end")])
    guess = rolled([call("search", query="lim"), call("curate", add=["a", "gone"]), call("end")])
    assert "refused, since no search returned them: gone" in " ".join(prompts(guess)[-1].split())
    rubric = Rubric.read("0.7*f_beta + 0.3*pool_recall", HARNESS)
    assert rubric.score(guess) == rubric.score(honest)


def test_h1_3_no_prompt_is_too_long_or_lacks_a_curated_id_a_verdict_or_the_last_result() -> None:
    rng = random.Random(7)
    assert [found for _ in range(15) if (found := lost(TOKENIZER, rng))] == []


def test_h1_4_documents_stay_documents_and_every_feature_shows() -> None:
    twelve = "one two three four five six seven eight nine ten eleven Twelve"
    long = "Zo is old. Lim is big. It rains. Nobody knows. Zo rules Lim. The end is near."
    found = [
        Document("x (12 tokens)", "X", long),
        Document("y", "Y", twelve),
        Document("z", "Z", twelve),
    ]
    found.insert(1, Document("w", "W", "Twelve it was for Lim."))

    def shown(**changes: Any) -> str:
        CORPUS["many"] = found
        script = [call("search", query="many"), call("review", ids=["x (12 tokens)"]), call("end")]
        return " ".join(
            prompts(rolled(script, harness={"compress": 2, "auto_seed": 1} | changes, k=4))[1].split()
        )

    plain = shown()
    assert "x (12 tokens)" in plain
    assert plain == shown(verify="policy")
    for changes in (
        {"compress": 0},
        {"auto_seed": 0},
        {"dedup": 0.0},
        {"entities": 0},
        {"nudge": False},
    ):
        assert shown(**changes) != plain, changes
    script = [call("search", query="many"), call("review", ids=["x (12 tokens)"]), call("end")]
    reviewed = rolled(script, harness={"compress": 2})
    assert "It rains." in prompts(reviewed)[2]
    assert [c.error for c in reviewed.calls] == [None] * 3


def test_h1_6_the_untouched_seed_is_reported() -> None:
    idle = rolled([call("search", query="lim"), call("end")], harness={"auto_seed": 8})
    active = rolled([call("search", query="lim"), call("curate", add=["a"]), call("end")])
    nothing = rolled([call("end")])
    assert [measured(t, "untouched_seed") for t in (idle, active, nothing)] == [1.0, 0.0, 0.0]
    assert [measured(t, "curated") for t in (idle, active, nothing)] == [1.0, 1.0, 0.0]


def test_h1_5_a_run_holds_every_value_and_an_evaluation_takes_them(tmp_path: Path) -> None:
    recipe = open_recipe(str(ROOT / "recipes" / "harness-1.toml"))
    Run.start(tmp_path / "run", recipe, resume=False)
    written = read_json(tmp_path / "run" / "recipe.json")
    assert written["rollout"]["harness"] == HarnessSettings().model_dump()
    changed = recipe.model_copy(
        update={"rollout": RolloutSettings(grammar="harness", harness={"curated": 7})}
    )
    Run.start(tmp_path / "other", changed, resume=False)
    trained = rollout_settings(str(tmp_path / "other" / "model"), {}, PROTOCOLS["harness-1"].rollout)
    assert (trained.harness.curated, trained.grammar, trained.context) == (7, "harness", "append")
    given = {"grammar", "rollout", "harness"}
    assert given & set(tomllib.loads((ROOT / "recipes" / "harness-1.toml").read_text()))
    assert set(
        tomllib.loads((ROOT / "recipes" / "harness-1.toml").read_text())["rollout"]["harness"]
    ) == set(HarnessSettings.model_fields)


def test_h1_8_what_failed_teaches_nothing_and_moves_no_baseline() -> None:
    good = rolled([call("search", query="lim"), call("end")])
    failed = replace(good, stop_reason=StopReason.ERROR, error="x", reward=-0.5)
    group = [replace(good, reward=1.0), replace(good, reward=0.0), failed]
    kept = without_failed(group)
    assert kept[:2] == group[:2]
    assert kept[2].reward == 0.5
    assert not any(any(segment.loss_mask) for segment in kept[2].segments)
    assert without_failed(group[:2]) == group[:2]
    assert step_metrics(group)["stop/failed"] == pytest.approx(1 / 3)
    assert "stop/failed" not in step_metrics(group[:2])


V3 = (
    "0.7*f_beta + 0.3*pool_recall + answer_curated + 0.8*answer_recall + 0.4*answer_pool_recall"
    " - 0.35*answer_missed - 0.02*turn_ramp + 0.25*diversity - 0.08*diversity_shortfall"
    " + floor(0.001) + otherwise(curated, -0.2) + otherwise(parsed, -0.5)"
)


@pytest.mark.parametrize(
    ("chosen", "pool", "expected"),
    [
        # F2 is 5·2/(2 + 4·2) = 1; two kinds of tools of six.
        (["a", "b"], "ab", 0.7 + 0.3 + 1 + 0.8 + 0.4 + 0.25 / 3 - 0.32),
        # F2 of one of two, and the answer's document is found and not chosen.
        (["b"], "ab", 0.7 * 5 / 9 + 0.3 + 0.4 - 0.35 + 0.25 / 3 - 0.32),
        (["c"], "c", 0.001),
        ([], "ab", -0.2),
    ],
)
def test_a_set_is_worth_what_the_published_terms_say(
    chosen: list[str], pool: str, expected: float
) -> None:
    question = Question("q", "Who?", (), {"documents": ["a", "b"], "answer_documents": ["a"]})
    found = Call(0, "q", Source.RETRIEVER, [Document(name, "", "") for name in pool], tool="search")
    done = replace(rolled([call("search", query="lim"), call("end")]), question=question, chosen=chosen)
    calls = [found, Call(1, "{}", Source.FORCED, tool="curate", turn=1)]
    assert Rubric.read(V3, HARNESS).score(replace(done, calls=calls))[0] == pytest.approx(expected)
    late = replace(calls[1], turn=24)
    if expected > 0.01:
        found_late = Rubric.read(V3, HARNESS).score(replace(done, calls=[found, late]))[0]
        assert found_late == pytest.approx(expected - 5 * 0.02)


def test_what_a_recipe_lacks_is_one_line() -> None:
    recipe = open_recipe(str(ROOT / "recipes" / "harness-1-world.toml"))
    with pytest.raises(DataError, match="no question of world:sets-train names its documents"):
        demand_documents(recipe, [Question("q", "Who?", ("a",))])
    for search in (SearchSettings(), SearchSettings(router="first:2", engine="world")):
        with pytest.raises(ConfigError, match=r"set search.engine and search.router = always"):
            demand_tools(recipe.rollout, search)
    with pytest.raises(ConfigError, match="take render:5"):
        demand_tools(
            recipe.rollout.model_copy(update={"context": "shorten:9"}),
            SearchSettings(router="always", engine="world"),
        )


def test_three_replies_that_cannot_be_read_are_told_and_a_fourth_ends_it() -> None:
    wrong = "<tool_call>{search</tool_call>"
    mended = rolled([wrong, wrong, wrong, call("search", query="lim"), wrong, call("end")])
    assert (mended.stop_reason, mended.malformed) == (StopReason.ANSWER, 4)
    assert "the call is not valid JSON" in prompts(mended)[1]
    ended = rolled([call("search", query="lim"), *[wrong] * 4])
    assert ended.stop_reason is StopReason.MALFORMED
    reward = "f_beta + otherwise(curated, -0.2) + otherwise(parsed, -0.5)"
    assert Rubric.read(reward, HARNESS).score(ended)[0] == -0.2
    seeded = rolled([call("search", query="lim"), *[wrong] * 4], harness={"auto_seed": 2})
    assert Rubric.read(reward, HARNESS).score(seeded)[0] == -0.5


def test_calls_of_one_reply_take_effect_in_their_order() -> None:
    reply = call("search", query="lim") + call("curate", add=["a", "c"]) + call("search", query="else")
    trajectory = rolled([reply, call("end")])
    assert trajectory.chosen == ["a"]
    assert [[d.id for d in c.documents] for c in trajectory.calls] == [["a", "b"], [], ["c"], []]
    fanned = rolled([call("fan_out", queries=["lim", "else"]), call("end")])
    assert [[d.id for d in c.documents] for c in fanned.calls] == [["a", "b"], ["c"], []]


def test_a_failed_search_is_told_and_the_others_go_on() -> None:
    trajectory = rolled(
        [call("fan_out", queries=["lim", "bad"]) + call("search", query="else"), call("end")],
        fails="bad",
    )
    assert [c.error for c in trajectory.calls if c.error] != []
    assert "Kim is big" in prompts(trajectory)[1]


def test_verdicts_are_kept_with_their_claims() -> None:
    said = call(
        "verify", ids=["a", "b", "no"], claim="Zo rules", verdict=["yes", "no"], reason=["it says so"]
    )
    trajectory = rolled([call("search", query="lim"), said, call("end")])
    text = " ".join(prompts(trajectory)[2].split())
    assert "Zo rules yes: a (it says so)" in text
    assert "Zo rules no: b" in text
    assert "Not among the documents found: no." in text


def test_a_memory_is_what_its_recorded_calls_make_of_it() -> None:
    [trajectory] = gathered(load_questions("world:sets-test")[:1])
    settings = HarnessSettings()
    memory = replay(trajectory.calls, settings)
    assert list(memory.chosen) == trajectory.chosen
    again = json.loads(json.dumps([one.input for one in trajectory.calls]))
    assert again == [one.input for one in trajectory.calls]


def gathered(questions: Sequence[Question], context: str = "render:5") -> list[Trajectory]:
    rollout = {"max_turns": TURNS, "max_tokens_per_turn": REPLY, "budget": ROOM}
    agent = Agent(ScriptedPolicy(TOKENIZER, gatherer(TOKENIZER), context=WINDOW), TOKENIZER)
    return list(
        agent.roll_out(
            questions,
            engine=world_engine(1),
            grammar="harness",
            context=context,
            rollout=rollout,
            prompt="world",
            k=3,
            style="named",
            max_searches=1000,
            max_new_tokens=TURNS * REPLY,
        )
    )


def test_forty_turns_in_a_small_window_find_the_whole_set_and_append_overflows() -> None:
    questions = load_questions("world:sets-test")[:2]
    for question, trajectory in zip(questions, gathered(questions), strict=True):
        assert set(trajectory.chosen or ()) == set(question.metadata["documents"])
        assert max(one.turn for one in trajectory.calls) + 1 == TURNS - 1
        assert max(segment.prompt_len for segment in trajectory.segments) <= ROOM
        assert measured(trajectory, "set_recall") == measured(trajectory, "set_precision") == 1.0
    for trajectory in gathered(questions, "append"):
        assert trajectory.stop_reason is StopReason.CONTEXT_FULL
        assert max(one.turn for one in trajectory.calls) < 12
        assert measured(trajectory, "set_recall") < 0.8


def journalled(replies: Callable[[Request], str], path: Path) -> Trajectory:
    """A rollout whose replies are written down as they end."""
    question = load_questions("world:sets-test")[0]
    search = SearchSettings(router="always", engine="world", k=3, style="named", max_searches=1000)
    settings = RolloutSettings(
        grammar="harness", context="render:5", budget=ROOM, max_turns=TURNS, max_tokens_per_turn=REPLY
    )
    engine = world_engine(1)
    rollout = Rollout(
        ScriptedPolicy(TOKENIZER, replies, context=WINDOW),
        TOKENIZER,
        Sampling(1.0, TURNS * REPLY),
        search=SearchTool(engine, search.rule, search),
        tools=tools_of(settings, search, engine),
        settings=settings,
        journal=Journal(path),
    )
    prompt = encode(TOKENIZER, "world", question.question)
    with rollout:
        [trajectory] = rollout.run([Task(question, prompt, question.id, message=question.question)])
    return trajectory


def test_a_killed_trajectory_goes_on_from_its_journal(tmp_path: Path) -> None:
    path, replies = tmp_path / "turns.jsonl", gatherer(TOKENIZER)
    whole = journalled(replies, tmp_path / "whole.jsonl")
    asked: list[Request] = []

    def noted(request: Request) -> str:
        asked.append(request)
        return replies(request)

    def dies(request: Request) -> str:
        if len(Journal(path)._known) == 17:
            os.kill(os.getpid(), signal.SIGKILL)
        return replies(request)

    child = os.fork()
    if not child:
        journalled(dies, path)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    resumed = journalled(noted, path)
    assert len(asked) == TURNS - 17
    assert [s.token_ids for s in resumed.segments] == [s.token_ids for s in whole.segments]
    assert resumed.chosen == whole.chosen
