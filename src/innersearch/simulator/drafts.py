r"""What a simulator wrote, as documents.

The released ZeroSearch code pastes the output into the information block, whatever it is. Here it is
read document by document: `Doc i: text` or `Doc i(Title: …) text`, or a document per line where
nothing is numbered. What had to be mended is named:

* `cue`: words of the prompt came back ("Useful Output:", "Query:", a protocol tag);
* `few`, `many`: fewer or more documents than asked for; further ones are dropped;
* `repeated`: a document stood there twice;
* `cut`: the output ended at its length limit, so that the last document may be half of one.

    >>> draft = read_draft("Useful Output:\nDoc 1: Lima is in Peru.\nDoc 2: Peru has mountains.", 2)
    >>> [document.text for document in draft.documents], draft.faults
    (['Lima is in Peru.', 'Peru has mountains.'], ('cue',))
"""

from __future__ import annotations

import re
from typing import NamedTuple

from innersearch.types import Document

# Lines are squeezed before, so that none of these looks at a long run of spaces again and again.
_CUE = re.compile(
    r"(?im)^\[?(?:useful|noisy)(?: output)?\]? ?:?$|\[?\b(?:useful|noisy) output(?:\] ?:?| ?:)"
    r"|^query ?:.*$|</?(?:think|search|information|answer)>"
)
_NUMBERED = re.compile(r"(?im)^ *(?:\*\*)?doc(?:ument)? ?\d+\b ?(?:\*\*)?")
_TITLE = re.compile(r"\A[ :]*\(title: ?(?P<title>(?:[^()\n]|\([^()\n]*\))*)\)", re.IGNORECASE)
_LEADING = " \t:.-*"


class Draft(NamedTuple):
    """The documents of an output, and what was wrong with it."""

    documents: tuple[Document, ...]
    faults: tuple[str, ...]


def read_draft(output: str, k: int, *, ended: bool = True) -> Draft:
    """The documents of an output that was to hold `k`; `ended` says that it was not cut off."""
    # A server may send half of a surrogate pair, which no file can hold.
    lines = output.encode("utf-8", "replace").decode().splitlines()
    cleaned, cues = _CUE.subn(" ", "\n".join(map(_squeezed, lines)))
    faults = ["cue"] * bool(cues)
    texts = [text for text in _split(cleaned) if text[1]]
    different = list(dict.fromkeys(texts))
    faults += ["repeated"] * (len(different) < len(texts))
    faults += ["few"] * (len(different) < k) + ["many"] * (len(different) > k)
    faults += ["cut"] * (not ended)
    documents = tuple(
        Document(str(number), title, text) for number, (title, text) in enumerate(different[:k], 1)
    )
    return Draft(documents, tuple(faults))


def _split(output: str) -> list[tuple[str, str]]:
    """(title, text) of each document."""
    starts = list(_NUMBERED.finditer(output))
    if not starts:
        return [("", _text(line)) for line in output.splitlines()]
    ends = [start.start() for start in starts[1:]] + [len(output)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        body = output[start.end() : end]
        title = _TITLE.match(body)
        text = body[title.end() :] if title else body
        found.append((title["title"].strip() if title else "", _text(text)))
    return found


def _text(text: str) -> str:
    return _squeezed(text).lstrip(_LEADING)


def _squeezed(text: str) -> str:
    return " ".join(text.split())
