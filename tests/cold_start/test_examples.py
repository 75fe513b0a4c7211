"""Examples: ours, those of a file, and what becomes of their lines in the tags of a grammar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.assemble.sources import load_questions
from innersearch.cold_start.examples import Example, Examples, read_examples, response, slots
from innersearch.errors import ConfigError, DataError
from innersearch.grammar import GRAMMARS, grammar_of, last_answer, scan
from innersearch.grammar.base import Malformed
from innersearch.metrics import normalise
from innersearch.real.facts import RELATIONS
from innersearch.rewards import strict_format
from innersearch.rewards.format import one_thought
from innersearch.types import Kind

TEXTS = ["I need it.", "capital of Peru", "The capital of Peru is Lima.", "I know.", "Lima"]
WRITABLE = ("tags", "rag-r1", "rag-r1-single", "r1-searcher", "asearcher")


def test_ours_are_about_nothing_that_the_atlas_asks_and_in_no_wording_of_its_test() -> None:
    examples = read_examples()
    assert examples.most == 3
    asked = {normalise(name) for q in load_questions("atlas:test") for name in q.metadata["chain"]}
    for some in examples.by_searches:
        assert len(some) == len(examples.by_searches[0])
        for example in some:
            assert normalise(example.answer) not in asked
            for relation in RELATIONS.values():
                for wording in relation.test:
                    first, last = wording.split("{x}")
                    assert not (
                        example.question.startswith(first or "?") and example.question.endswith(last)
                    )


def test_every_number_of_searches_has_the_same_questions_and_answers() -> None:
    """How often an example searches says nothing about what it asks."""
    kinds = [{(one.question, one.answer) for one in some} for some in read_examples().by_searches]
    assert all(kind == kinds[0] for kind in kinds)


def test_lines_are_as_the_module_shows_them() -> None:
    [first, *_] = read_examples().by_searches[1]
    assert [line.split()[0] for line in first.lines().splitlines()] == [
        *("Question:", "Thought:", "Search:", "Result:", "Thought:", "Answer:")
    ]
    pairs = read_examples().results().split("\n\n")[:-1]
    assert len(pairs) == len(set(pairs)) > 10
    assert all(pair.startswith("Search: ") and "\nResult: " in pair for pair in pairs)


@pytest.mark.parametrize("name", WRITABLE)
def test_a_response_reads_back_in_its_grammar(name: str) -> None:
    grammar = grammar_of(name)
    for searches in range(4):
        texts = [*TEXTS[:3] * searches, *TEXTS[3:]]
        assert len(texts) == len(slots(searches))
        text = response(grammar, texts)
        assert last_answer(text, grammar).strip() == "Lima"
        actions = grammar.actions(scan(text, grammar), text)
        assert not isinstance(actions, Malformed)
        queries = [action.inputs for action in actions if action.tool == "search"]
        assert queries == [("capital of Peru",)] * searches
        assert (one_thought if grammar.nested else strict_format)(text, grammar) == 1.0
        results = [block for block in scan(text, grammar) if block.kind is Kind.INFORMATION]
        assert [block.content(text).strip() for block in results] == [TEXTS[2]] * searches


@pytest.mark.parametrize("name", sorted(set(GRAMMARS) - set(WRITABLE)))
def test_a_grammar_without_such_tags_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="take tags"):
        response(grammar_of(name), TEXTS)


def row(searches: int, **others: object) -> dict[str, object]:
    step = {"thought": "I need it.", "search": "x", "information": "x is y."}
    return {
        "question": "What is x?",
        "steps": [step] * searches,
        "thought": "So.",
        "answer": "y",
    } | others


def of_file(folder: Path, *rows: dict[str, object]) -> Examples:
    file = folder / "examples.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return read_examples(str(file))


def test_a_file_takes_their_place(tmp_path: Path) -> None:
    found = of_file(tmp_path, row(0), row(1))
    assert found.text(1) == Example.model_validate(row(1)).lines() + "\n"
    with pytest.raises(ConfigError, match="with 2 searches, 1 at most"):
        found.text(2)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(0), row(2)], "no example with 1 searches"),
        ([row(0, answer=" ")], "row 1 is no example: answer"),
        ([row(0, question="Two\nlines?")], "is no example: question"),
        ([row(0, steps=[{"thought": "a"}])], "steps.0.search"),
    ],
)
def test_what_is_no_example_is_named(tmp_path: Path, rows: list[dict[str, object]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        of_file(tmp_path, *rows)
