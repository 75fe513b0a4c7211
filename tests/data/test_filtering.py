"""`innersearch data filter`: questions by how often a model answers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from innersearch.assemble.sources import load_questions
from innersearch.cli import main
from innersearch.stored import read_lines
from innersearch.train.filtering import numbers

ARGUMENTS = ("data", "filter", "rows.jsonl", "--policy", "world", "-n", "3", "--max-new-tokens", "48")


def test_numbers_of_a_question() -> None:
    assert numbers({"em": [0, 0, 1], "searches": 0.5})["first"] == 3
    assert numbers({"em": [0, 0, 0], "searches": 0.5})["first"] == 4


@pytest.mark.usefixtures("in_empty_folder")
def test_questions_are_kept_by_their_numbers_and_asked_once(capsys: pytest.CaptureFixture[str]) -> None:
    from innersearch.train.filtering import row

    asked = load_questions("world:validation", ["depth_1"])[:12]
    Path("rows.jsonl").write_text("".join(row(question, {}) + "\n" for question in asked))
    assert main([*ARGUMENTS, "--keep", "correct >= 0"]) == 0
    [everything] = [load_questions("rows-kept.jsonl")]
    assert [question.id for question in everything] == [question.id for question in asked]
    answered = list(read_lines(Path("runs/filter-world-rows/samples.jsonl")))
    assert main([*ARGUMENTS, "--keep", "1 <= correct <= 2", "--resume"]) == 0
    assert list(read_lines(Path("runs/filter-world-rows/samples.jsonl"))) == answered
    right = {record["id"]: sum(record["em"]) for record in answered}
    kept = load_questions("rows-kept.jsonl")
    assert {question.id for question in kept} == {name for name, n in right.items() if 1 <= n <= 2}
    assert all(question.metadata["correct"] == right[question.id] for question in kept)
    assert f"{len(kept)} of 12 questions" in capsys.readouterr().out


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize(
    ("keep", "said"), [("corect == 1", "corect"), ("correct = 1", "is no condition")]
)
def test_a_condition_that_is_none_is_refused_before_anything_is_asked(
    keep: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, "--keep", keep]) != 0
    assert said in capsys.readouterr().err
    assert not Path("runs").exists()
