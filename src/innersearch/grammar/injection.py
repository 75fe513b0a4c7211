"""Documents as tokens that can be read and do nothing else: neutralised, and tokenised alone.

Of a long document only the beginning is tokenised, as much as can be shown and some more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from innersearch.grammar.base import Grammar
from innersearch.grammar.control import harmless
from innersearch.grammar.tags import TAGS
from innersearch.token_text import pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PER_TOKEN = 12
"""Characters of which a token is made at most, in most texts; where they are more, more are taken."""
_MARGIN = 64
"""Tokens beyond the last one shown: how they begin depends on what follows within a word at most."""


class Injected(NamedTuple):
    """A document as tokens, and the text that each of them completes."""

    token_ids: list[int]
    pieces: list[str]


def encode_document(
    tokenizer: PreTrainedTokenizerFast,
    text: str,
    max_tokens: int | None = None,
    grammar: Grammar = TAGS,
) -> Injected:
    """The tokens of a document: no control token among them, and no markup in what they spell.

    Takes any string: lone surrogates become question marks. Cut after `max_tokens`, without a
    character left incomplete; what is cut off costs nothing. A text that cannot be made harmless has
    no tokens.
    """
    length = len(text) if max_tokens is None else _PER_TOKEN * (max_tokens + _MARGIN)
    while True:
        beginning = _beginning(text, length)
        found = harmless(tokenizer, beginning, grammar)
        if found is None:
            return Injected([], [])
        if len(beginning) == len(text) or len(found.token_ids) >= (max_tokens or 0) + _MARGIN:
            return _cut(found.token_ids, found.pieces, max_tokens)
        length *= 4


def encode_markup(tokenizer: PreTrainedTokenizerFast, text: str) -> Injected:
    """The tokens of a tag, or of what a style puts around tags; one object for all who ask."""
    return _markup(tokenizer, len(tokenizer), text)


@lru_cache(maxsize=64)
def _markup(tokenizer: PreTrainedTokenizerFast, size: int, text: str) -> Injected:
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    return Injected(token_ids, pieces(tokenizer, token_ids))


def _beginning(text: str, length: int) -> str:
    """The first characters of a text, up to the end of a word where there is one."""
    if length >= len(text):
        return text
    words = text[: length + 1].rstrip()
    end = max(words.rfind(" "), words.rfind("\n"))
    return text[: end if end > length // 2 else length]


def _cut(token_ids: list[int], spelled: list[str], max_tokens: int | None) -> Injected:
    end = len(spelled[:max_tokens])
    while end and not spelled[end - 1]:
        end -= 1
    return Injected(token_ids[:end], spelled[:end])
