"""A tokenizer of a model directory without transformers: for policies that people or scripts play.

It has what rollouts ask of a tokenizer, and no chat template: prompts are plain text. So the base
installation reads, writes and cuts tokens as the model's own tokenizer does.

    >>> from innersearch.world.bundled import BUNDLED
    >>> tokenizer = plain_tokenizer(BUNDLED)
    >>> tokenizer.decode(tokenizer.encode("<answer>Lima</answer>"))
    '<answer> Lima</answer>'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, cast

from tokenizers import AddedToken, Tokenizer
from typing_extensions import TypedDict

from innersearch.errors import ModelError
from innersearch.stored import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def plain_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model directory, as rollouts take it; errors as `PlainTokenizer.read`."""
    return cast("PreTrainedTokenizerFast", PlainTokenizer.read(folder))


class _Told(TypedDict):
    """What tokenizer_config.json says."""

    eos_token: str
    pad_token: NotRequired[str]


@dataclass(frozen=True, eq=False)
class PlainTokenizer:
    """A tokenizer.json, and which of its tokens ends a sequence."""

    backend_tokenizer: Tokenizer
    name_or_path: str
    eos_token: str
    pad_token: str
    chat_template: None = None

    @classmethod
    def read(cls, folder: Path) -> PlainTokenizer:
        """The tokenizer of a model directory.

        Raises:
            ModelError: It has no tokenizer.json.
            RunError: It names no end of sequences.
        """
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise ModelError(f"no tokenizer at {folder}: there is no {file.name}")
        told = read_object(folder / "tokenizer_config.json", _Told)
        end = str(told["eos_token"])
        return cls(Tokenizer.from_file(str(file)), str(folder), end, str(told.get("pad_token", end)))

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size())

    @cached_property
    def eos_token_id(self) -> int:
        """The token that ends a sequence."""
        return self._id(self.eos_token)

    @cached_property
    def pad_token_id(self) -> int:
        """The token that fills rows."""
        return self._id(self.pad_token)

    def _id(self, token: str) -> int:
        found = self.backend_tokenizer.token_to_id(token)
        if found is None:
            raise ModelError(f"the tokenizer at {self.name_or_path} has no token {token!r}")
        return int(found)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Tokens that are written whole, by id."""
        return dict(self.backend_tokenizer.get_added_tokens_decoder())

    @property
    def all_special_ids(self) -> list[int]:
        """Tokens that no text may hold."""
        return [number for number, token in self.added_tokens_decoder.items() if token.special]

    @property
    def all_special_tokens(self) -> list[str]:
        """The same as they are written."""
        return [token.content for token in self.added_tokens_decoder.values() if token.special]

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Special tokens by what they are for."""
        return {"eos_token": self.eos_token, "pad_token": self.pad_token}

    def get_vocab(self) -> dict[str, int]:
        """Ids by token."""
        return dict(self.backend_tokenizer.get_vocab())

    def encode(self, text: str, *, add_special_tokens: bool = True, verbose: bool = True) -> list[int]:
        """The tokens of a text."""
        return list(self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of tokens."""
        return str(self.backend_tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))
