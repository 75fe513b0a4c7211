r"""The quiz files of the BSD games, a test set that others wrote, for nothing but measuring.

A line is a row of categories, separated by colons; `\` quotes what follows it, and at the end of a line
goes on with the next one. In a category `|` separates alternatives, `[...]` holds some of them together,
and `{...}` can be left out (quiz(6)). Of a question the fullest form of its first alternative is shown,
and all forms of an answer are gold. Ids are `quiz:FILE:NUMBER`, `group` is the file.

    >>> list(forms("{I }[injure|thwart]"))
    ['I injure', 'I thwart', 'injure', 'thwart']
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

from innersearch.data.sources import QuestionSource
from innersearch.errors import DataError, did_you_mean
from innersearch.metrics import normalise
from innersearch.types import Question

NAME = "quiz"
LICENCE = "BSD (Debian package bsdgames)"
PLACE_VARIABLE = "INNERSEARCH_QUIZ"
PLACES = ("/usr/share/games/bsdgames/quiz", "/usr/share/games/quiz", "/usr/share/quiz")
"""Where distributions put the files."""
_MOST = 5_000
"""Forms of one answer: no quiz comes near, and a file that is no quiz must not go on for ever."""
_CLOSING = {"{": "}", "[": "]"}

_CAPITALS = {(0, 1): "What is the capital of {x}?"}
ASKED: dict[str, dict[tuple[int, int], str]] = {
    "africa": _CAPITALS,
    "america": _CAPITALS,
    "asia": _CAPITALS,
    "areas": {(0, 1): "Which state or region has the telephone area code {x}?"},
    "babies": {(0, 1): "Which animal has young that are called {x}?"},
    "bard": {
        (0, 2): "In which work of Shakespeare does this line stand? {x}",
        (0, 3): "Which character of Shakespeare says this? {x}",
    },
    "chinese": {(0, 1): "Which animal follows the {x} in the Chinese zodiac?"},
    "collectives": {(0, 1): "What is a group of {x} called?"},
    "elements": {
        (0, 3): "Which chemical element has the symbol {x}?",
        (3, 0): "What is the chemical symbol of {x}?",
        (3, 1): "What is the atomic number of {x}?",
    },
    "europe": _CAPITALS,
    "flowers": {(0, 1): "What does {x} mean in the language of flowers?"},
    "inca": {(0, 1): "Who succeeded {x} as ruler of the Incas?"},
    "latin": {(0, 1): "What does the Latin word {x} mean?"},
    "locomotive": {(0, 1): "What is a locomotive with the wheel arrangement {x} called?"},
    "midearth": {(0, 1): "In Middle-earth, what is the capital of {x}?"},
    "murders": {(0, 1): "Who or what killed {x}?"},
    "poetry": {(0, 2): "In which poem does this line stand? {x}", (0, 3): "Who wrote this line? {x}"},
    "posneg": {(0, 1): "What is the opposite of {x}?"},
    "pres": {
        (0, 2): "Who was vice president under {x}?",
        (0, 3): "Who succeeded {x} as president of the United States?",
    },
    "province": {(0, 1): "What is the capital of {x} in Canada?"},
    "sexes": {(0, 1): "What is the female counterpart of {x}?"},
    "sov": {(0, 2): "Who succeeded {x} on the throne of England?"},
    "state": {
        (0, 1): "What is the capital of the state of {x}?",
        (0, 2): "What is the abbreviation of the state of {x}?",
        (0, 3): "What is the state flower of {x}?",
    },
    "trek": {(0, 1): "In Star Trek, what is this: {x}?"},
}
"""How columns are asked for. The other files hold no knowledge (arithmetic, series, spelling), answers
of signs, of which scoring leaves nothing (Morse, ed), or no plain words (Greek, paragraphs)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file, as it is written."""

    categories: tuple[str, ...]
    number: int
    """Of the line it begins on."""


def rows(path: Path) -> list[Row]:
    """The rows of a file.

    Raises:
        DataError: There is none.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"no quiz file at {path}: {error.strerror}") from error
    found, begun, first = [], "", 1
    for number, line in enumerate(text.splitlines(), 1):
        begun, first = begun + line, first if begun else number
        if _continued(begun):
            begun = begun[:-1]
            continue
        if begun.strip():
            found.append(Row(tuple(_split(begun, ":")), first))
        begun = ""
    return found


