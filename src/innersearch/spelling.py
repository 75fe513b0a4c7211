"""The text that each token stands for, by incremental decoding; nothing here encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenizers.decoders import DecodeStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def pieces(tokenizer: PreTrainedTokenizerFast, token_ids: Sequence[int]) -> list[str]:
    """The text that each token completes; "" for a token that only begins a character.

    The pieces concatenate to the decoded text, special tokens spelled out, without a character left
    incomplete at the end.
    """
    stream = DecodeStream(skip_special_tokens=False)
    backend = tokenizer.backend_tokenizer
    return [stream.step(backend, token_id) or "" for token_id in token_ids]
