"""Tokens that a model or its server acts on, and text in which there is none.

What comes from others, documents as well as questions, is neutralised and then looked at once more by
what its tokens spell, since a tokenizer may spell another text than it was given: by normalising
look-alikes, by word pieces that join up, or by bytes written out as `<0x3C>`.

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

from innersearch.errors import ModelError
from innersearch.grammar.base import Grammar
from innersearch.grammar.markup import is_markup, neutralise
from innersearch.grammar.tags import TAGS
from innersearch.token_text import BYTE, pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ROUNDS = 4
_UNREADABLE = re.compile("[\ud800-\udfff\ufffd]")
"""Halves of characters cannot be encoded, and decoders of servers wait on U+FFFD for ever."""
_LONG_RUN = re.compile(r"\S{128}|\s{128}")
"""Where longest-match tokenizers, which take cubic time over a word (18 seconds for 10,000 letters),
are given it in pieces."""
_UNASSIGNED = "\U0003fffd"


class Harmless(NamedTuple):
    """A text without markup, and its tokens when it is encoded alone."""

    text: str
    token_ids: list[int]
    pieces: list[str]
    """The text that each token completes."""


class _Control(NamedTuple):
    token_ids: frozenset[int]
    texts: tuple[str, ...]
    unknown: frozenset[int]
    """What text outside the vocabulary becomes."""


def harmless(tokenizer: PreTrainedTokenizerFast, text: str, grammar: Grammar = TAGS) -> Harmless | None:
    """The text with all markup in it made harmless: no control token comes of it, nor anything that
    reads as one or as a tag of the grammar. None where no round of neutralising leads to such a text.

    Takes any string: lone surrogates become question marks. Ordinary text stays as it is.
    """
    control = _control(tokenizer, len(tokenizer), grammar)
    for _ in range(_ROUNDS):
        text = neutralise(_UNREADABLE.sub("?", text), control.texts, grammar)
        token_ids = _encode(tokenizer, text)
        spelled = pieces(tokenizer, token_ids)
        known = zip(token_ids, spelled, strict=True)
        decoded = "".join("?" if i in control.unknown else piece for i, piece in known)
        again = neutralise(decoded, control.texts, grammar)
        if control.token_ids.isdisjoint(token_ids) and again == decoded:
            return Harmless(text, token_ids, spelled)
        text = decoded
    return None


def unknown_ids(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The tokens that stand for any text outside the vocabulary."""
    return _control(tokenizer, len(tokenizer), TAGS).unknown


def demand_tags(tokenizer: PreTrainedTokenizerFast, path: str, grammar: Grammar = TAGS) -> None:
    """Refuse a tokenizer, of that path, that cannot write the tags of a grammar.

    Raises:
        ModelError: It spells one of them differently.
    """
    for tag in grammar.markup:
        ids = tokenizer.encode(tag, add_special_tokens=False)
        spelled = "".join(pieces(tokenizer, ids))
        if spelled.strip() != tag:
            raise ModelError(
                f"the tokenizer at {path} turns {tag!r} into {spelled!r}: add the protocol tags to its "
                "vocabulary with tokenizer.add_tokens and resize the model's embeddings"
            )


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    if not isinstance(tokenizer.backend_tokenizer.model, WordPiece):
        return tokenizer.encode(text, add_special_tokens=False, verbose=False)
    cuts = [0, *(run.end() for run in _LONG_RUN.finditer(text)), len(text)]
    parts = [text[start:end] for start, end in pairwise(cuts) if end > start]
    encoded = (tokenizer.encode(part, add_special_tokens=False, verbose=False) for part in parts)
    return [token_id for token_ids in encoded for token_id in token_ids]


@lru_cache(maxsize=8)
def _control(tokenizer: PreTrainedTokenizerFast, size: int, grammar: Grammar) -> _Control:
    """The control tokens of a tokenizer of `size` entries, which grows when tokens are added.

    Besides those that are called special, it is any entry that reads as markup: some tokenizers add
    theirs as ordinary tokens.
    """
    special = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    special |= {i: str(token) for i, token in named}
    acting = {
        number
        for token, number in tokenizer.get_vocab().items()
        if not BYTE.fullmatch(token) and is_markup(token, grammar)
    }
    unknown = frozenset(tokenizer.encode(_UNASSIGNED, add_special_tokens=False)) & special.keys()
    texts = tuple(sorted(text for text in special.values() if text))
    return _Control(frozenset(special.keys() | acting) - unknown, texts, unknown)
