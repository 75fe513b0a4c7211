"""The commands of docs/conventions.md that need no run, and what docs/command-line.md says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from innersearch.cli import app, main
from innersearch.cli.verbs import HEADINGS
from tests.cli.test_cli import fails

DOCS = Path(__file__).parents[2] / "docs"
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
    for line in (DOCS / "conventions.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d+ ", line)
]
QUICK = {3: 0, 5: 0, 7: 0, 8: 0, 21: 0, 26: 0, 29: 0, 2: 0, 6: 0}
"""Rows whose command runs in seconds, and its exit status."""


def test_all_thirty_rows_name_a_command_and_say_what_is_missing() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 31))
    names = {verb.name for verbs in HEADINGS.values() for verb in verbs}
    for number, what, state, shown in ROWS:
        assert what, number
        assert state in ("✓", "◐", "✗"), number
        assert set(re.findall(r"innersearch (?!VERB)([a-z][a-z0-9]+)", shown)) <= names, shown
        assert state == "✓" or "not" in shown or "missing" in shown, f"row {number} says what is missing"


@pytest.mark.parametrize("number", QUICK)
def test_a_command_of_the_table_runs(number: int, in_empty_folder: None) -> None:
    [command, *_] = re.findall(r"`([^`]+)`", ROWS[number - 1][3])
    words = shlex.split(command)
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    words = words[len(given) :]
    words = [sys.executable, *(["-m", *words] if words[0] == "innersearch" else words[1:])]
    around = os.environ | given
    done = subprocess.run(words, env=around, capture_output=True, text=True, check=False)
    assert done.returncode == QUICK[number], done.stderr
    assert done.stdout.strip()


def test_an_option_is_a_variable_below_the_command_line(capsys, monkeypatch) -> None:
    def found(*more: str) -> int:
        assert main(["search", "world", "teacher of Zerorn", "--json", *more]) == 0
        return len(json.loads(capsys.readouterr().out)["documents"])

    assert found() == 3
    monkeypatch.setenv("INNERSEARCH_SEARCH_K", "2")
    assert found() == 2
    assert found("-k", "1") == 1
    monkeypatch.setenv("INNERSEARCH_SEARCH_K", "many")
    assert "INNERSEARCH_SEARCH_K" in fails(capsys, "search", "world", "x", status=2)


def test_variables_stand_above_a_recipe(monkeypatch) -> None:
    from innersearch.cli import train

    given = ["recipes/ssrl-world.toml", "--trainer.group-size", "4"]
    monkeypatch.setenv("INNERSEARCH_TRAIN_SEED", "7")
    monkeypatch.setenv("INNERSEARCH_TRAIN_TRAINER_STEPS", "9")
    monkeypatch.setenv("INNERSEARCH_TRAIN_TRAINER_GROUP_SIZE", "2")
    train.read_recipe(given)
    _, bound, _ = app.parse_args(["train", *given], print_error=False, exit_on_error=False)
    settings = bound.arguments["settings"]
    assert (settings.seed, settings.trainer.steps, settings.trainer.group_size) == (7, 9, 4)
    assert settings.data == "world:train"


def test_a_recipe_that_is_mistyped_gets_a_hint(capsys) -> None:
    said = fails(capsys, "config", "show", "recipes/ssrl-wrold.toml")
    assert "did you mean 'recipes/ssrl-world.toml'" in said


def test_progress_can_be_silenced(capsys, monkeypatch) -> None:
    from innersearch.cli.progress import SILENCE, Display

    for silent in ("", "1"):
        monkeypatch.setenv(SILENCE, silent)
        with Display() as display:
            display.update("work", 1, 1)
        assert ("work" in capsys.readouterr().err) is (not silent)
