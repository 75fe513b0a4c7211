"""Readers: what is shown of a page, once, and in which order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from innersearch.config import RolloutSettings
from innersearch.errors import ConfigError, SearchError
from innersearch.pages.base import Page
from innersearch.pages.readers import Reader, Reading, cut, reader_of, sentences, texts_of
from innersearch.simulator.reading import ModelReader
from innersearch.simulator.writers import Output, Prompt
from innersearch.types import Document

WORDS = "river castle market winter garden engine harbour letter museum bridge".split()


def page(count: int = 40, seed: int = 0) -> Page:
    draw = random.Random(seed)
    lines = [f"Sentence {n} speaks of the {draw.choice(WORDS)} and no more." for n in range(count)]
    lines[count // 2] = "The currency of Peru is called the sol."
    return Page("https://a.example/peru", "Peru", " ".join(lines))


def read(reader: Reader, page: Page, asked: Reading | None = None) -> list[Document]:
    return asyncio.run(reader.read(page, asked or Reading("what is the currency of Peru?")))


def named(name: str) -> Reader:
    reader = reader_of(name)
    assert reader is not None
    return reader


def test_a_whole_page_is_shown_once() -> None:
    reader = named("whole")
    [shown] = read(reader, page())
    assert (shown.text, shown.url, shown.title) == (page().text, page().address, "Peru")
    assert reader.max_tokens == 2_000
    assert named("whole:77").max_tokens == 77
    assert read(reader, page(), Reading("", known=(shown.text,))) == []


@pytest.mark.parametrize("name", ["parts:100:2", "parts:300:1", "passages:3", "passages:7"])
def test_what_is_opened_again_goes_on_and_repeats_nothing(name: str) -> None:
    reader, known = named(name), ()
    shown: list[str] = []
    for _ in range(60):
        texts = texts_of(read(reader, page(), Reading("currency", "currency of Peru", known)))
        if not texts:
            break
        known += texts
        shown += texts
    assert len(shown) == len(set(shown))
    assert sorted(" ".join(shown).split()) == sorted(page().text.split())
    assert read(reader, page(), Reading("currency", known=tuple(known))) == []


def test_passages_are_those_that_fit_the_query_in_the_order_of_the_page() -> None:
    shown = read(named("passages:3"), page(), Reading("?", "castle currency Peru sol"))
    assert "The currency of Peru is called the sol." in texts_of(shown)
    numbers = [int(document.id.rpartition("#")[2]) for document in shown]
    assert numbers == sorted(numbers)
    # Without a query that fits, the page begins at its beginning.
    first = read(named("passages:2"), page(), Reading("zzz", "zzz"))
    assert [document.text for document in first] == sentences(page().text)[:2]


def test_texts_are_cut_between_words_and_nothing_is_lost() -> None:
    draw = random.Random(1)
    for _ in range(200):
        text = "".join(draw.choice(("a", "bc ", ". ", "\n", "\n\n", "字", " ")) for _ in range(300))
        size = draw.randint(1, 80)
        parts = cut(text, size)
        assert all(0 < len(part) <= size for part in parts)
        assert "".join("".join(parts).split()) == "".join(text.split())
        assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "name",
    ["", "all", "whole:", "whole:0", "parts", "parts:5", "parts:0:1", "passages", "model:", "x:1"],
)
def test_what_is_no_reader_is_said(name: str) -> None:
    with pytest.raises((ConfigError, ValueError), match="no reader"):
        RolloutSettings(reader=name)


class Notes:
    """A writer that writes what a script says."""

    name = "notes"

    def __init__(self, replies: Sequence[str | Output]) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, tuple[str | int, ...]]] = []
        self.closed = False

    async def write(self, prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        self.asked.append((prompt.message, stream))
        reply = self.replies[len(self.asked) - 1]
        return reply if isinstance(reply, Output) else Output(reply)

    async def close(self) -> None:
        self.closed = True


def test_a_model_walks_the_parts_until_it_stops_and_returns_what_is_new() -> None:
    writer = Notes(
        ["<think>hm</think>The sol.\nCONTINUE", "NOTHING\n**CONTINUE**", "The sol.\nOld.\nSTOP"]
    )
    reader = ModelReader("http://x#m", writer, {"temperature": 0.6, "max_new_tokens": 50}, part=500)
    asked = Reading("what is the currency?", "Peru sol", notes=("Old.",), identity=("g", 0))
    shown = read(reader, page(60), asked)
    assert [document.text for document in shown] == ["The sol."]
    assert len(writer.asked) == 3
    first, second = writer.asked[0], writer.asked[1]
    assert "Peru sol" in first[0]
    assert "Old." in first[0]
    assert "The sol." in second[0]
    assert first[1] == ("page", "g", 0, 1)
    assert reader.identity["reader"] == "model:http://x#m"


def test_a_page_cannot_fill_the_slots_of_what_a_model_is_asked() -> None:
    writer = Notes(["STOP"])
    reader = ModelReader("m", writer, {"max_new_tokens": 50})
    read(reader, Page("a", "{part}", "{question} {notes} {zzz}"), Reading("the question"))
    assert "{question} {notes} {zzz}" in writer.asked[0][0]
    assert writer.asked[0][0].count("the question") == 2


def test_a_model_that_fails_is_an_error_and_an_empty_one_shows_nothing() -> None:
    with pytest.raises(SearchError, match="the reader failed: down"):
        read(ModelReader("m", Notes([Output(error="down")]), {}), page())
    assert read(ModelReader("m", Notes([""]), {}), page()) == []
    assert read(ModelReader("m", Notes(["<think>never ends"]), {}), page()) == []
