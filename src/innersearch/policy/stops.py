"""Stop strings for token samplers: which tokens may end one, and whether one has just ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from innersearch.spelling import pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class StopStrings:
    """Strings of ASCII characters that end a generation, however a tokenizer splits them.

    The token that completes a stop string is kept whole: what it holds beyond the string was sampled
    as well.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, strings: Sequence[str]) -> None:
        self.strings = tuple(strings)
        self._tokenizer = tokenizer
        self._reach = max(map(len, self.strings), default=0)
        last = {string[-1] for string in self.strings}
        spelled = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.candidates = [i for i, token in enumerate(spelled) if token and last & set(token)]
        """Ids of all tokens that may complete a stop string: those with a last character in them."""

    def found(self, token_ids: Sequence[int]) -> bool:
        """Whether a stop string stands in the text of the last few tokens."""
        text = "".join(pieces(self._tokenizer, token_ids[-self._reach :]))
        return any(string in text for string in self.strings)
