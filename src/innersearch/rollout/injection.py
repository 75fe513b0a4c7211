"""Documents as tokens that can be read and do nothing else.

Whatever a search returned is neutralised and then tokenised alone. What its tokens spell is looked at
once more, since a tokenizer may spell another text than it was given: by normalising look-alikes, by
word pieces that join up, or by bytes written out as `<0x3C>`. A text that still spells markup after a
few rounds is left out.

The tokenizer's own `split_special_tokens` is not used: it knows nothing of tokens that the vocabulary
spells out as a word, and it sets a switch of the shared tokenizer, so that two threads disturb each
other (transformers 5.23).
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tokenizers.models import WordPiece

from innersearch.grammar import neutralise
from innersearch.spelling import pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ROUNDS = 4
_UNREADABLE = re.compile("[\ud800-\udfff\ufffd]")
"""Halves of characters cannot be encoded, and an incremental decoder waits on U+FFFD for ever."""
_LONG_RUN = re.compile(r"\S{128}|\s{128}")
"""Where longest-match tokenizers, which take cubic time over a word (18 seconds for 10,000 letters),
are given it in pieces."""
_UNASSIGNED = "\U0003fffd"


class Injected(NamedTuple):
    """A document as tokens, and the text that each of them completes."""

    token_ids: list[int]
    pieces: list[str]


class _Control(NamedTuple):
    token_ids: frozenset[int]
    texts: tuple[str, ...]
    unknown: frozenset[int]
    """What text outside the vocabulary becomes."""


def encode_document(
    tokenizer: PreTrainedTokenizerFast, text: str, max_tokens: int | None = None
) -> Injected:
    """The tokens of a document: no control token among them, and no markup in what they spell.

    Takes any string: lone surrogates become question marks. Cut after `max_tokens`, without a
    character left incomplete. A text that no round makes harmless has no tokens.
    """
    control = _control(tokenizer, len(tokenizer))
    for _ in range(_ROUNDS):
        text = neutralise(_UNREADABLE.sub("?", text), control.texts)
        token_ids = _encode(tokenizer, text)
        spelled = pieces(tokenizer, token_ids)
        known = zip(token_ids, spelled, strict=True)
        text = "".join("?" if i in control.unknown else piece for i, piece in known)
        if control.token_ids.isdisjoint(token_ids) and neutralise(text, control.texts) == text:
            return _cut(token_ids, spelled, max_tokens)
    return Injected([], [])


def encode_markup(tokenizer: PreTrainedTokenizerFast, text: str) -> Injected:
    """The tokens of a tag, or of what a style puts around tags; one object for all who ask."""
    return _markup(tokenizer, len(tokenizer), text)


@lru_cache(maxsize=64)
def _markup(tokenizer: PreTrainedTokenizerFast, size: int, text: str) -> Injected:
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    return Injected(token_ids, pieces(tokenizer, token_ids))


def _cut(token_ids: list[int], spelled: list[str], max_tokens: int | None) -> Injected:
    end = len(spelled[:max_tokens])
    while end and not spelled[end - 1]:
        end -= 1
    return Injected(token_ids[:end], spelled[:end])


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    if not isinstance(tokenizer.backend_tokenizer.model, WordPiece):
        return tokenizer.encode(text, add_special_tokens=False, verbose=False)
    cuts = [0, *(run.end() for run in _LONG_RUN.finditer(text)), len(text)]
    parts = [text[start:end] for start, end in pairwise(cuts) if end > start]
    encoded = (tokenizer.encode(part, add_special_tokens=False, verbose=False) for part in parts)
    return [token_id for token_ids in encoded for token_id in token_ids]


@lru_cache(maxsize=8)
def _control(tokenizer: PreTrainedTokenizerFast, size: int) -> _Control:
    """The control tokens of a tokenizer of `size` entries, which grows when tokens are added."""
    special = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    special |= {i: str(token) for i, token in named}
    unknown = frozenset(tokenizer.encode(_UNASSIGNED, add_special_tokens=False)) & special.keys()
    texts = tuple(sorted(text for text in special.values() if text))
    return _Control(frozenset(special) - unknown, texts, unknown)
