"""Prompt texts with a named slot for the question.

The text of the published SSRL prompt is not released; `ssrl` is our wording of what is known of it:
Search-R1's instructions, with the model asked to fill in the search results itself. The simulator's are
our wording as well, after what is known of ZeroSearch's; a line of === there begins the reply.

    >>> render("world", "Who founded Coltek?")
    'Who founded Coltek?'
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from innersearch.errors import ConfigError, DataError, ModelError, did_you_mean
from innersearch.grammar import TAGS, Grammar, neutralise
from innersearch.grammar.control import Harmless, harmless, unknown_ids
from innersearch.prompts.templates import ask, begins_reply, conversation, squeezed, turn_end
from innersearch.types import Kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_FOLDER = files(__name__)
_PREFILL = re.compile(rf"{TAGS.opening(Kind.THINK)}\s*(?:{TAGS.closing(Kind.THINK)}\s*)?\Z")
"""What a chat template may put at the beginning of a reply."""
_log = logging.getLogger(__name__)


@cache
def names() -> tuple[str, ...]:
    """The names of all prompts."""
    return tuple(
        sorted(f.name.removesuffix(".txt") for f in _FOLDER.iterdir() if f.name.endswith(".txt"))
    )


def render(name: str, question: str, grammar: Grammar = TAGS) -> str:
    """The user message that asks `question`.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    return fill(name, grammar, question=question)


