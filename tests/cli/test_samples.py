"""Trajectories that are printed while a model is trained, and as pictures."""

from __future__ import annotations

import io
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from innersearch import Agent, Question
from innersearch.cli import main
from innersearch.cli.console import SafeConsole
from innersearch.cli.samples import last_lines, print_newest_group
from innersearch.config import Recipe
from innersearch.policy.plain import plain_tokenizer
from innersearch.testing import ScriptedEngine, ScriptedPolicy
from innersearch.trajectories import to_line
from innersearch.world.bundled import BUNDLED
from tests.cli.test_cli import fails

ASKED = Question("q1", "Who founded Coltek?", ("Zoe",))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one step: two groups of two, of which the second of each is wrong."""
    tokenizer = plain_tokenizer(BUNDLED)
    wrong = iter([False, True] * 2)

    def reply(request: object) -> str:
        return f"<think>so</think><answer>{'Ann' if next(wrong) else 'Zoe'}</answer>"

    agent = Agent(ScriptedPolicy(tokenizer, reply), tokenizer)
    asked = [ASKED, Question("q2", "Who founded Mamsoft?", ("Zoe",))]
    rolled = agent.roll_out(asked, engine=ScriptedEngine({}), repetitions=2, reward="em", prompt="world")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "trajectories.jsonl").write_text("".join(to_line(found) + "\n" for found in rolled))
    return folder


def test_the_newest_group_is_printed_with_rewards_and_advantages(run: Path) -> None:
    recipe, file = Recipe.model_validate({"trainer": {"group_size": 2}}), io.StringIO()
    print_newest_group(run, recipe, SafeConsole(file=file, width=120, markup=False))
    said = file.getvalue()
    assert "Coltek" not in said
    assert said.count("Who founded Mamsoft?") == 2
    assert "1 of 2: reward 1.000  advantage +0.500  em 1" in said
    assert "2 of 2: reward 0.000  advantage -0.500  em 0" in said


def test_nothing_is_printed_before_anything_is_written(tmp_path: Path) -> None:
    file = io.StringIO()
    for begun in (False, True):
        if begun:
            (tmp_path / "trajectories.jsonl").touch()
        print_newest_group(tmp_path, Recipe(), SafeConsole(file=file))
    assert not file.getvalue()


@pytest.mark.parametrize("length", [0, 10, 1 << 16, (1 << 16) + 1])
def test_last_lines_are_whole(tmp_path: Path, length: int) -> None:
    lines = [bytes([65 + n]) * length + b"." for n in range(5)]
    file = tmp_path / "lines"
    file.write_bytes(b"\n".join(lines) + b"\ntorn")
    for number in (1, 3, 5, 9):
        assert last_lines(file, number) == lines[-number:]


def test_a_picture_holds_what_the_terminal_shows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = run.parent / "picture.svg"
    assert main(["view", str(run), "--term", "--only", "right", "-n", "1", "--svg", str(picture)]) == 0
    assert os.fspath(picture) in capsys.readouterr().out
    drawn = picture.read_text(encoding="utf-8")
    words = " ".join("".join(ET.fromstring(drawn).itertext()).split())
    assert "Coltek?" in words
    assert "Zoe" in words
    assert "Mamsoft" not in words
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "").replace(
        "https://www.textualize.io", ""
    )
    assert "add --term" in fails(capsys, "view", str(run), "--svg", str(picture))
