"""What the policy reads of a search: documents as text between the information tags.

* `plain`: the texts alone, one after the other, as the embedded world writes information.
* `search-r1`: `Doc 1(Title: …) text`, a line per document, blank lines around the block
  (Search-R1 generation.py, `_passages2string`).
"""

from __future__ import annotations

from dataclasses import dataclass

from innersearch.search.base import SearchResult

UNAVAILABLE = "Search unavailable."
"""Stands for the result of a search that failed."""
NOTHING = "No documents found."
"""Stands for the result of a search without documents."""


@dataclass(frozen=True, slots=True)
class Style:
    """How documents are written for the policy."""

    line: str
    """One document, from its number, title and text."""
    between: str
    before: str = ""
    """Goes before the opening tag."""
    after: str = ""
    """Goes after the closing tag."""


STYLES = {
    "plain": Style("{text}", " "),
    "search-r1": Style("Doc {number}(Title: {title}) {text}\n", "", "\n\n", "\n\n"),
}


def observation(result: SearchResult, style: Style) -> str:
    """The content of the information block for a result."""
    if result.error is not None:
        return UNAVAILABLE
    if not result.documents:
        return NOTHING
    return style.between.join(
        style.line.format(number=number, title=document.title, text=document.text)
        for number, document in enumerate(result.documents, 1)
    )
