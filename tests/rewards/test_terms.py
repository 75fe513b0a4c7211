"""Rewards as terms: how they are written, what they add up to, and where measures come from."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from innersearch import score
from innersearch.cli import main
from innersearch.config import Recipe, TermSettings
from innersearch.config.earlier import terms_of
from innersearch.config.reward import read_reward, written
from innersearch.errors import ConfigError, RunError
from innersearch.records import write_json
from innersearch.rewards import MEASURES, Rubric, Scored, Term
from innersearch.rewards.terms import known
from innersearch.runs import Run
from innersearch.types import Call, Document, Source
from tests.scoring import rewarded, rubric, trajectory_of

BEFORE = json.loads(Path("tests/rewards/rewards_before_terms.json").read_text())
"""Rewards by the code of the commit it names, before they were terms."""

RIGHT = (
    "<think>t</think><search>q</search><information>i</information><think>t</think><answer>a</answer>"
)


@pytest.mark.parametrize("name", BEFORE["rewards"])
def test_rewards_are_to_the_last_bit_what_they_were(name: str) -> None:
    old = BEFORE["rewards"][name]
    line = written(terms_of(old["settings"]))
    for number, (text, (reward, parts)) in enumerate(zip(BEFORE["texts"], old["rows"], strict=True)):
        golds = BEFORE["golden_answers"][number % (3 if name == "ttrl" else 2)]
        value, components = rewarded(text, golds, line)
        assert value == reward
        assert {key: components[key] for key in components if key in ("em", "f1", "format")} == parts
        assert list(components)[: len(parts)] == list(parts)


RECIPES = {
    "agent-world": "em",
    "ssrl": "0.9*em + 0.1*format:strict",
    "ssrl-world": "0.9*em + 0.1*format:strict",
    "rejection-world": "0.9*em + 0.1*format:strict",
    "search-r1": "em",
    "search-r1-world": "em",
    "zerosearch": "f1",
    "zerosearch-world": "f1",
    "ttrl-world": "0.9*majority + 0.1*format:strict",
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_have_the_rewards_they_had(name: str) -> None:
    from innersearch.assemble.recipes import toml_of

    recipe = Recipe.model_validate(toml_of(Path(f"recipes/{name}.toml")))
    assert written(recipe.reward) == RECIPES[name]
    Rubric.of(recipe.reward)


measures = st.sampled_from([*MEASURES, "not:answered", "mine.of-a:kind", "e1"])
numbers = st.floats(-1e6, 1e6, allow_nan=False)
settings_of_terms = st.one_of(
    st.builds(TermSettings, measure=measures, weight=numbers),
    st.builds(TermSettings, measure=measures, role=st.just("gate")),
    st.builds(TermSettings, measure=measures, role=st.just("otherwise"), value=numbers),
    st.builds(TermSettings, role=st.just("floor"), value=numbers),
)


@given(st.lists(settings_of_terms, min_size=1, max_size=6))
def test_a_line_says_the_same_as_tables(given_terms: list[TermSettings]) -> None:
    line = written(given_terms)
    assert [TermSettings.model_validate(term) for term in read_reward(line)] == given_terms
    assert Recipe(reward=line).reward == Recipe(reward=given_terms).reward == tuple(given_terms)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("0.5*em f1", "'f1' is no term"),
        ("", "needs a term"),
        ("0.5*", "'0.5\\*' is no term"),
        ("otherwise(answered)", "is no term"),
        ([], "at least 1 item"),
        ([{"weight": 1.0}], "needs a measure"),
        ([{"measure": "em", "role": "floor"}], "no measure"),
        ([{"measure": "em", "wieght": 1.0}], "wieght"),
        ({"answer": "f1", "format_weight": 0.0}, 'write reward = "f1"'),
        ({"format_weight": "much"}, "list of terms"),
    ],
)
def test_impossible_rewards_are_refused(wrong: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Recipe(reward=wrong)


def test_unknown_measures_are_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'format:strict'"):
        rubric("formt:strict")
    with pytest.raises(ConfigError, match="cannot be turned round"):
        rubric("not:majority")
    with pytest.raises(ConfigError, match="judges score finished evaluations"):
        Rubric([Term("judge:http://127.0.0.1:1#m")])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--reward.format-weight", "0"), 'write --reward "em"'),
        (("--reward.answer=f1",), 'write --reward "0.9*f1 + 0.1*format:strict"'),
        (("--reward", "emm"), "did you mean 'em'?"),
    ],
)
def test_old_spellings_on_the_command_line_give_the_new_one(
    option: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "recipes/ssrl-world.toml", *option]) == 1
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_old_tables_in_a_recipe_give_the_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.toml"
    path.write_text('name = "old"\n[reward]\nanswer = "f1"\nformat_weight = 0.0\n')
    assert main(["train", str(path)]) == 1
    assert 'write reward = "f1"' in capsys.readouterr().err.replace("\n", " ")


def old_record() -> dict[str, Any]:
    old = {"answer": "em", "no_search_penalty": 0.0, "no_answer_penalty": 0.0}
    record = Recipe().model_dump(mode="json")
    record["trainer"]["engine"] = record["trainer"].pop("kind")
    return record | {"reward": old | {"format": "strict", "format_weight": 0.1}}


def test_runs_from_before_go_on_with_the_same_reward_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "recipe.json", old_record())
    assert Run(tmp_path / "run").goes_on(Recipe(), resume=True)
    with pytest.raises(RunError, match=r"reward 0\.9\*em \+ 0\.1\*format:strict → f1;"):
        Run(tmp_path / "run").goes_on(Recipe(reward="f1"), resume=True)
    assert Recipe.recorded(old_record()) == Recipe()


def worth(line: str, **measured: float) -> float:
    """What a rubric makes of measured values."""
    return rubric(line).reward(measured)


def test_gates_multiply_the_sum_and_the_first_missing_otherwise_replaces_it() -> None:
    line = (
        "f1 + 0.5*em + gate(one_action) + otherwise(answered, -1.0) + otherwise(balanced, -0.5)"
        " + floor(-0.25)"
    )
    assert worth(line, f1=0.5, em=1.0, one_action=1.0, answered=1.0, balanced=1.0) == 1.0
    assert worth(line, f1=0.5, em=1.0, one_action=0.0, answered=1.0, balanced=1.0) == 0.0
    assert worth(line, f1=0.5, em=1.0, one_action=0.5, answered=1.0, balanced=1.0) == 0.5
    assert worth(line, f1=-2.0, em=0.0, one_action=1.0, answered=1.0, balanced=1.0) == -0.25
    assert worth(line, f1=0.5, em=1.0, one_action=1.0, answered=0.0, balanced=0.0) == -1.0
    assert worth(line, f1=0.5, em=1.0, one_action=1.0, answered=1.0, balanced=0.0) == -0.5


def test_every_term_is_reported_under_its_own_name() -> None:
    _, parts = rewarded(RIGHT, ["a"], "f1_set + 0.5*retrieved + 0.5*format:one-thought + gate(balanced)")
    assert parts.keys() == {"em", "f1", "format", "f1_set", "retrieved", "balanced"}
    assert parts["format"] == 0.0, "that of the reward, and not the strict one, which is 1 here"
    _, both = rewarded(RIGHT, ["a"], "format:strict + format:graded")
    assert both == {"em": 1.0, "f1": 1.0, "format": 1.0, "format:graded": 1.0}


def test_votes_and_other_terms_make_one_sum_once_the_group_is_there() -> None:
    votes = rubric("0.75*majority + 0.25*em + otherwise(answered, -1.0)")
    assert votes.needs_groups
    assert votes.needs_gold
    assert not rubric("0.9*majority + 0.1*format:strict").needs_gold
    group = [
        replace(trajectory_of(f"<answer>{answer}</answer>", golds=["a"]), repetition=n)
        for n, answer in enumerate(["a", "b", "b", " "])
    ]
    scored = [replace(t, reward=r, components=c) for t in group for r, c in [votes.score(t)]]
    assert [t.reward for t in scored] == [0.25, 0.0, 0.0, -1.0]
    settled = votes.settle(scored)
    assert [t.reward for t in settled] == [0.25, 0.75, 0.75, -1.0]
    assert [t.components["vote"] for t in settled] == [0.0, 1.0, 1.0, 0.0]
    assert votes.settle(settled) == settled


def calls_in_pairs(scored: Scored) -> float:
    """A measure from outside, over calls."""
    return float(len(scored.calls) % 2 == 0)


def searching(n: int) -> Any:
    calls = [Call(i, "q", Source.RETRIEVER, [Document("1", "", "")]) for i in range(n)]
    return trajectory_of(RIGHT, golds=["a"], calls=calls)


def test_a_plain_function_is_a_measure_over_calls() -> None:
    mine = Rubric([Term("em"), Term(calls_in_pairs, weight=0.5)])
    assert mine.score(searching(2)) == (
        1.5,
        {"em": 1.0, "f1": 1.0, "format": 1.0, "calls_in_pairs": 1.0},
    )
    assert mine.score(searching(1))[0] == 1.0
    assert mine.needs_gold


def test_a_measure_of_another_package_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    group = "innersearch.measures"
    mine = f"{__name__}:calls_in_pairs"
    points = [EntryPoint("pairs", mine, group), EntryPoint("seven", f"{__name__}:SEVEN", group)]

    def entry_points(**wanted: str) -> EntryPoints:
        return EntryPoints(points).select(**wanted)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    assert "pairs" in known()
    found = rubric("em + 0.5*pairs - not:pairs")
    assert found.score(searching(2))[1]["pairs"] == 1.0
    assert found.score(searching(1))[0] == 0.0
    with pytest.raises(ConfigError, match="did you mean 'pairs'"):
        rubric("pair")
    with pytest.raises(ConfigError, match="'seven' is of type int: its package must offer a function"):
        rubric("seven")


SEVEN = 7


def _failing(_: Scored) -> float:
    raise KeyError("boom")


class _OfGroup:
    name, needs_gold = "grouped", False

    def __init__(self, *values: Any) -> None:
        self.values = values

    def of_group(self, group: Any) -> Any:
        return self.values


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (_failing, "the measure '_failing' failed with KeyError: 'boom'"),
        (lambda _: None, "the measure '<lambda>' failed with TypeError"),
        (lambda _: "much", "the measure '<lambda>' failed with ValueError"),
        (lambda _: float("nan"), "a reward is a finite number, given <lambda> = nan"),
        (_OfGroup(1.0), "the measure 'grouped' failed with ValueError"),
        (_OfGroup(1.0, None), "the measure 'grouped' failed with TypeError"),
        (_OfGroup(1.0, float("nan")), "a reward is a finite number, given grouped = nan"),
    ],
)
def test_measures_that_fail_are_told_by_their_name(measure: Any, said: str) -> None:
    group = [trajectory_of(RIGHT, golds=("a",))] * 2
    with pytest.raises(RunError) as error:
        score(group, Rubric([Term(measure)]))
    assert said in str(error.value)


def test_two_measures_of_one_name_are_told_apart_or_refused() -> None:
    with pytest.raises(ConfigError, match="two measures of this reward are reported as '<lambda>'"):
        Rubric([Term(lambda _: 1.0), Term(lambda _: 0.0)])
    with pytest.raises(ConfigError, match="are reported as 'format'"):
        Rubric([Term("format:graded"), Term(lambda _: 0.0, name="format")])
    own = {"one": lambda _: 1.0, "other": lambda _: 0.25}
    terms = [TermSettings(measure="one"), TermSettings(measure="other", weight=2.0)]
    reward, components = Rubric.of(terms, measures=own).score(trajectory_of(RIGHT, golds=("a",)))
    assert (reward, components["one"], components["other"]) == (1.5, 1.0, 0.25)
    again = Rubric.read("not:em + em - 2*not:em + em").score(trajectory_of(RIGHT, golds=("a",)))
    assert again[0] == 2.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"measure": 3}, "3 is no measure"),
        ({"measure": _OfGroup}, "is no measure"),
        ({"measure": "em", "role": "gates"}, "role add, gate or otherwise, given 'gates'"),
        ({"measure": "em", "role": "floor"}, "a floor is given to the Rubric"),
        ({"measure": "em", "weight": "2"}, "the weight is a finite number, given '2'"),
        ({"measure": "em", "value": float("inf")}, "the value is a finite number, given inf"),
    ],
)
def test_terms_that_make_no_sense_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Term(**given)
    assert said in str(error.value)


@pytest.mark.parametrize("line", ["em - gate(f1)", "-floor(1) + em", "em - otherwise(f1, 1)"])
def test_a_minus_before_what_is_not_added_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="a minus goes with a measure that is added"):
        Rubric.read(line)
