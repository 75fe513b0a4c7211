"""Prompt texts with a named slot for the question.

The text of the published SSRL prompt is not released; `ssrl` is our wording of what is known of it:
Search-R1's instructions, with the model asked to fill in the search results itself.

    >>> render("world", "Who founded Coltek?")
    'Who founded Coltek?'
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from innersearch.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FOLDER = files(__name__)


def names() -> list[str]:
    """The names of all prompts."""
    return sorted(f.name.removesuffix(".txt") for f in _FOLDER.iterdir() if f.name.endswith(".txt"))


def render(name: str, question: str) -> str:
    """The user message that asks `question`.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    if name not in names():
        raise ConfigError(f"unknown prompt {name!r}; {did_you_mean(name, names())}")
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")
    return text.replace("{question}", question)


def encode(tokenizer: PreTrainedTokenizerBase, name: str, question: str) -> tuple[int, ...]:
    """Prompt tokens: the user message in the tokenizer's chat template, or plain where it has none."""
    text = render(name, question)
    if not tokenizer.chat_template:
        return tuple(tokenizer.encode(text + "\n"))
    message = [{"role": "user", "content": text}]
    ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    return tuple(ids)
