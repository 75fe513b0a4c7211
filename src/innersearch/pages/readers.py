"""Readers: what a policy sees of a page that it opens.

    whole            the page, up to 2,000 tokens; `whole:8000` up to so many
    parts:5000:2     parts of 5,000 characters, two at a time; opened again, the next two
    passages:5       the five sentences that fit the query best that found the page (BM25); opened again,
                     the next five
    model:…          what a language model notes of it; see `innersearch.simulator.reading`

No reader returns in one trajectory what it returned before of the same page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from innersearch.pages.base import Page
from innersearch.search.index.bm25 import BM25Engine
from innersearch.types import Document

WHOLE_TOKENS = 2_000
"""Tokens of a page that is shown whole, unless others are named."""
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+|$|\n)", re.DOTALL)
_SHORTEST = 20
"""Characters below which a sentence is put together with the next one."""
_LONGEST = 1_000
"""Characters of a sentence; what is longer is cut into several."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read a page for, and what of it is known."""

    question: str
    query: str = ""
    """The one that found the page; the question where none did."""
    known: tuple[str, ...] = ()
    """Texts of this page that the trajectory has."""
    notes: tuple[str, ...] = ()
    """Texts of all its pages, in the order in which they were read."""
    identity: tuple[str | int, ...] = ()
    """Of the trajectory and the page: what random numbers depend on."""


class Reader(Protocol):
    """Says what of a page is shown."""

    @property
    def name(self) -> str:
        """As settings write it."""

    @property
    def max_tokens(self) -> int:
        """Tokens that what it returns of one page may have."""

    @property
    def again(self) -> bool:
        """Whether a page that is opened again may have more to show."""

    @property
    def takes_notes(self) -> bool:
        """Whether what it returns are notes, to be seen in every prompt that is made anew."""

    @property
    def identity(self) -> Mapping[str, str | int | float | bool | None]:
        """What decides its results."""

    async def read(self, page: Page, asked: Reading) -> list[Document]:
        """What is shown of a page, nothing of it known; empty where there is nothing new.

        Raises:
            SearchError: Whoever reads it failed.
        """

    async def close(self) -> None:
        """Let go of what it holds."""


class _Plain:
    """A reader that holds nothing, and depends on nothing but its name."""

    name: str
    takes_notes = False

    @property
    def identity(self) -> Mapping[str, str | int | float | bool | None]:
        """What decides its results."""
        return {"reader": self.name}

    async def close(self) -> None:
        """Nothing to let go of."""


class Whole(_Plain):
    """A page as it is, up to a number of tokens."""

    again = False

    def __init__(self, max_tokens: int = WHOLE_TOKENS) -> None:
        self.name, self.max_tokens = f"whole:{max_tokens}", max_tokens

    async def read(self, page: Page, asked: Reading) -> list[Document]:
        """The page."""
        whole = Document(page.address, page.title, page.text, page.address)
        return [] if page.text in asked.known else [whole]


class Parts(_Plain):
    """A page in parts of a length, some at a time."""

    again = True

    def __init__(self, characters: int, most: int) -> None:
        self.name = f"parts:{characters}:{most}"
        self.max_tokens = characters * most
        self._characters, self._most = characters, most

    async def read(self, page: Page, asked: Reading) -> list[Document]:
        """The next parts."""
        parts = cut(page.text, self._characters)
        named = [
            Document(f"{page.address}#{number}", f"{page.title} ({number}/{len(parts)})".strip(), part)
            for number, part in enumerate(parts, 1)
        ]
        fresh = [document for document in named if document.text not in asked.known]
        return [_at(page, document) for document in fresh[: self._most]]


class Passages(_Plain):
    """The sentences of a page that fit a query best, in the order of the page."""

    again = True

    def __init__(self, number: int) -> None:
        self.name = f"passages:{number}"
        self.max_tokens = number * _LONGEST
        self._number = number

    async def read(self, page: Page, asked: Reading) -> list[Document]:
        """The sentences that fit best of those that are not known; the first ones where none fits."""
        known = set(asked.known)
        found = [
            Document(f"{page.address}#{number}", page.title, sentence, page.address)
            for number, sentence in enumerate(dict.fromkeys(sentences(page.text)), 1)
            if sentence not in known
        ]
        if len(found) <= self._number:
            return found
        # On the words of the titles of all of them nothing depends, so they are left out.
        texts = [Document(str(row), "", document.text) for row, document in enumerate(found)]
        index = BM25Engine.from_documents(texts, backend="numpy")
        [result] = await index.search([asked.query or asked.question], self._number)
        await index.close()
        rows = [int(document.id) for document in result.documents]
        others = [row for row in range(len(found)) if row not in set(rows)]
        return [found[row] for row in sorted([*rows, *others][: self._number])]


def reader_of(name: str) -> Reader | None:
    """The reader that a setting names; None where it is a model."""
    kind, *numbers = name.split(":")
    if kind == "model":
        return None
    values = [int(number) for number in numbers]
    if kind == "whole":
        return Whole(*values)
    return Parts(*values) if kind == "parts" else Passages(*values)


def cut(text: str, characters: int) -> list[str]:
    """A text in parts of so many characters at most, cut between paragraphs, sentences or words.

    >>> cut("One two. Three four.", 10)
    ['One two.', 'Three', 'four.']
    """
    parts = []
    while len(text := text.strip()) > characters:
        window = text[: characters + 1]
        ends = (window.rfind(mark) for mark in ("\n\n", "\n", ". ", " "))
        end = next((at + 1 for at in ends if at >= characters // 2), characters)
        parts.append(text[:end].strip())
        text = text[end:]
    return [*parts, text] if text else parts


def sentences(text: str) -> list[str]:
    """The sentences of a text, none very short or very long.

    >>> sentences("Lima is the capital of Peru. Its currency is the sol, since 1991.")
    ['Lima is the capital of Peru.', 'Its currency is the sol, since 1991.']
    """
    found: list[str] = []
    begun = ""
    for match in _SENTENCE.finditer(text):
        begun = f"{begun} {' '.join(match[0].split())}".strip()
        if len(begun) >= _SHORTEST:
            found += cut(begun, _LONGEST)
            begun = ""
    return [*found, begun] if begun else found


def _at(page: Page, document: Document) -> Document:
    return Document(document.id, document.title, document.text, page.address)


def texts_of(documents: Sequence[Document]) -> tuple[str, ...]:
    """What of them is known once they were shown."""
    return tuple(document.text for document in documents)
