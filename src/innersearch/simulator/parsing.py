r"""What a simulator wrote, as documents.

The released ZeroSearch code pastes the output into the information block, whatever it is. Here thoughts
are dropped, and the rest is read document by document: `Doc i: text` or `Doc i(Title: …) text`, any
other layout of `layouts`, or a document per line where nothing is marked. What had to be mended:

* `thought`: the model thought aloud, or ended inside a thought;
* `cue`: words of the prompt came back ("Useful Output:", "Query:", a protocol tag);
* `refused`: it declined to write, or wrote a refusal in place of a document;
* `closing`: words after the last document ("I hope this helps"), which are dropped;
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

from innersearch.simulator.layouts import split
from innersearch.simulator.phrases import is_refusal
from innersearch.thoughts import spoken
from innersearch.types import Document

# Lines are squeezed before, so that none of these looks at a long run of spaces again and again.
_CUE = re.compile(
    r"(?im)^[#*_ ]{0,6}\[?(?:useful|noisy)(?: (?:output|documents?|results?))?\]? ?:?[*_]{0,3}$"
    r"|\[?\b(?:useful|noisy) output(?:\] ?:?| ?:)"
    r"|^query ?:.*$|</?(?:think|search|information|answer)>"
)
_LEADING = " \t:：.-*•"


class Draft(NamedTuple):
    """The documents of an output, and what was wrong with it."""

    documents: tuple[Document, ...]
    faults: tuple[str, ...]


def read_draft(output: str, k: int, *, ended: bool = True) -> Draft:
    """The documents of an output that was to hold `k`; `ended` says that it was not cut off."""
    reply = spoken(output)
    # A server may send half of a surrogate pair, which no file can hold.
    lines = (reply.whole or "").encode("utf-8", "replace").decode().splitlines()
    cleaned, cues = _CUE.subn(" ", "\n".join(map(_squeezed, lines)))
    faults = ["thought"] * reply.thought + ["cue"] * bool(cues)
    passages, closed = split(cleaned)
    texts = [(_squeezed(p.title), _text("\n".join(p.lines))) for p in passages]
    texts = [text for text in texts if text[1]]
    different = [text for text in dict.fromkeys(texts) if not is_refusal(text[1])]
    faults += ["closing"] * closed
    faults += ["refused"] * any(is_refusal(text) for _, text in texts)
    faults += ["repeated"] * (len(set(texts)) < len(texts))
    faults += ["few"] * (len(different) < k) + ["many"] * (len(different) > k)
    faults += ["cut"] * (not ended)
    documents = tuple(
        Document(str(number), title, text) for number, (title, text) in enumerate(different[:k], 1)
    )
    return Draft(documents, tuple(faults))


def _text(text: str) -> str:
    return _squeezed(text).lstrip(_LEADING)


def _squeezed(text: str) -> str:
    return " ".join(text.split())
