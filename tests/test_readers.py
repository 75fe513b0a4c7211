from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from innersearch.assemble.sources import load_questions
from innersearch.errors import DataError
from innersearch.gold import as_answers
from innersearch.readers import (
    as_question,
    balanced,
    read_each,
    read_questions,
    with_shuffled_gold,
    with_unique_ids,
)
from innersearch.types import Question


def test_flashrag_rows(tmp_path: Path) -> None:
    rows = [
        {
            "id": "test_0",
            "question": "Who?",
            "golden_answers": ["A", "B"],
            "metadata": {"tier": "common"},
        },
        {"id": "test_1", "question": " Où? ", "golden_answers": "Zürich"},
    ]
    path = tmp_path / "nq.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert read_questions(path) == [
        Question("test_0", "Who?", ("A", "B"), {"tier": "common", "data_source": "nq"}),
        Question("test_1", "Où?", ("Zürich",), {"data_source": "nq"}),
    ]


def test_search_r1_rows_with_gold_answers_in_the_reward_model(tmp_path: Path) -> None:
    """Search-R1's merged file repeats ids between NQ and HotpotQA."""
    rows = [
        {
            "id": "train_0",
            "question": question,
            "data_source": source,
            "prompt": [{"content": "Answer the given question.", "role": "user"}],
            "reward_model": {"ground_truth": {"target": answers}, "style": "rule"},
        }
        for question, source, answers in (("Who?", "nq", ["A"]), ("Where?", "hotpotqa", ["B", "C"]))
    ]
    path = tmp_path / "train.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    found = read_questions(path)
    assert [(q.id, q.golden_answers, q.group) for q in found] == [
        ("nq:train_0", ("A",), "nq"),
        ("hotpotqa:train_0", ("B", "C"), "hotpotqa"),
    ]


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        ("Paris", ("Paris",)),
        (["Paris", "Lutetia"], ("Paris", "Lutetia")),
        (np.array(["Paris"], dtype=object), ("Paris",)),
        ({"target": np.array(["Paris"], dtype=object)}, ("Paris",)),
        ({"target": "Paris"}, ("Paris",)),
        (1969, ("1969",)),
        ([1998.0, -3.0, 2.5], ("1998", "-3", "2.5")),
        (1e300, ("1e+300",)),
        ([], ()),
        ([""], ()),
        ({}, ()),
    ],
)
def test_gold_answers_of_any_shape(value: object, answers: tuple[str, ...]) -> None:
    assert as_answers(value) == answers


def test_rows_without_ids_and_with_equal_ids_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    rows = [{"question": "a", "golden_answers": ["x"]}] * 2 + [
        {"id": "7", "question": "b", "golden_answers": ["y"]}
    ] * 2
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_questions(path)
    assert len({question.id for question in found}) == 4


def test_files_with_the_same_ids_stay_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = [{"id": "1", "question": f"{name}{n}?", "golden_answers": ["x"]} for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load_questions(f"{tmp_path}/a.jsonl,{tmp_path}/b.jsonl")
    assert [question.question for question in found] == ["a0?", "a1?", "a2?", "b0?", "b1?", "b2?"]
    assert len({question.id for question in found}) == 6


def test_an_id_that_occurs_once_is_kept() -> None:
    questions = [Question(i, "?", ("a",), {"data_source": "nq"}) for i in ("1", "1", "nq:1", "nq:1#2")]
    found = [question.id for question in with_unique_ids(questions)]
    assert found[2:] == ["nq:1", "nq:1#2"]
    assert len(set(found)) == 4


@pytest.mark.parametrize("given", [None, "", float("nan")])
def test_an_id_without_a_value_is_none(given: object) -> None:
    row = {"id": given, "question": "Who?", "golden_answers": ["A"]}
    assert as_question(row, "row 4", 4).id == "4"


def test_ids_that_a_table_made_floats_of() -> None:
    row = {"id": 7.0, "question": "Who?", "golden_answers": ["A"]}
    assert as_question(row, "row 4", 4).id == "7"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"n": ' + "9" * 6000 + "}", "row 2 is no JSON: a number has more than 4,300 digits"),
        ("[" * 200_000, "row 2 is no JSON: its brackets are nested too deeply"),
        ("7", "row 2 is no JSON object"),
        ('{"question": "q \\ud800?", "golden_answers": ["a"]}', r"row 2 holds '\\ud800', half of a ch"),
        ('{"id": "\\udfff", "question": "q?", "golden_answers": ["a"]}', r"row 2 holds '\\udfff'"),
        (
            '{"question": "q?", "golden_answers": ["a"], "metadata": {"canary": 7}}',
            "row 2 is no question: a canary is text, given 7",
        ),
    ],
)
def test_rows_that_are_refused_name_their_place(tmp_path: Path, line: str, message: str) -> None:
    path, good = tmp_path / "q.jsonl", '{"question": "\\ud83d\\ude00?", "golden_answers": ["a"]}'
    path.write_text("\n".join([good, line, good]))
    with pytest.raises(DataError, match=message):
        read_questions(path)
    first, wrong, last = read_each(path)
    assert isinstance(wrong, DataError)
    assert first.question == last.question == "\U0001f600?"


def test_rows_without_a_group_belong_to_that_of_their_file(tmp_path: Path) -> None:
    row = {"question": "Who?", "golden_answers": ["A"]}
    labels = [{}, {"data_source": ""}, {"data_source": "nq"}, {"metadata": {"group": "hops"}}]
    for name in ("x/test.jsonl", "y/test.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("\n".join(json.dumps(row | label) for label in labels))

    def groups(*files: str) -> list[str]:
        return [q.group for q in load_questions(",".join(f"{tmp_path}/{name}" for name in files))]

    assert groups("x/test.jsonl") == ["test", "test", "nq", "hops"]
    assert groups("x/test.jsonl", "y/test.jsonl") == [
        *("x/test", "x/test", "nq", "hops"),
        *("y/test", "y/test", "nq", "hops"),
    ]


def test_balanced_repeats_small_groups_only() -> None:
    questions = [
        Question(str(i), "?", ("a",), {"group": "big" if i < 9 else "small"}) for i in range(12)
    ]
    sizes = [question.group for question in balanced(questions)]
    assert (sizes.count("big"), sizes.count("small")) == (9, 9)


def test_shuffled_gold_is_a_permutation_in_which_none_keeps_its_own() -> None:
    questions = [Question(str(n), f"{n}?", (f"a{n}", "also")) for n in range(50)]
    shuffled = with_shuffled_gold(questions, seed=3)
    assert [(q.id, q.question) for q in shuffled] == [(q.id, q.question) for q in questions]
    assert {q.golden_answers for q in shuffled} == {q.golden_answers for q in questions}
    assert all(a.golden_answers != b.golden_answers for a, b in zip(questions, shuffled, strict=True))
    assert with_shuffled_gold(questions, seed=3) == shuffled != with_shuffled_gold(questions, seed=4)
    with pytest.raises(DataError, match="give more than one"):
        with_shuffled_gold(questions[:1], seed=0)
