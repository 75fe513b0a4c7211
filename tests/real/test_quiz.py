"""The syntax of quiz files, against an oracle that asks which texts a pattern takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innersearch.assemble.sources import load_questions
from innersearch.errors import DataError
from innersearch.real import quiz
from innersearch.real.quiz import forms, quiz_questions, rows

PIECES = st.recursive(
    st.sampled_from(["a", "b", "c ", r"\|", r"\{", r"\\", r"\:"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map("".join),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: "[" + "|".join(parts) + "]"),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: "{" + "|".join(parts) + "}"),
    ),
    max_leaves=6,
)


def as_regex(pattern: str) -> str:
    """The same as a regular expression, sign by sign."""
    found, signs = "", iter(pattern)
    for sign in signs:
        found += {"{": "(?:", "}": ")?", "[": "(?:", "]": ")", "|": "|"}.get(
            sign, re.escape(next(signs) if sign == "\\" else sign)
        )
    return found


@given(st.lists(PIECES, min_size=1, max_size=2).map("|".join))
def test_forms_are_what_the_pattern_takes(pattern: str) -> None:
    found = list(forms(pattern))
    expression = re.compile(as_regex(pattern))
    assert all(expression.fullmatch(form) for form in found)
    # The first is the longest way through its first alternative, which takes every option.
    without_options = re.sub(r"(?<!\\)((?:\\\\)*)\{", r"\1[", pattern)
    without_options = re.sub(r"(?<!\\)((?:\\\\)*)\}", r"\1]", without_options)
    assert found[0] == next(forms(without_options))


def test_examples_of_the_manual_and_of_the_files() -> None:
    assert list(forms("pat[a|b]pat")) == ["patapat", "patbpat"]
    assert list(forms("{G{eorge} }Washington")) == ["George Washington", "G Washington", "Washington"]
    assert list(forms("Bahr[a|e]in")) == ["Bahrain", "Bahrein"]
    assert "Barber of Seville" in forms("{The }Barber{ of Seville{ IV-i}}")
    for wrong in ("a{b", "[a|b", "x[a}"):
        with pytest.raises(DataError, match="not closed"):
            list(forms(wrong))


def test_rows_go_on_behind_a_backslash(tmp_path: Path) -> None:
    path = tmp_path / "poem"
    path.write_text("one:\\\ntwo:\\\nthree\n\nfour\\:five:six\\\\\nlast:line\n")
    assert [(row.categories, row.number) for row in rows(path)] == [
        (("one", "two", "three"), 1),
        (("four\\:five", "six\\\\"), 5),
        (("last", "line"), 6),
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "index").write_text("africa:Africa{n}:cap{ital}\n")
    (tmp_path / "africa").write_text(
        "Egypt:{Al }Cairo|El Qahira\nEgypt:Memphis\nNowhere:\nMali:...\nOdd\n"
    )
    (tmp_path / "asia").write_text("Japan:Tokyo\nIran:Teh[e|]ran\n")
    monkeypatch.setenv(quiz.PLACE_VARIABLE, str(tmp_path))
    return tmp_path


def test_questions_take_all_answers_and_leave_out_empty_ones(folder: Path) -> None:
    [question] = load_questions("quiz:africa")
    assert question.question == "What is the capital of Egypt?"
    assert question.golden_answers == ("Al Cairo", "Cairo", "El Qahira", "Memphis")
    assert question.group == "africa"
    both = quiz_questions(folder, ("africa", "asia"))
    assert [q.id for q in both] == ["quiz:africa:0", "quiz:asia:0", "quiz:asia:1"]
    assert both == load_questions("quiz:africa+asia")


def test_what_is_wrong_is_named(folder: Path, monkeypatch) -> None:
    with pytest.raises(DataError, match="unknown quiz 'afrika'; did you mean 'africa'"):
        load_questions("quiz:afrika")
    (folder / "asia").write_text("Japan:Tokyo\nIran:Teh[e|ran\n")
    with pytest.raises(DataError, match=r"asia, line 2: a bracket is not closed"):
        load_questions("quiz:asia")
    with pytest.raises(DataError, match="no quiz file at"):
        load_questions("quiz:all")
    monkeypatch.setenv(quiz.PLACE_VARIABLE, str(folder / "nowhere"))
    with pytest.raises(DataError, match="apt-get install bsdgames"):
        load_questions("quiz:all")
