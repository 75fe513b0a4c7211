"""Every name that earlier versions had is refused with the name of today, wherever it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from innersearch.assemble.recipes import open_recipe, recipe_with
from innersearch.cli import main
from innersearch.config import Recipe
from innersearch.config.earlier import RENAMED, of_today
from innersearch.errors import ConfigError

TODAY = {
    ("trainer", "engine", "verl"): ("write kind = 'verl' below [trainer]", "write --trainer verl"),
    ("reward", "answer", "f1"): ("0.9*f1 + 0.1*format:strict",) * 2,
    ("reward", "format", "graded"): ("0.9*em + 0.1*format:graded",) * 2,
    ("reward", "format_weight", 0.0): ('reward = "em"', '--reward "em"'),
    ("reward", "no_answer_penalty", 0.5): ("- 0.5*not:answered",) * 2,
    ("reward", "no_search_penalty", 0.25): ("- 0.25*not:searched",) * 2,
}
"""Table, key and value; what is written instead in a recipe, and on the command line."""


def test_every_old_name_is_tried() -> None:
    assert {key[:2] for key in TODAY} == {(old.table, key) for old in RENAMED for key in old.keys}


@pytest.mark.parametrize("old", TODAY, ids=lambda old: ".".join(map(str, old[:2])))
def test_old_names_give_those_of_today(
    old: tuple[str, str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, key, value = old
    in_recipe, as_option = TODAY[old]

    def refused(*arguments: str) -> str:
        assert main(["train", *arguments]) == 1
        return " ".join(capsys.readouterr().err.split())

    file = tmp_path / "old.toml"
    file.write_text(f'name = "old"\n[{table}]\n{key} = {value!r}\n')
    assert in_recipe in refused(str(file))
    option = f"--{table}.{key.replace('_', '-')}"
    assert as_option in refused("ssrl-world.toml", option, str(value))
    assert as_option in refused("ssrl-world.toml", f"--{table}.{key}={value}")
    with pytest.raises(ConfigError) as said:
        open_recipe(str(file))
    assert in_recipe in str(said.value)
    for overrides in ({table: {key: value}}, {"stage": [{"name": "one", table: {key: value}}]}):
        with pytest.raises(ConfigError) as said:
            recipe_with("ssrl-world", overrides)
        assert in_recipe in str(said.value)


def test_several_old_options_give_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--reward.answer", "f1", "--seed", "1", "--reward.format-weight=0"]
    assert main(["train", "ssrl-world.toml", *given]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert 'reward.answer, --reward.format-weight is gone: write --reward "f1"' in said


def test_records_of_earlier_runs_are_read_and_what_makes_no_sense_is_told() -> None:
    record = {"trainer": {"engine": "verl", "steps": 3}, "reward": {"answer": "f1", "format_weight": 0}}
    assert Recipe.recorded(record) == Recipe.model_validate(
        {"trainer": {"kind": "verl", "steps": 3}, "reward": "f1"}
    )
    assert of_today(record["trainer"]) == record["trainer"]
    with pytest.raises(ValueError, match="a list of terms"):
        Recipe.recorded({"reward": {"format_weight": "much"}})
