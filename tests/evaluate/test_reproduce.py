"""docs/reproduce.md: its commands parse as they stand there, and its tables are copied without slips."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from innersearch.cli import app, train

TEXT = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^innersearch (.*)$", TEXT, re.MULTILINE)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for table in re.findall(r"^\|.*\| Avg \|\n\|[-|]*\n((?:\|.*\|\n)+)", TEXT, re.MULTILINE)
    for line in table.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    tokens = shlex.split(command)
    if tokens[0] == "train":
        train.read_recipe(tokens[1:])
    app.parse_args(tokens, exit_on_error=False, print_error=False)


def test_averages_are_those_of_their_rows() -> None:
    assert len(ROWS) > 50
    for name, *cells, average in ROWS:
        values = [float(cell) for cell in cells]
        unit = 0.001 if average.startswith(".") else 0.1
        assert len(values) in (6, 7)
        assert abs(sum(values) / len(values) - float(average)) <= 0.75 * unit, name


def test_values_are_multiples_of_what_they_are_said_to_be() -> None:
    """Percentages of 500 questions are multiples of 0.2."""
    for name, *cells, average in ROWS:
        if not average.startswith("."):
            for value in map(float, cells[:-1]):
                assert abs(value * 5 - round(value * 5)) < 1e-6, (name, value)
