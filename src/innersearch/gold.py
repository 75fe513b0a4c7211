"""Gold answers in all the shapes and under all the names in which they are in circulation.

A gold answer that is not read costs exact match without a word, so nothing is guessed: the columns of
known layouts are read, a list that a table made a text of is a list again, and a row is refused that has
another column that looks like an answer.

    >>> as_answers("['Paris', 'Lutetia']"), as_answers({"value": "Paris", "aliases": ["Lutetia"]})
    (('Paris', 'Lutetia'), ('Paris', 'Lutetia'))
    >>> of_row({"answer": "Paris", "answer_aliases": ["Lutetia"]})
    ('Paris', 'Lutetia')
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from innersearch.errors import DataError
from innersearch.metrics import normalise

ANSWERS = (
    *("golden_answers", "gold_answers", "possible_answers", "correct_answers", "answers"),
    *("short_answers", "ground_truths", "golden_answer", "gold_answer", "correct_answer"),
    *("ground_truth", "final_answer", "short_answer", "answer"),
)
"""Columns that hold the gold answers: FlashRAG, PopQA, WebQuestions, EntityQuestions and SQuAD, Natural
Questions, GAIA, and what most others have."""
NESTED = ("reward_model", "ground_truth")
"""Where verl keeps them, Search-R1 below that under `target`."""
ALIASES = ("answer_aliases", "aliases", "answer_alias", "aug_answer", "normalized_aliases")
"""Further names of the same answer: MuSiQue, TriviaQA, ASearcher."""
_INNER = ("target", "value", "text", "answer", "answers", "golden_answers", "ground_truth")
_PLURAL = re.compile(r"answers$|truths$|alias|^aug_answer$")
_SURELY = re.compile(r"alias|answer|synonym")
_LOOKS = re.compile(
    r"(^|_)(ans|golds?|golden|targets?|labels?|solutions?|truths?|references?|variants?|alternatives?|"
    r"expected|correct)(_|$)"
)
_NONE = re.compile(
    r"(_|^)(ids?|types?|starts?|ends?|spans?|urls?|uris?|links?|counts?|len|length|format|sources?|scores?|"
    r"sentences?|contexts?|ctxs?|passages?|paragraphs?|docs?|documents?|titles?|pages?|facts?|evidences?|"
    r"files?|paths?|date|entity|entities|index|idx|tokens?|categor(y|ies)|group|kind|lang|language|level|"
    r"style|domain|topic|class|units?|difficulty|quality|model|author|rationale|explanation|reasoning|"
    r"notes?|comments?)$"
    r"|^(s|subject|question|wrong|incorrect|query|prompt)_|^is_|^has_|^o_aliases$"
)
"""What is about an answer, or of something else; PopQA's `o_aliases` are among its possible answers."""
_LONG = 30
"""Words; what is longer is an explanation and no answer."""
_EXACT = 2.0**53
"""Below it a float holds every whole number."""


