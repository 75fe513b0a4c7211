"""Stop strings for token samplers: which tokens may end one, and whether one has just ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from innersearch.token_text import Speller, pieces, spelled_alone

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_TORN = 4
"""Characters that a tail may begin with where it begins inside one."""


class StopStrings:
    """Strings of ASCII characters that end a generation, however a tokenizer splits them.

    The token that completes a stop string is kept whole: what it holds beyond the string was sampled
    as well.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, strings: Sequence[str], *, last: Sequence[str] = ()
    ) -> None:
        """`strings` end a generation, and so do those of `last`, after which nothing is to follow."""
        self.strings, self.last = (*strings, *last), tuple(last)
        self._tokenizer = tokenizer
        self._reach = max(map(len, self.strings), default=0)
        self.candidates = _ending(tokenizer, {string[-1] for string in self.strings})
        """Ids of all tokens that may complete a stop string: those with a last character in them."""

    def found(self, token_ids: Sequence[int]) -> bool:
        """Whether a stop string stands in the text of the last few tokens."""
        return self._any(self.strings, token_ids)

    def first(self, token_ids: Sequence[int]) -> int:
        """Tokens up to and including the one that completes the first stop string; 0 without one."""
        speller, text = Speller(self._tokenizer), ""
        for number, token_id in enumerate(token_ids, 1):
            piece = "".join(speller.add(token_id))
            text = text[-self._reach :] + piece
            if piece and any(string in text for string in self.strings):
                return number
        return 0

    def final(self, token_ids: Sequence[int]) -> bool:
        """Whether one of those stands there that nothing follows."""
        return self._any(self.last, token_ids)

    def _any(self, strings: Sequence[str], token_ids: Sequence[int]) -> bool:
        if not strings:
            return False
        taken = self._reach + _TORN
        while True:
            text = "".join(pieces(self._tokenizer, token_ids[-taken:]))
            if any(string in text for string in strings):
                return True
            # Tokens may have no text at all.
            if taken >= len(token_ids) or len(text) >= self._reach + _TORN:
                return False
            taken *= 2


def _ending(tokenizer: PreTrainedTokenizerFast, ends: set[str]) -> list[int]:
    """Ids of the tokens with one of some ASCII characters in them, as written or as spelled."""
    alone = spelled_alone(tokenizer) if ends else {}
    return sorted(number for number, text in alone.items() if not ends.isdisjoint(text))
