"""Rows of a question and a response, learnt as if a policy had written them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from innersearch.assemble.agents import Agent
from innersearch.cli import main
from innersearch.config import MaskSettings, PromptSettings, Recipe, RolloutSettings
from innersearch.data.sources import QuestionSource
from innersearch.errors import ConfigError, DataError
from innersearch.extensions import Offers
from innersearch.policy.loading import load_tokenizer
from innersearch.rewards import Rubric
from innersearch.stored import read_json, read_lines
from innersearch.testing import ScriptedPolicy
from innersearch.train import demonstrations
from innersearch.train.demonstrations import demand_source, written
from innersearch.train.spent import KEPT
from innersearch.types import Question, Source
from innersearch.world.bundled import BUNDLED
from innersearch.world.questions import SOURCE

TOKENIZER = load_tokenizer(str(BUNDLED))
QUESTIONS = SOURCE.read("train")[:4]
RECIPE = Recipe(model="world", prompt=PromptSettings(name="world"))
RESPONSE = (
    "<think> I need the capital.</think><search> capital of Peru</search>"
    "<information> Lima is the capital.</information>"
    "<think> The answer is Lima.</think><answer> Lima</answer>"
)


def rows_of(folder: Path, *rows: dict[str, object]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def learnt(data: str, recipe: Recipe = RECIPE, context: int = 512):
    rubric = Rubric.of(recipe.reward)
    return written(recipe.model_copy(update={"data": data}), TOKENIZER, context, rubric)


def test_a_row_is_the_trajectory_of_a_policy_that_wrote_it(tmp_path: Path) -> None:
    """Tokens, masks, calls and reward are those of a rollout."""
    asked = replace(QUESTIONS[0], golden_answers=("Lima",))
    row = {"question": asked.question, "golden_answers": ["Lima"], "response": RESPONSE}
    [one] = learnt(rows_of(tmp_path, row))
    agent = Agent(ScriptedPolicy(TOKENIZER, [RESPONSE]), TOKENIZER)
    [other] = agent.roll_out([asked], prompt="world", reward="0.9*em + 0.1*format:strict")
    [mine], [theirs] = one.segments, other.segments
    assert mine.token_ids == theirs.token_ids
    assert mine.loss_mask == theirs.loss_mask
    assert mine.token_ids[-1] == TOKENIZER.eos_token_id
    assert mine.loss_mask[-1]
    assert not all(mine.loss_mask[mine.prompt_len :])
    assert one.reward == other.reward == 1.0
    assert (one.components, one.answer) == (other.components, "Lima")
    assert [(call.input, call.source) for call in one.calls] == [("capital of Peru", Source.SELF_SEARCH)]


def test_the_mask_is_that_of_the_recipe(tmp_path: Path) -> None:
    data = rows_of(tmp_path, {"question": "Who?", "completion": RESPONSE})
    open_mask = RECIPE.model_copy(update={"mask": MaskSettings(information=False)})
    [one] = learnt(data, open_mask)
    [segment] = one.segments
    assert all(segment.loss_mask[segment.prompt_len :])
    assert "em" not in one.components
    assert one.components["format"] == 1.0


def test_sources_have_the_response_in_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(part: str) -> list[Question]:
        return [replace(q, metadata={**q.metadata, "response": f"{part} {q.id}"}) for q in QUESTIONS]

    found = Offers("mine", QuestionSource, "source", {"mine": QuestionSource("mine:all", read)})
    monkeypatch.setattr(demonstrations, "SOURCES", found)
    demand_source("mine:shown")
    assert [one.question.id for one in learnt("mine:shown")] == [q.id for q in QUESTIONS]


def test_what_cannot_be_learnt(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2 has no text under 'response'.*give it samples"):
        learnt(rows_of(tmp_path, {"question": "a", "response": "b"}, {"question": "c"}))
    with pytest.raises(DataError, match=r"question '.*' of world:train has no text under 'response'"):
        demand_source("world:train")
    with pytest.raises(DataError, match=r"no file of trajectories at nowhere\.jsonl, nor one of rows"):
        demand_source("nowhere.jsonl")
    with pytest.raises(DataError, match=r"row 1: prompt and response have .* the model takes 20"):
        learnt(rows_of(tmp_path, {"question": "Who?", "response": RESPONSE}), context=20)
    turns = RECIPE.model_copy(update={"rollout": RolloutSettings(grammar="tool-call")})
    with pytest.raises(ConfigError, match="turns of a chat"):
        learnt(rows_of(tmp_path, {"question": "Who?", "response": RESPONSE}), turns)


def test_rows_are_learnt_by_a_stage_as_many_as_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": q.question, "response": RESPONSE} for q in QUESTIONS]
    data = rows_of(tmp_path, *rows)
    recipe = tmp_path / "more.toml"
    recipe.write_text(
        'base = "ssrl-world.toml"\nname = "more"\n[[stage]]\nname = "again"\nkind = "sft"\n'
        "questions = 3\nbatch = 2\nepochs = 2\n"
    )
    output = tmp_path / "run"
    assert main(["train", str(recipe), "--data", data, "--output", str(output)]) == 0
    assert "kept    3 of 3 trajectories" in capsys.readouterr().out
    kept = read_json(output / "1-again" / KEPT)
    assert (kept["sampled_tokens"], kept["sampling_s"]) == (0, 0.0)
    tokens = len(TOKENIZER.encode(RESPONSE, add_special_tokens=False)) + 1
    assert 0 < kept["trained_tokens"] < 2 * 3 * tokens
    assert all(step["time/step_s"] > 0 for step in read_lines(output / "1-again" / "metrics.jsonl"))
    assert (output / "model" / "model.safetensors").is_file()