def _continued(line: str) -> bool:
    """Whether the last sign is a backslash that is not quoted itself."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def forms(pattern: str) -> Iterator[str]:
    r"""Everything that a pattern stands for, the fullest form of its first alternative first.

    >>> list(forms("J{ohn}|[St.|Saint] Jo")), list(forms(r"a\|b")), list(forms("W[illia|]m"))
    (['John', 'J', 'St. Jo', 'Saint Jo'], ['a|b'], ['William', 'Wm'])

    Raises:
        DataError: A bracket does not close.
    """
    for alternative in _split(pattern, "|"):
        for pieces in product(*(_choices(part) for part in _parts(alternative))):
            yield "".join(pieces)


def _choices(part: str) -> list[str]:
    inner = list(islice(forms(part[1:-1]), _MOST)) if part[:1] in _CLOSING else [_unquoted(part)]
    return [*inner, ""] if part[:1] == "{" else inner


def _parts(sequence: str) -> Iterator[str]:
    """A sequence cut into brackets, with what is in them, and text between them."""
    text = ""
    place = 0
    while place < len(sequence):
        sign = sequence[place]
        if sign in _CLOSING:
            if text:
                yield text
            text, end = "", _end(sequence, place)
            yield sequence[place:end]
            place = end
        else:
            width = 2 if sign == "\\" else 1
            text += sequence[place : place + width]
            place += width
    if text:
        yield text


def _end(sequence: str, place: int) -> int:
    """Behind the bracket that closes the one at a place."""
    depth = []
    while place < len(sequence):
        sign = sequence[place]
        if sign in _CLOSING:
            depth.append(_CLOSING[sign])
        elif depth and sign == depth[-1]:
            depth.pop()
            if not depth:
                return place + 1
        place += 2 if sign == "\\" else 1
    raise DataError(f"a bracket is not closed in {sequence[:60]!r}")


def _split(text: str, separator: str) -> list[str]:
    """Cut at a separator that is neither quoted nor, unless it separates categories, in brackets."""
    parts, place, start = [], 0, 0
    while place < len(text):
        sign = text[place]
        if sign == separator:
            parts.append(text[start:place])
            start = place = place + 1
        elif sign in _CLOSING and separator != ":":
            place = _end(text, place)
        else:
            place += 2 if sign == "\\" else 1
    return [*parts, text[start:]]


def _unquoted(text: str) -> str:
    plain, signs = "", iter(text)
    for sign in signs:
        plain += next(signs, "") if sign == "\\" else sign
    return plain


def folder() -> Path | None:
    """Where the quiz files are; None if they are not installed."""
    given = os.environ.get(PLACE_VARIABLE)
    places = [given] if given else PLACES
    return next((Path(place) for place in places if (Path(place) / "index").is_file()), None)


def quiz_questions(place: Path, names: tuple[str, ...] = ()) -> list[Question]:
    """The questions of the files in a folder, of all that hold some by default.

    Raises:
        DataError: There is no such file, or it is damaged.
    """
    return [question for name in names or tuple(ASKED) for question in _of_file(place / name)]


def _of_file(path: Path) -> list[Question]:
    found: dict[str, dict[str, None]] = {}
    known = rows(path)
    for (given, wanted), wording in ASKED[path.name].items():
        for row in known:
            if max(given, wanted) >= len(row.categories):
                continue
            try:
                subject = next(forms(row.categories[given])).strip()
                answers = _answers(row.categories[wanted])
            except DataError as error:
                raise DataError(f"{path}, line {row.number}: {error}") from error
            if subject and answers:
                # Some things stand in several rows, each with an answer of its own.
                found.setdefault(wording.format(x=subject), {}).update(dict.fromkeys(answers))
    return [
        Question(f"quiz:{path.name}:{number}", text, tuple(answers), {"group": path.name})
        for number, (text, answers) in enumerate(found.items())
    ]


def _answers(category: str) -> list[str]:
    """Those of which scoring leaves something."""
    return [answer.strip() for answer in islice(forms(category), _MOST) if normalise(answer)]


def _read(part: str) -> list[Question]:
    place = folder()
    if place is None:
        raise DataError(
            "the quiz files are not here: apt-get install bsdgames, or name their folder, which holds "
            f"an index, in {PLACE_VARIABLE}"
        )
    names = tuple(part.split("+")) if part != "all" else ()
    for name in names:
        if name not in ASKED:
            raise DataError(f"unknown quiz {name!r}; {did_you_mean(name, ['all', *ASKED])}")
    return quiz_questions(place, names)


SOURCE = QuestionSource("quiz:all, or quiz:africa+asia", _read)
