"""Evaluations of agents with other grammars and contexts than the usual ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import innersearch
from innersearch import Agent, Grammar, Kind, Question, Tag
from innersearch.assemble.models import rollout_settings
from innersearch.cli import main
from innersearch.config import RolloutSettings
from innersearch.errors import ConfigError, RunError
from innersearch.evaluate.evaluation import Evaluation
from innersearch.evaluate.run import EvalSettings
from innersearch.grammar import ANSWER, GRAMMARS, one
from innersearch.policy.loading import load_tokenizer
from innersearch.stored import read_json, read_lines
from innersearch.testing import ScriptedEngine, ScriptedPolicy
from innersearch.world_1.bundled import BUNDLED
from tests.families import tokenizer_of

QUESTION = Question("q", "What is the capital of Peru?", ("Lima",))
FACT = "Lima is the capital of Peru, on and on and on."
MINE = Grammar(
    "mine",
    tags={
        Kind.SEARCH: Tag("<ask>", "</ask>"),
        Kind.INFORMATION: Tag("<seen>", "</seen>"),
        Kind.ANSWER: Tag("<final>", "</final>"),
    },
    reads={Kind.SEARCH: one("search"), Kind.ANSWER: one(ANSWER)},
)


def agent(*replies: str) -> Agent:
    tokenizer = tokenizer_of("byte_bpe")
    return Agent(ScriptedPolicy(tokenizer, list(replies)), tokenizer)


def evaluated(agent: Agent, output: Path, **options: Any) -> dict[str, Any]:
    engine = ScriptedEngine(lambda query: FACT)
    return innersearch.evaluate_agent(agent, [QUESTION], output, engine=engine, **options)


def test_an_agent_is_evaluated_in_a_grammar_of_ones_own_and_known_by_it(tmp_path: Path) -> None:
    writes = agent("<ask>capital of Peru</ask>", "<final>Lima</final>")
    summary = evaluated(writes, tmp_path / "mine", grammar=MINE, metrics=["format:strict"])
    assert (summary["em"]["all"]["value"], summary["calls"]) == (1.0, 1.0)
    [record] = read_lines(tmp_path / "mine" / "greedy.jsonl")
    assert (record["answer"], record["scores"]) == ("Lima", {"format:strict": 0.0})
    assert read_json(tmp_path / "mine" / "settings.json")["grammar"]["name"] == "mine"
    evaluated(writes, tmp_path / "mine", grammar=MINE, metrics=["format:strict"], resume=True)
    with pytest.raises(RunError, match="grammar"):
        evaluated(writes, tmp_path / "mine", metrics=["format:strict"], resume=True)


def test_several_queries_and_a_context_enter_evaluations_by_name(tmp_path: Path) -> None:
    replies = "<search>a, b</search>", "<search>c</search>", "<answer>Lima</answer>"
    writes = agent(*replies)
    summary = evaluated(writes, tmp_path / "one", grammar="rag-r1", context="shorten:4")
    assert summary["settings"]["rollout"] == {"grammar": "rag-r1", "context": "shorten:4"}
    assert summary["em"]["all"]["value"] == 1.0
    [trajectory] = innersearch.read_trajectories(tmp_path / "one")
    assert [call.input for call in trajectory.calls] == ["a", "b", "c"]
    assert len(trajectory.segments) == 2
    same = {"grammar": GRAMMARS["rag-r1"], "context": "shorten:4"}
    assert evaluated(writes, tmp_path / "one", **same, resume=True) == summary


def test_the_usual_way_leaves_no_trace_in_identities(tmp_path: Path) -> None:
    assert "rollout" not in EvalSettings().record()
    assert "rollout" not in EvalSettings(rollout=RolloutSettings(grammar="tags")).record()
    evaluated(agent("<answer>Lima</answer>"), tmp_path / "usual")
    assert {"rollout", "grammar", "tools"}.isdisjoint(read_json(tmp_path / "usual" / "settings.json"))
    with pytest.raises(RunError, match="rollout"):
        evaluated(agent(), tmp_path / "usual", rollout={"max_turns": 2}, resume=True)


def test_a_model_is_evaluated_as_its_run_trained_it(tmp_path: Path) -> None:
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    assert rollout_settings(str(model), {}) == RolloutSettings()
    recipe = {"rollout": {"grammar": "rag-r1", "max_turns": 3}, "of_another": {"version": 1}}
    (model.parent / "recipe.json").write_text(json.dumps(recipe))
    assert rollout_settings(str(model), {}) == RolloutSettings(grammar="rag-r1", max_turns=3)
    given = {"grammar": "tags", "context": "render:2"}
    expected = RolloutSettings(grammar="tags", context="render:2", max_turns=3)
    assert rollout_settings(str(model), given) == expected
    assert rollout_settings(str(model), {}, direct=True) == RolloutSettings()
    stages = [{"recipe": {}}, {"recipe": {"rollout": {"max_turns": 5}}}]
    (model.parent / "recipe.json").write_text(json.dumps(recipe | {"stage": stages}))
    assert rollout_settings(str(model), {}).max_turns == 5
    (model.parent / "recipe.json").write_text('{"rollout": 3}')
    with pytest.raises(RunError, match=r"recipe\.json"):
        rollout_settings(str(model), {})


def test_the_command_line_says_how_a_model_writes(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    replies = ["<search>capital of Peru</search>", "<answer>Lima</answer>"]
    monkeypatch.setattr(Evaluation, "policy", ScriptedPolicy(tokenizer, replies))
    command = ["eval", "world-1", "--data", "world-1:test", "--subset", "1", "--search", "always"]
    options = ["--grammar", "rag-r1", "--context", "render:1", "--max-turns", "4"]
    assert main([*command, *options, "--output", str(tmp_path / "out")]) == 0
    written = read_json(tmp_path / "out" / "settings.json")["rollout"]
    assert written == {"grammar": "rag-r1", "context": "render:1", "max_turns": 4}
    capsys.readouterr()
    for wrong, reason in (("--grammar", "unknown grammar"), ("--context", "no context")):
        assert main([*command, wrong, "nothing", "--output", str(tmp_path / "no")]) != 0
        said = capsys.readouterr().err
        assert reason in said
        assert said.count("\n") == 1
    assert main(["ask", "world-1", "Who?", "--grammar", "rag-r1"]) == 1
    assert "take the router always" in capsys.readouterr().err


def test_queries_of_several_are_refused_where_the_policy_answers_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="take the router always"):
        innersearch.evaluate_agent(agent(), [QUESTION], tmp_path / "x", grammar="rag-r1")
