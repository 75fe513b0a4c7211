"""Prompt texts with a named slot for the question.

The text of the published SSRL prompt is not released; `ssrl` is our wording of what is known of it:
Search-R1's instructions, with the model asked to fill in the search results itself. The simulator's are
our wording as well, after what is known of ZeroSearch's; a line of === there begins the reply.

    >>> render("world", "Who founded Coltek?")
    'Who founded Coltek?'
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from innersearch.errors import ConfigError, ModelError, did_you_mean
from innersearch.grammar import closing, opening
from innersearch.types import Kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FOLDER = files(__name__)
_PREFILL = re.compile(rf"{opening(Kind.THINK)}\s*(?:{closing(Kind.THINK)}\s*)?\Z")
"""What a chat template may put at the beginning of a reply."""


@cache
def names() -> tuple[str, ...]:
    """The names of all prompts."""
    return tuple(
        sorted(f.name.removesuffix(".txt") for f in _FOLDER.iterdir() if f.name.endswith(".txt"))
    )


def render(name: str, question: str) -> str:
    """The user message that asks `question`.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    return fill(name, question=question)


def fill(name: str, **values: str) -> str:
    """A prompt with its slots filled; a line of which a slot stays empty is left out.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    if name not in names():
        raise ConfigError(f"unknown prompt {name!r}; {did_you_mean(name, names())}")
    # At once, for a value may hold what looks like a slot.
    slots = re.compile("|".join(rf"\{{{slot}\}}" for slot in values))
    return "\n".join(
        slots.sub(lambda slot: values[slot[0][1:-1]], line)
        for line in _lines(name)
        if all(values[slot[1:-1]] for slot in slots.findall(line))
    )


@cache
def _lines(name: str) -> list[str]:
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return text.removesuffix("\n").split("\n")


def encode(tokenizer: PreTrainedTokenizerBase, name: str, question: str) -> tuple[int, ...]:
    """Prompt tokens: the user message in the tokenizer's chat template, or plain where it has none.

    Some templates begin the reply: Qwen3's thinking models with an open think tag, others with an empty
    thought. That is taken off, for every tag of a trajectory is the policy's own: it is sampled, scored
    and trained on.

    Raises:
        ModelError: The chat template cannot render a single user message.
    """
    if not tokenizer.chat_template:
        return encode_message(tokenizer, render(name, question))
    text = _PREFILL.sub("", _templated(tokenizer, render(name, question)))
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def prefilled(tokenizer: PreTrainedTokenizerBase) -> str:
    """The thought with which a chat template begins the reply; empty where it does not."""
    found = _PREFILL.search(_templated(tokenizer, "…")) if tokenizer.chat_template else None
    return found[0] if found else ""


def encode_message(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The tokens of a user message and of whatever comes before a reply."""
    if not tokenizer.chat_template:
        return tuple(tokenizer.encode(text + "\n"))
    # In two steps, for one that tokenises as well takes three times as long.
    return tuple(tokenizer.encode(_templated(tokenizer, text), add_special_tokens=False))


def _templated(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    message = [{"role": "user", "content": text}]
    try:
        return str(tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False))
    except TemplateError as error:
        raise ModelError(
            f"the tokenizer's chat template cannot render a single user message: {error}; correct "
            "chat_template in its directory, or remove it to put questions as plain text"
        ) from error
