"""Which tokens of a tokenizer a logit bias is on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from innersearch.config.bias import parted
from innersearch.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def biased_tokens(tokenizer: PreTrainedTokenizerBase, written: Iterable[str]) -> dict[int, float]:
    """The constant on the logit of each token, by its id.

    Args:
        tokenizer: Whose tokens they are.
        written: Each a `TOKEN=CONSTANT`, the token as text (blanks before it count), as the vocabulary
            spells it, or as #ID.

    Raises:
        ConfigError: One is no bias, or its text is not one token.
    """
    found: dict[int, float] = {}
    for text in written:
        try:
            token, constant = parted(text)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        number = _number(tokenizer, token)
        if number in found:
            raise ConfigError(f"two biases on the token {token!r}: give one, their sum")
        found[number] = constant
    return found


def _number(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    vocabulary = tokenizer.get_vocab()
    if token in vocabulary:
        return vocabulary[token]
    if token[:1] == "#" and token[1:].isdecimal() and int(token[1:]) < len(tokenizer):
        return int(token[1:])
    ids = tokenizer.encode(token, add_special_tokens=False)
    if len(ids) != 1:
        parts = ", ".join(repr(str(tokenizer.decode([i]))) for i in ids)
        raise ConfigError(
            f"the bias on {token!r} needs one token, and this tokenizer has {len(ids)} for it "
            f"({parts}): name one of them, or its number as #ID"
        )
    return ids[0]