def fill(name: str, grammar: Grammar = TAGS, **values: str) -> str:
    """A prompt with its slots filled; a line of which a slot stays empty is left out.

    Values are other people's text: markup of chats and of the grammar in them is put in brackets of
    another kind, as in documents.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    if name not in names():
        raise ConfigError(f"unknown prompt {name!r}; {did_you_mean(name, names())}")
    values = {slot: neutralise(value, grammar=grammar) for slot, value in values.items()}
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


def encode(
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    question: str,
    *,
    grammar: Grammar = TAGS,
    tools: Sequence[Mapping[str, Any]] = (),
) -> tuple[int, ...]:
    """Prompt tokens: the user message in the tokenizer's chat template, or plain where it has none.

    No control token and no tag comes of the question, whatever stands in it. Some templates begin the
    reply: Qwen3's thinking models with an open think tag, others with an empty thought. That is taken
    off, for every tag of a trajectory is the policy's own: it is sampled, scored and trained on.
    Schemas of tools stand where the template puts them.

    Raises:
        DataError: The question cannot be put to this model: it cannot be made harmless, or the tokenizer
            has no tokens for it, alone or in the chat template.
        ModelError: The chat template cannot render a single user message, loses it or a tool, or ends
            the prompt with the token that ends a reply; or there are tools and no template.
    """
    return _put(tokenizer, name, question, grammar, tools)[0]


def encode_all(
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    questions: Sequence[str],
    *,
    grammar: Grammar = TAGS,
    tools: Sequence[Mapping[str, Any]] = (),
) -> list[tuple[int, ...]]:
    """The prompt tokens of many questions; says once in how many of them markup was made harmless.

    Raises:
        DataError: As `encode`, or a question is blank.
        ModelError: As `encode`.
    """
    encoded, marked = [], []
    for number, question in enumerate(questions, 1):
        if not question.strip():
            raise DataError(f"question {number} of {len(questions)} is blank")
        try:
            ids, changed = _put(tokenizer, name, question, grammar, tools)
        except DataError as error:
            raise DataError(f"question {number} of {len(questions)}: {error}") from None
        encoded.append(ids)
        marked += [number] * changed
    if marked:
        _log.warning(
            "note: chat or protocol markup stands in %s of %s questions, first in number %s: it is put "
            "in brackets of another kind, as in documents",
            *(len(marked), len(questions), marked[0]),
        )
    return encoded


def _put(
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    question: str,
    grammar: Grammar,
    tools: Sequence[Mapping[str, Any]],
) -> tuple[tuple[int, ...], bool]:
    """The prompt tokens of a question, and whether it had to be changed. No text of it is in an error,
    for it may be that of a sealed benchmark.
    """
    asked = harmless(tokenizer, question, grammar)
    if asked is None:
        raise DataError("it holds markup that this tokenizer restores whatever is put in its place")
    if question.strip() and unknown_ids(tokenizer).issuperset(asked.token_ids):
        raise DataError("the tokenizer has no tokens for it: drop it, or take a model for its language")
    message = render(name, asked.text, grammar)
    if tools and not tokenizer.chat_template:
        raise ModelError("the tokenizer has no chat template to show tools in: take another model")
    if not tokenizer.chat_template:
        return encode_message(tokenizer, message), asked.text != question
    ids = tokenizer.encode(_PREFILL.sub("", ask(tokenizer, message, tools)), add_special_tokens=False)
    if not _stands_in(tokenizer, asked, ids):
        raise DataError("the tokenizer loses it in its chat template: drop it, or take another model")
    return _open_ended(tokenizer, ids), asked.text != question


def _stands_in(tokenizer: PreTrainedTokenizerFast, asked: Harmless, ids: Sequence[int]) -> bool:
    """Whether the tokens of a prompt hold a question: but for those at its edges, or in what they spell,
    which tells also where a tokenizer changes what it is given.
    """
    inner, all_ids = (f" {' '.join(map(str, part))} " for part in (asked.token_ids[1:-1], ids))
    written = tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False)
    # Where a tokenizer cuts a long word, some decode a space, and elsewhere in other surroundings.
    own, whole = ("".join(squeezed(text).split()) for text in ("".join(asked.pieces), written))
    return inner in all_ids or own in whole


def prefilled(tokenizer: PreTrainedTokenizerBase) -> str:
    """The thought with which a chat template begins the reply; empty where it does not."""
    found = _PREFILL.search(ask(tokenizer, "…")) if tokenizer.chat_template else None
    return found[0] if found else ""


def encode_message(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The tokens of a user message and of whatever comes before a reply.

    Raises:
        ModelError: As `encode`.
    """
    if tokenizer.chat_template:
        # In two steps, for one that tokenises as well takes three times as long.
        rendered = tokenizer.encode(ask(tokenizer, text), add_special_tokens=False)
        return _open_ended(tokenizer, rendered)
    bare = tokenizer.encode(text + "\n", add_special_tokens=False)
    full = tokenizer.encode(text + "\n")
    # Some tokenizers put an end behind every text, and what follows an end is another text.
    starts = (n for n in range(len(full)) if full[n : n + len(bare)] == bare)
    return tuple(full[: next(starts, 0)] + bare)


def encode_turns(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]]
) -> tuple[int, ...]:
    """The tokens of a conversation, by role and content, and of whatever comes before a reply.

    Raises:
        ModelError: As `encode`.
    """
    if not tokenizer.chat_template:
        return encode_message(tokenizer, "\n".join(content for _, content in turns))
    rendered = _PREFILL.sub("", conversation(tokenizer, turns))
    return _open_ended(tokenizer, tokenizer.encode(rendered, add_special_tokens=False))


def _open_ended(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> tuple[int, ...]:
    """The tokens of a prompt, which may not end, but for white space, with what ends a reply."""
    last = next((i for i in reversed(ids) if str(tokenizer.decode([i])).strip()), -1)
    # To find out how a turn ends takes as long as the rest.
    if last == tokenizer.eos_token_id or (
        last in tokenizer.added_tokens_decoder
        and last == turn_end(tokenizer)
        and not begins_reply(tokenizer)
    ):
        raise ModelError(
            f"the tokenizer's chat template ends the prompt with {tokenizer.decode([last])}, with which "
            "it ends a reply, so that none follows: correct chat_template in its directory, so that it "
            "begins the reply (add_generation_prompt)"
        )
    return tuple(ids)
