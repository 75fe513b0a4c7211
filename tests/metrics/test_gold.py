"""Gold answers in every shape and under every name: read, or refused by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from innersearch.data.check import check
from innersearch.errors import DataError
from innersearch.gold import as_answers, of_row, refuse_unread
from innersearch.readers import as_question

TEXTS = {
    **{"['X', 'Town of X']": ("X", "Town of X"), '["X"]': ("X",), "['X']": ("X",), "['X',]": ("X",)},
    **{"['X' 'Town of X']": ("X", "Town of X"), "['X'\n 'Y'\n 'Z']": ("X", "Y", "Z")},
    "array(['X', \"Y's\"], dtype=object)": ("X", "Y's"),
    "[np.str_('X (band)'), np.str_('Y')]": ("X (band)", "Y"),
    **{"('X', 'Y')": ("X", "Y"), "('X',)": ("X",), "{'X'}": ("X",), "frozenset({'X'})": ("X",)},
    **{'["it\'s", "\\u00e9"]': ("it's", "é"), "['it\\'s']": ("it's",), "[u'X']": ("X",)},
    **{'["X", 7]': ("X", "7"), '[["X", "Y"]]': ("X", "Y"), "[]": (), "array([], dtype=object)": ()},
    **{'{"target": ["X"]}': ("X",), "{'value': 'X', 'aliases': ['Y']}": ("X", "Y")},
    **{"array([1998, 7])": ("1998", "7"), "[np.int64(7)]": ("7",)},
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_list_stored_as_text_is_a_list(text: str) -> None:
    assert set(as_answers(text)) == set(TEXTS[text])
    if TEXTS[text] and not TEXTS[text][0].isdigit():
        assert as_answers([text]) == as_answers(text)


@pytest.mark.parametrize(
    "text",
    [
        "[Fe/H]",
        "[sic] the end",
        "(3, 4)",
        "[0, 1)",
        '"Heroes"',
        '("Heroes") live',
        "{x}",
        "AC/DC",
        "x|y",
    ],
)
def test_an_answer_that_begins_with_a_bracket_is_an_answer(text: str) -> None:
    assert as_answers(text) == as_answers([text]) == (text,)


@pytest.mark.parametrize(
    "text",
    [
        *("['X', 'Y'", "['X' 'Y' ... 'Z']", "['X', nan]", "['O''Brien']", "['X'; 'Y']", "('X', 'Y'"),
        *("[1998]", "[1998, 1999]", "[Paris, Lutetia]", "X | Y", "X<SEP>Y", '[["X"], ["Y"]]'),
        *("[array(['X'], dtype=object)]", '{"name": "X"}'),
    ],
)
def test_a_text_that_may_be_a_list_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        as_answers(text)


def test_columns_for_several_answers_do_not_hold_them_in_one_text() -> None:
    for text in ("Paris; Lutetia", "Paris|Lutetia", "Paris\nLutetia"):
        with pytest.raises(DataError, match=r"'golden_answers': .* may be several answers in one text"):
            of_row({"golden_answers": text})
        assert of_row({"answer": text}) == (text,)
    assert of_row({"answers": "[1998, 1999]"}) == ("1998", "1999")
    assert of_row({"golden_answers": ["Paris; Lutetia"]}) == ("Paris; Lutetia",)


LAYOUTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "FlashRAG": ({"golden_answers": ["A", "B"]}, ("A", "B")),
    "Search-R1": (
        {"golden_answers": ["A"], "reward_model": {"ground_truth": {"target": np.array(["A"], object)}}},
        ("A",),
    ),
    "verl, a text": ({"reward_model": {"style": "rule", "ground_truth": "A"}}, ("A",)),
    "verl, a list": ({"reward_model": {"ground_truth": ["A", "B"]}}, ("A", "B")),
    "verl, JSON": ({"reward_model": '{"ground_truth": "{\\"target\\": [\\"A\\"]}"}'}, ("A",)),
    "MuSiQue": ({"answer": "A", "answer_aliases": ["B", "C"], "answerable": True}, ("A", "B", "C")),
    "TriviaQA": (
        {"answer": {"value": "A", "aliases": ["A", "B"], "normalized_aliases": ["b"], "type": "Wiki"}},
        ("A", "B"),
    ),
    "TriviaQA, its own file": ({"Answer": {"Value": "A", "Aliases": ["B"]}}, ("A", "B")),
    "Natural Questions": ({"answer": ["A", "B"]}, ("A", "B")),
    "PopQA": (
        {"possible_answers": '["A", "B"]', "obj": "A", "s_aliases": '["S"]', "o_aliases": '["B"]'},
        ("A", "B"),
    ),
    "2Wiki": ({"_id": "x", "answer": "A", "answer_id": "Q7", "type": "bridge"}, ("A",)),
    "SQuAD": ({"answers": {"text": ["A", "A"], "answer_start": [1, 1]}}, ("A",)),
    "WebQuestions": ({"url": "http://x", "answers": ["A"]}, ("A",)),
    "GAIA": ({"task_id": "t", "Final answer": "7", "Annotator Metadata": {"Steps": "x"}}, ("7",)),
    "ASearcher": ({"answer": "A", "aug_answer": ["B"]}, ("A", "B")),
    "several columns": ({"answer": "A", "answers": ["A", "B"]}, ("A", "B")),
    "the same once more": ({"golden_answers": ["A"], "label": "hard", "target": "A"}, ("A",)),
    "about answers": ({"answer": "A", "answer_type": "person", "wrong_answers": ["B"]}, ("A",)),
    "an explanation": ({"golden_answers": ["A"], "answer_explanation": "because " * 40}, ("A",)),
    "a class": ({"answer": "A", "label": 3}, ("A",)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_gold_answers_of_published_layouts(name: str) -> None:
    row, answers = LAYOUTS[name]
    question = as_question({"question": "Who?"} | row, "row 1", 1)
    assert question.golden_answers == answers


@pytest.mark.parametrize(
    "row",
    [
        *(
            {"answer": "A", name: "B"}
            for name in ("solution", "target", "gold", "label", "ans", "synonyms")
        ),
        *({"answer": "A", name: ["B"]} for name in ("alt_answers", "alias_list", "AnswerVariants")),
        {"golden_answers": ["A"], "more_aliases": ["B"]},
        {"golden_answers": ["A"], "acceptable_answers": "['B']"},
        {"golden_answers": ["A"], "alternative_answer": 1969},
        {"answer": "A", "answer_forms": {"short": "B"}},
    ],
)
def test_a_column_that_looks_like_answers_and_is_not_read_is_named(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"row 1 is no question: its column '.*' looks like"):
        as_question({"question": "Who?"} | row, "row 1", 1)
    assert as_question({"question": "Who?"} | row, "row 1", 1, labelled=False).question == "Who?"


def test_columns_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(DataError, match="'golden_answers' and in 'answer' are not the same"):
        of_row({"golden_answers": ["A"], "answer": "B"})
    refuse_unread({"golden_answers": ["The Sun"], "gold_alias": "sun"}, ["The Sun"])


def test_metadata_that_look_like_answers_are_no_answers_and_check_says_so(tmp_path: Path) -> None:
    rows = [
        {"question": "Who is it?", "golden_answers": ["X"], "metadata": {"aliases": ["Y"]}},
        {"question": "Who is that?", "golden_answers": ["X"], "metadata": {"o_aliases": ["Z"]}},
        {"question": "Who is there?", "golden_answers": ["X"], "metadata": {"group": " "}},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, findings = check(path)
    assert [question.golden_answers for question in found] == [("X",)] * 3
    assert findings.odd["metadata that are not read look like further gold answers"] == ["1"]
    assert {question.group for question in found} == {"q"}