def of_row(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The gold answers of a row whose columns are in lower case; None where no column holds any.

    Raises:
        DataError: They cannot be read without guessing, or two columns contradict each other.
    """
    given = {name: row[name] for name in ANSWERS if _is_given(row.get(name))}
    if _is_given(nested := _nested(row)):
        given[".".join(NESTED)] = nested
    read = {name: _column(name, value) for name, value in given.items()}
    if not read:
        return None
    best, answers = max(read.items(), key=lambda item: len(set(item[1])))
    keys = {_key(answer) for answer in answers}
    for name, others in read.items():
        if not {_key(other) for other in others} <= keys:
            raise DataError(
                f"its gold answers in {best!r} and in {name!r} are not the same: keep one of the "
                "columns, with all answers that count as right"
            )
    more = (alias for name in ALIASES for alias in _column(name, row.get(name)))
    return _with_new(answers, more) if answers else ()


def refuse_unread(row: Mapping[str, Any], answers: Sequence[str]) -> None:
    """Refuse a row that has further columns that look like gold answers, and are none of `answers`.

    Raises:
        DataError: It has; the message names them.
    """
    read = {*ANSWERS, *ALIASES, NESTED[0]}
    known = {_key(answer) for answer in answers}
    for name, value in row.items():
        # Beside FlashRAG's column, labels and solutions are something else.
        surely = _SURELY.search(name)
        looks = surely or ("golden_answers" not in row and _LOOKS.search(name))
        if name in read or not looks or _NONE.search(name):
            continue
        if any(_key(text) not in known for text in _short_texts(value, numbers=bool(surely))):
            raise DataError(
                f"its column {name!r} looks like gold answers and is not read: put all that count as "
                "right into 'golden_answers' as a list, or rename or remove the column"
            )


def beside(metadata: Mapping[str, Any], answers: Sequence[str]) -> list[str]:
    """The names of metadata that look like further gold answers. They are not read: published sets keep
    there what their own scores do not count.

    >>> beside({"aliases": ["Lutetia"], "o_aliases": ["Rome"], "answer": "paris"}, ["Paris"])
    ['aliases']
    """
    known = {_key(answer) for answer in answers}
    return [
        name
        for name, value in metadata.items()
        if _SURELY.search(name.lower())
        and not _NONE.search(name.lower())
        and any(_key(text) not in known for text in _short_texts(value, numbers=False))
    ]


def _short_texts(value: Any, *, numbers: bool) -> Iterator[str]:
    """What could be answers in a column, whatever its shape."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _short_texts(item, numbers=numbers)
    elif isinstance(value, str) and value.strip() and len(value.split()) <= _LONG:
        yield from [value] * (not value.startswith(("http://", "https://")))
    elif numbers and isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        yield as_text(value)


def _is_given(value: Any) -> bool:
    """Whether a column holds something; empty cells of tables and nulls do not, an empty list does."""
    return value is not None and not (isinstance(value, str) and not value.strip()) and _is_itself(value)


def _is_itself(value: Any) -> bool:
    return not (isinstance(value, float) and value != value)


def _nested(row: Mapping[str, Any]) -> object:
    value: Any = row
    for key in NESTED:
        if isinstance(value, str):
            value = _table(value)
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _column(name: str, value: Any) -> tuple[str, ...]:
    if not _is_given(value):
        return ()
    try:
        return as_answers(value, plural=bool(_PLURAL.search(name)))
    except DataError as error:
        raise DataError(f"{name!r}: {error}") from error


def _with_new(answers: Sequence[str], others: Iterator[str]) -> tuple[str, ...]:
    """The answers and those others that are not the same after normalisation."""
    found = {_key(answer): answer for answer in reversed(answers)}
    more = [found.setdefault(_key(other), other) for other in others if _key(other) not in found]
    return (*answers, *more)


def _key(answer: str) -> str:
    return normalise(answer) or answer


def as_answers(value: Any, *, plural: bool = False) -> tuple[str, ...]:
    """Gold answers from any of the shapes in circulation: text, number, list, array, or a table such as
    `{"target": …}`, `{"value": …, "aliases": …}` and `{"text": …}`, each of them also as a text.

    >>> as_answers({"target": ["Paris"]}), as_answers("Paris"), as_answers([" ", 7, 1998.0])
    (('Paris',), ('Paris',), ('7', '1998'))

    Args:
        value: What a column holds.
        plural: Whether the column is named for several answers.

    Raises:
        DataError: An answer is neither text nor a number, or it may as well be a list of several.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        value = _read_text(value, plural=plural)
    if isinstance(value, Mapping):
        return _of_table(value)
    if not isinstance(value, list | tuple | set):
        value = [value]
    items = [item.tolist() if hasattr(item, "tolist") else item for item in value]
    return tuple(answer for item in items for answer in _of_item(item, alone=len(items) == 1))


def _of_item(item: Any, *, alone: bool) -> tuple[str, ...]:
    """The answers of one member of a list."""
    if isinstance(item, Mapping):
        return _of_table(item)
    if isinstance(item, list | tuple | set):
        if alone:
            return as_answers(item)
        raise DataError(
            "the gold answers are lists in a list, parts or alternatives: give one list of all that "
            "count as right"
        )
    if isinstance(item, str):
        read = _quoted(item)
        return as_answers(read) if read is not None else (item,) * bool(item.strip())
    if isinstance(item, bool) or not isinstance(item, int | float) or item != item:
        raise DataError(f"a gold answer is text or a number, given {str(item)[:60]!r}")
    return (as_text(item),)


def _of_table(given: Mapping[Any, Any]) -> tuple[str, ...]:
    table = {column_name(str(name)): value for name, value in given.items()}
    if table and not table.keys() & {*_INNER, *ALIASES}:
        raise DataError(f"the gold answers are a table with {sorted(table)[:6]}: give a text or a list")
    answers = [a for name in _INNER if _is_given(table.get(name)) for a in as_answers(table[name])]
    aliases = (a for name in ALIASES if _is_given(table.get(name)) for a in as_answers(table[name]))
    return _with_new(list(dict.fromkeys(answers)), aliases)


_STRING = r"""[uUrbRB]?'(?:[^'\\\n]|\\.)*'|[uUrbRB]?"(?:[^"\\\n]|\\.)*\""""
_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_ITEM = rf"(?:{_STRING})"
_LIST = re.compile(rf"\s*{_ITEM}(?:(?:\s*,\s*|\s+){_ITEM})*\s*,?\s*", re.DOTALL)
_ITEMS = re.compile(_STRING, re.DOTALL)
_NUMBERS = re.compile(rf"\[\s*{_NUMBER}(?:(?:\s*,\s*|\s+){_NUMBER})*\s*,?\s*\]")
_WRAPPED = re.compile(
    r"(?:np\.|numpy\.)?(?:array|list|tuple|set|frozenset|Index|dict_values)\((.*?)(?:,\s*dtype=.*)?\)",
    re.DOTALL,
)
_TUPLE = re.compile(rf"\(\s*{_ITEM}\s*,")
_SCALAR = re.compile(rf"\b(?:np|numpy)\.\w+\(({_STRING}|{_NUMBER})\)")
"""A text or number as numpy 2 writes it within a list of Python's."""
_BEGINS = re.compile(r"""[\[({]\s*(?:[uUrb]?['"]|[\[{(]\s*['"]|(?:np\.|numpy\.)?array\()""")
_BARE = re.compile(r"\[[^\[\]]*,[^\[\]]*\]")
"""A list without quotes, as Java and YAML write it, or an interval."""
_SEVERAL = re.compile(r"[|;\n]|<sep>", re.IGNORECASE)
_SEVERAL_PLAINLY = re.compile(r"\s\|\s|<sep>|\|\|\|", re.IGNORECASE)


