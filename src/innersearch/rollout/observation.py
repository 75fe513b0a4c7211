"""What the policy reads of a call: results as text between the information tags.

* `plain`: the texts alone, one after the other, as the embedded world writes information.
* `search-r1`: `Doc 1(Title: …) text`, a line per document, blank lines around the block
  (Search-R1 generation.py, `_passages2string`).
* `numbered`: `(1)text`, a line per document (R1-Searcher).
* `linked`: `[Doc 1](address): text`, a line per document, addresses to be opened (ASearcher).
* `named`: `[id] text`, a line per document, ids to be called by (Harness-1).
* `aligned`: one JSON object with the queries and, in their order, the documents of each (RAG-R1).
* `results`: a JSON list with the pages that each query found, or what is read of each page that is
  opened (DeepResearcher).

JSON is written of texts that were made harmless and cut before, so that it stays whole, and with all
characters as they are, so that the policy reads what it is to copy.

    >>> found = SearchResult((Document("d", "Beyoncé", "She sings."),))
    >>> write(STYLES["aligned"], [Answered("who", found)], lambda text, room: (text, 1))
    '{"query": ["who"], "documents": ["Doc 1: She sings."]}'
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from innersearch.grammar import Action
from innersearch.search.base import SearchResult
from innersearch.tools.base import Outcome
from innersearch.types import Document, Source

UNAVAILABLE = "Search unavailable."
"""Stands for the result of a call that failed."""
NOTHING = "No documents found."
"""Stands for the result of a call without documents."""

Cut = Callable[[str, int | None], tuple[str, int]]
"""A text made harmless and cut after so many tokens, or not; and how many tokens it has."""


class Answered(NamedTuple):
    """An input and what came of it."""

    input: str
    result: SearchResult
    max_tokens: int | None = None
    """Tokens that the result may have, where it is not as many as those of a search."""
    tool: str = "search"
    """Who was asked."""


@dataclass(frozen=True, slots=True)
class Style:
    """How results are written for the policy: documents by a template, or all results as JSON."""

    line: str = ""
    """One document, from its number, id, title, text and address."""
    between: str = ""
    before: str = ""
    """Goes before the opening tag."""
    after: str = ""
    """Goes after the closing tag."""
    build: Callable[[Sequence[Answered], _Cleaner], Any] | None = None
    """What JSON is made of: the results, and what makes a text of one harmless and cuts it."""
    around: str = "{}"
    """Goes around the content, inside the tags."""


def _aligned(answered: Sequence[Answered], clean: _Cleaner) -> Any:
    return {
        "query": [clean.whole(one.input) for one in answered],
        "documents": [_lines(one.result, clean) for one in answered],
    }


def _lines(result: SearchResult, clean: Callable[[str], str]) -> str:
    return _instead(result) or " ".join(
        f"Doc {number}: {clean(document.text)}" for number, document in enumerate(result.documents, 1)
    )


def _results(answered: Sequence[Answered], clean: _Cleaner) -> Any:
    return [
        {"url": clean.whole(one.input), "information": _read(one.result, clean)}
        if one.tool == "open"
        else {"search_query": clean.whole(one.input), "web_page_info_list": _pages(one.result, clean)}
        for one in answered
    ]


def _read(result: SearchResult, clean: Callable[[str], str]) -> Any:
    return _instead(result) or [
        {"page_number": number, "page_summary": clean(document.text)}
        for number, document in enumerate(result.documents, 1)
    ]


def _pages(result: SearchResult, clean: Callable[[str], str]) -> Any:
    return _instead(result) or [
        {
            "title": clean(document.title),
            "url": clean(_address(document)),
            "quick_summary": clean(document.text),
        }
        for document in result.documents
    ]


def _address(document: Document) -> str:
    return document.url or document.id


STYLES = {
    "plain": Style("{text}", " "),
    "search-r1": Style("Doc {number}(Title: {title}) {text}\n", "", "\n\n", "\n\n"),
    "numbered": Style("({number}){text}\n", "", "\n\n", "\n\n", around="\n{}"),
    "linked": Style("[Doc {number}]({url}): {text}\n", "", "\n\n", "\n\n", around="\n{}"),
    "named": Style("[{id}] {text}\n", around="\n{}"),
    "aligned": Style(before="\n", after="\n", build=_aligned),
    "results": Style(before="\n", after="\n", build=_results),
}


def answered_of(actions: Sequence[Action], outcomes: Sequence[Outcome]) -> tuple[list[Answered], Source]:
    """The results that are shown, and who wrote them: of several the first one with documents."""
    found, source = [], Source.FORCED
    for action, outcome in zip(actions, outcomes, strict=True):
        for text, result, call in zip(action.inputs, outcome.results, outcome.calls, strict=True):
            if result is None or outcome.notice:
                continue
            found.append(Answered(text, result, outcome.max_tokens, action.tool))
            if result.documents and source is Source.FORCED:
                source = call.source
    return found, source


def first_part(answered: Sequence[Answered]) -> tuple[list[Answered], list[Answered]]:
    """The first document of some results, and the others, which are shown one by one."""
    parts = [
        one._replace(result=replace(one.result, documents=(document,)))
        for one in answered
        for document in one.result.documents
    ]
    return (parts[:1], parts[1:]) if parts else (list(answered), [])


def observation(result: SearchResult, style: Style) -> str:
    """The content of the information block for one result in a style of documents."""
    return _instead(result) or style.between.join(
        style.line.format(
            number=number,
            id=document.id,
            title=document.title,
            text=document.text,
            url=_address(document),
        )
        for number, document in enumerate(result.documents, 1)
    )


def write(style: Style, answered: Sequence[Answered], cut: Cut, max_tokens: int | None = None) -> str:
    """The content of the information block for the results of a turn.

    Args:
        style: How it is written.
        answered: The inputs of the turn, in order.
        cut: What makes a text harmless and cuts it.
        max_tokens: Tokens that each result may have, unless it says otherwise.
    """
    if style.build is None:
        if len(answered) == 1:
            return style.around.format(observation(answered[0].result, style))
        texts = (_cut_result(one.result, style, cut, one.max_tokens or max_tokens) for one in answered)
        return style.around.format("\n".join(texts))
    parts = [style.build([one], _Cleaner(cut, one.max_tokens or max_tokens)) for one in answered]
    return json.dumps(_joined(parts), ensure_ascii=False)


def _cut_result(result: SearchResult, style: Style, cut: Cut, max_tokens: int | None) -> str:
    return cut(observation(result, style), max_tokens)[0]


def _joined(parts: Sequence[Any]) -> Any:
    """Lists one behind the other, alone or under the same keys."""
    if isinstance(parts[0], list):
        return [entry for part in parts for entry in part]
    return {key: [entry for part in parts for entry in part[key]] for key in parts[0]}


class _Cleaner:
    """Cleans the texts of one result, which share its tokens; what was asked for takes none of them."""

    def __init__(self, cut: Cut, max_tokens: int | None) -> None:
        self._cut, self._left = cut, max_tokens

    def whole(self, text: str) -> str:
        """A text that is not cut."""
        return self._cut(unicodedata.normalize("NFC", text), None)[0]

    def __call__(self, text: str) -> str:
        found, tokens = self._cut(unicodedata.normalize("NFC", text), self._left)
        if self._left is not None:
            self._left = max(0, self._left - tokens)
        return found


def _instead(result: SearchResult) -> str:
    """What stands for a result without documents; nothing where there are some."""
    if result.documents:
        return ""
    return result.told or (NOTHING if result.error is None else UNAVAILABLE)
