"""Prompt texts with a named slot for the question.

The text of the published SSRL prompt is not released; `ssrl` is our wording of what is known of it:
Search-R1's instructions, with the model asked to fill in the search results itself. The simulator's are
our wording as well, after what is known of ZeroSearch's; a line of === there begins the reply. So are
those of R1-Searcher, RAG-R1 and DeepResearcher, after what is known of theirs.

A text may have a part above a line `=== user`, the system message, and what stands below a first line
`=== transcript` is put as it is, without a chat template, to base models whose tokenizers have one. The
slot `{date}` is the day, by default that on which a run began.

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
from innersearch.prompts.templates import ask, begins_reply, conversation, day, squeezed, turn_end
from innersearch.types import Kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_FOLDER = files(__name__)
_PREFILL = re.compile(rf"{TAGS.opening(Kind.THINK)}\s*(?:{TAGS.closing(Kind.THINK)}\s*)?\Z")
"""What a chat template may put at the beginning of a reply."""
_SYSTEM, _USER, _TRANSCRIPT = "system", "user", "transcript"
_PART = re.compile(rf"^=== ({_USER}|{_TRANSCRIPT})\n", re.MULTILINE)
_log = logging.getLogger(__name__)


@cache
def names() -> tuple[str, ...]:
    """The names of all prompts."""
    return tuple(
        sorted(f.name.removesuffix(".txt") for f in _FOLDER.iterdir() if f.name.endswith(".txt"))
    )


def render(name: str, question: str, grammar: Grammar = TAGS, *, date: str = "") -> str:
    """The user message that asks `question`; a date that is not given is the day.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    return fill(name, grammar, question=question, date=date or day().isoformat())


def system(name: str, *, date: str = "") -> str:
    """The system message above it; empty where there is none.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    return fill(name, part=_SYSTEM, date=date or day().isoformat())


def is_transcript(name: str) -> bool:
    """Whether a prompt is the beginning of a text and no message of a chat.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    _demand_name(name)
    return _TRANSCRIPT in _parts(name)


def fill(name: str, grammar: Grammar = TAGS, *, part: str = _USER, **values: str) -> str:
    """A prompt with its slots filled; a line of which a slot stays empty is left out.

    Values are other people's text: markup of chats and of the grammar in them is put in brackets of
    another kind, as in documents.

    Raises:
        ConfigError: There is no prompt of that name.
    """
    _demand_name(name)
    values = {slot: neutralise(value, grammar=grammar) for slot, value in values.items()}
    # At once, for a value may hold what looks like a slot.
    slots = re.compile("|".join(rf"\{{{slot}\}}" for slot in values))
    return "\n".join(
        slots.sub(lambda slot: values[slot[0][1:-1]], line)
        for line in _parts(name).get(part, _parts(name).get(_TRANSCRIPT, ()) if part == _USER else ())
        if all(values[slot[1:-1]] for slot in slots.findall(line))
    )


def _demand_name(name: str) -> None:
    if name not in names():
        raise ConfigError(f"unknown prompt {name!r}; {did_you_mean(name, names())}")


@cache
def _parts(name: str) -> dict[str, list[str]]:
    """The lines of each part of a prompt."""
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    first, *rest = _PART.split(text.removesuffix("\n"))
    if not rest:
        return {_USER: first.split("\n")}
    found = dict(zip(rest[::2], (part.split("\n") for part in rest[1::2]), strict=True))
    return found if _TRANSCRIPT in found else {_SYSTEM: first.removesuffix("\n").split("\n"), **found}


def encode(
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    question: str,
    *,
    grammar: Grammar = TAGS,
    tools: Sequence[Mapping[str, Any]] = (),
    date: str = "",
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
    return _put(tokenizer, name, question, grammar, tools, date)[0]


def encode_all(
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    questions: Sequence[str],
    *,
    grammar: Grammar = TAGS,
    tools: Sequence[Mapping[str, Any]] = (),
    date: str = "",
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
            ids, changed = _put(tokenizer, name, question, grammar, tools, date)
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
    date: str,
) -> tuple[tuple[int, ...], bool]:
    """The prompt tokens of a question, and whether it had to be changed. No text of it is in an error,
    for it may be that of a sealed benchmark.
    """
    asked = harmless(tokenizer, question, grammar)
    if asked is None:
        raise DataError("it holds markup that this tokenizer restores whatever is put in its place")
    if question.strip() and unknown_ids(tokenizer).issuperset(asked.token_ids):
        raise DataError("the tokenizer has no tokens for it: drop it, or take a model for its language")
    message, told = render(name, asked.text, grammar, date=date), system(name, date=date)
    if tools and (not tokenizer.chat_template or is_transcript(name)):
        raise ModelError("the tokenizer has no chat template to show tools in: take another model")
    if is_transcript(name):
        return plain_tokens(tokenizer, message), asked.text != question
    if not tokenizer.chat_template:
        return encode_message(tokenizer, _together(told, message)), asked.text != question
    rendered = ask(tokenizer, message, tools, told)
    ids = tokenizer.encode(_PREFILL.sub("", rendered), add_special_tokens=False)
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


def _together(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def encode_message(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The tokens of a user message and of whatever comes before a reply.

    Raises:
        ModelError: As `encode`.
    """
    if tokenizer.chat_template:
        # In two steps, for one that tokenises as well takes three times as long.
        rendered = tokenizer.encode(ask(tokenizer, text), add_special_tokens=False)
        return _open_ended(tokenizer, rendered)
    return plain_tokens(tokenizer, text + "\n")


def plain_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The tokens of a text that goes on, without a chat, behind what begins every text."""
    bare = tokenizer.encode(text, add_special_tokens=False)
    full = tokenizer.encode(text)
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
