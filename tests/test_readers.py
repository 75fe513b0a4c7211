from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from innersearch.readers import as_answers, balanced, read_questions
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
        Question("test_0", "Who?", ("A", "B"), {"tier": "common"}),
        Question("test_1", "Où?", ("Zürich",), {}),
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


def test_balanced_repeats_small_groups_only() -> None:
    questions = [
        Question(str(i), "?", ("a",), {"group": "big" if i < 9 else "small"}) for i in range(12)
    ]
    sizes = [question.group for question in balanced(questions)]
    assert (sizes.count("big"), sizes.count("small")) == (9, 9)
