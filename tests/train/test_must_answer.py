"""Which groups must answer: from seed, question and step, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from innersearch import prompts
from innersearch.assemble.recipes import open_recipe
from innersearch.config import Recipe
from innersearch.grammar import ASEARCHER
from innersearch.train.tasks import task_of
from innersearch.types import Question
from tests.families import tokenizer_of

TOKENIZER = tokenizer_of("byte_bpe")
PLAIN = (1, 2, 3)
RECIPE = open_recipe(str(Path(__file__).parents[2] / "recipes" / "asearcher.toml"))


def demanded(recipe: Recipe, number: int, step: int, repetition: int = 0) -> bool | None:
    question = Question(f"q{number}", "Who?", ("a",), {"kind": "x"})
    task = task_of(recipe, TOKENIZER, question, PLAIN, row=number, step=step, repetition=repetition)
    must = task.question.metadata.get("must_answer")
    assert task.question.metadata["kind"] == "x"
    assert task.group == f"{step}/{number}"
    expected = prompts.encode(TOKENIZER, "asearcher-must-answer", "Who?", grammar=ASEARCHER)
    assert task.prompt_ids == (expected if must else PLAIN)
    assert ("most likely answer" in task.message) == bool(must)
    return must


def test_a_share_of_the_groups_must_answer_and_all_of_a_group_alike() -> None:
    drawn = [demanded(RECIPE, number, step) for number in range(20) for step in range(1, 11)]
    assert sum(map(bool, drawn)) / len(drawn) == pytest.approx(0.3, abs=0.1)
    assert [demanded(RECIPE, 3, 5, repetition) for repetition in range(4)] == [
        demanded(RECIPE, 3, 5)
    ] * 4
    again = [demanded(RECIPE, number, step) for step in range(1, 11) for number in range(20)]
    assert sorted(map(bool, again)) == sorted(map(bool, drawn))
    other = RECIPE.model_copy(update={"seed": 1})
    assert [demanded(other, number, 1) for number in range(20)] != drawn[::10]


def test_nothing_is_drawn_where_nobody_must() -> None:
    plain = RECIPE.model_copy(update={"prompt": RECIPE.prompt.model_copy(update={"must_answer": 0.0})})
    assert demanded(plain, 1, 1) is None