def _read_text(text: str, *, plural: bool) -> Any:
    """What a text stands for: itself, or the list or table that was made a text of.

    Raises:
        DataError: It may be either.
    """
    read = _quoted(text)
    if read is not None:
        return read
    inner = _unwrapped(text)
    if re.fullmatch(r"\[\s*\]|\(\s*\)", inner) or text.strip() == "set()":
        return []
    if _NUMBERS.fullmatch(inner) and (plural or inner != text.strip()):
        return re.split(r"[\s,]+", inner[1:-1].strip(" \n,"))
    if _NUMBERS.fullmatch(inner) or _BARE.fullmatch(inner):
        raise DataError(
            f"{inner[:60]!r} is either a list or one answer in brackets: write a list of texts"
        )
    if (_SEVERAL if plural else _SEVERAL_PLAINLY).search(text.strip()):
        raise DataError(
            f"{text.strip()[:60]!r} may be several answers in one text: write them as a list"
        )
    return text


def _quoted(text: str) -> Any:
    """The list of texts, or the table, that a text holds as Python, numpy or JSON write it; None where
    it holds none. An answer such as `[Fe/H]` is none.

    Raises:
        DataError: It begins as one and cannot be read.
    """
    inner = _unwrapped(text)
    if not _BEGINS.match(inner):
        return None
    if inner[0] in "[({" and inner[-1] in "])}" and _LIST.fullmatch(inner[1:-1]):
        return [_literal(item[0]) for item in _ITEMS.finditer(inner[1:-1])]
    table = _table(inner)
    if table is None and inner[0] == "(" and not _TUPLE.match(inner):
        # A title such as ("Heroes") live, no list that was cut off.
        return None
    if table is None:
        raise DataError(
            f"{inner[:60]!r} looks like a list in a text, but cannot be read: write it as a list"
        )
    return table


def _unwrapped(text: str) -> str:
    """What stands in `array(…, dtype=object)` and the like."""
    inner = text.strip()
    while (wrapped := _WRAPPED.fullmatch(inner)) and wrapped[1].strip()[:1] in tuple("[({"):
        inner = wrapped[1].strip()
    return _SCALAR.sub(r"\1", inner) if "np." in inner or "numpy." in inner else inner


def _literal(item: str) -> str:
    """One text in quotes, as Python or JSON write it."""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(item)
        except (ValueError, SyntaxError):
            continue
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    raise DataError(f"{item[:60]!r} is no text in quotes")


def _table(text: str) -> Any:
    """A list or table in a text, from JSON or as Python writes it; None where it is neither."""
    quoted = list(_ITEMS.finditer(text))
    if any(not text[a.end() : b.start()].strip() for a, b in pairwise(quoted)):
        # Python would join two texts that stand side by side.
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, list | tuple | set | dict):
            return value
    return None


def as_text(value: object) -> str:
    """As written; a whole number that a table made a float of, 1998.0, is 1998 again."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return str(value)


def column_name(name: str) -> str:
    """The name of a column as it is looked for.

    >>> column_name("Final answer"), column_name("NormalizedAliases"), column_name("_id")
    ('final_answer', 'normalized_aliases', '_id')
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s\-]+", "_", split).lower()
