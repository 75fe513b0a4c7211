"""The world's tokenizer: byte-level, longest match first, the markup of every grammar as single tokens.

Every word of the world is one token and every name two or three, its syllables, also a name that
pre-training never shows. A name has one spelling only: `add_prefix_space` gives names after a tag
and names inside a sentence the same tokens. Any other text falls back to bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from innersearch.grammar import GRAMMARS
from innersearch.world.names import ENDINGS, ONSETS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END, PAD = "<|endoftext|>", "<|pad|>"

CHAT_TEMPLATE = (
    "{# innersearch world 2 #}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
)
"""Renders a user message exactly as the corpus writes a question."""

POSITIONS = 1024
"""Tokens that the model can read."""

_MARKUP = list(dict.fromkeys(chain.from_iterable(grammar.markup for grammar in GRAMMARS.values())))
_GLUE = [
    '{"name":',
    '"arguments":',
    '{"query":',
    '{"queries":',
    '["',
    '"]',
    '", "',
    '"}',
    "}}",
    '"}}',
    '"]}}',
]
"""What stands around names and queries in a tool call."""
_HEADS = ["Ġ" + onset for onset in ONSETS]
"""Onsets as byte-level tokenizers write them after a space."""
_TAILS = sorted(set(chain.from_iterable(ENDINGS.values())))
_NAME = re.compile(rf"(?:{'|'.join(_HEADS)})(?P<second>{'|'.join(ONSETS)})?(?:{'|'.join(_TAILS)})")
_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
_LONGEST_WORD = 1 << 20
"""Characters; longer words would become the unknown token, which is never wanted."""


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """The tokenizer whose vocabulary is bytes, syllables of names, and the other words of `texts`."""
    from transformers import PreTrainedTokenizerFast

    words = _words(texts)
    names = {word: name for word in words if (name := _NAME.fullmatch(word))}
    seconds = ONSETS if any(name["second"] for name in names.values()) else ()
    others = sorted(words - names.keys())
    pieces = dict.fromkeys([END, PAD, *_BYTES, *_HEADS, *seconds, *_TAILS, *others])
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    longest_match = models.WordPiece(
        vocabulary, unk_token=PAD, continuing_subword_prefix="", max_input_chars_per_word=_LONGEST_WORD
    )
    tokenizer = Tokenizer(longest_match)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END, PAD])
    tokenizer.add_tokens(
        [AddedToken(tag, special=False, normalized=False) for tag in [*_MARKUP, *_GLUE]]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        add_prefix_space=True,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        model_max_length=POSITIONS,
    )


def is_world(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model with this tokenizer expects the world's bare questions instead of instructions."""
    return tokenizer.chat_template == CHAT_TEMPLATE


def _words(texts: Iterable[str]) -> set[str]:
    """The words of some texts as the pre-tokenizer cuts them."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=True).pre_tokenize_str
    words: set[str] = set()
    for text in texts:
        for tag in _MARKUP:
            text = text.replace(tag, " ")
        words.update(word for word, _ in split(text))
    return words
