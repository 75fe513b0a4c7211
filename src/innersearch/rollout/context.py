"""What the policy sees next: everything so far, or a prompt that is made anew after every call.

Anything but `append` closes the segment and begins one with the new prompt, unless that goes on exactly
where the segment is. Tokens are trained on in the segment in which they were sampled, and are prompt in
every later one.

* `append()`: all of it.
* `shorten(characters)`: what was returned in full once, for one reply, and then only its beginning.
  Built from tokens as they were, not from text.
* `render(messages, recent, budget)`: messages made of the question, of what its tools note, and of the
  last few turns; the oldest of these are left out until the prompt fits, the notes never are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from innersearch import prompts
from innersearch.errors import ConfigError
from innersearch.grammar import Grammar, scan
from innersearch.grammar.control import harmless
from innersearch.policy.base import Message
from innersearch.tools.base import State

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

RECENT = 5
"""Turns that are kept where nobody says how many."""


class Turn(NamedTuple):
    """A reply and what came of it, in the tokens of its segment and as text."""

    reply_ids: Sequence[int]
    reply: str
    shown_ids: Sequence[int]
    shown: str
    short_ids: Callable[[int], Sequence[int]]
    """What was returned, cut after so many characters, with all that is around it."""


class Prompt(NamedTuple):
    """What the policy sees next."""

    token_ids: Sequence[int]
    messages: Sequence[Message] = ()
    """The same as messages, where it is made of other ones than the first prompt is."""


@dataclass(frozen=True, slots=True)
class History:
    """All of a trajectory so far, for whoever makes a prompt of it."""

    tokenizer: PreTrainedTokenizerFast
    grammar: Grammar
    message: str
    """The user message, or the question where that is not known."""
    prompt_ids: Sequence[int]
    """The first prompt."""
    turns: Sequence[Turn]
    state: State
    room: int
    """Tokens that a prompt may have."""


class Context(Protocol):
    """Says what the policy sees next."""

    @property
    def name(self) -> str:
        """As settings write it."""

    @property
    def appends(self) -> bool:
        """Whether it never makes another prompt."""

    def prompt(self, history: History) -> Prompt | None:
        """The next prompt; None where everything so far is."""


Messages = Callable[[History, Sequence[Turn]], Sequence[Message]]
"""The messages that show a history with the last few of its turns."""


@dataclass(frozen=True, slots=True)
class Append:
    """See `append`."""

    name: str = "append"
    appends: bool = True

    def prompt(self, history: History) -> None:
        """Everything so far."""
        return


@dataclass(frozen=True, slots=True)
class Shorten:
    """See `shorten`."""

    characters: int
    appends: bool = False

    @property
    def name(self) -> str:
        """As settings write it."""
        return f"shorten:{self.characters}"

    def prompt(self, history: History) -> Prompt | None:
        """All but the last result cut short."""
        tokens = list(history.prompt_ids)
        last = len(history.turns) - 1
        for number, turn in enumerate(history.turns):
            tokens += turn.reply_ids
            tokens += turn.shown_ids if number == last else turn.short_ids(self.characters)
        return Prompt(tokens)


@dataclass(frozen=True, slots=True)
class Render:
    """See `render`."""

    messages: Messages
    recent: int
    appends: bool = False

    @property
    def name(self) -> str:
        """As settings write it."""
        return f"render:{self.recent}"

    def prompt(self, history: History) -> Prompt | None:
        """The messages with as many turns as there is room for."""
        made = Prompt(())
        most = min(self.recent, len(history.turns))
        for kept in range(most, -1, -1):
            turns = history.turns[len(history.turns) - kept :]
            messages = self.messages(history, turns)
            made = Prompt(prompts.encode_turns(history.tokenizer, messages), messages)
            if len(made.token_ids) <= history.room:
                break
        return made


def append() -> Context:
    """The policy sees everything so far."""
    return Append()


def shorten(characters: int) -> Context:
    """The policy sees a result in full once, and then its first `characters`."""
    return Shorten(characters)


def render(messages: Messages | None = None, recent: int = RECENT) -> Context:
    """The policy sees messages made anew, with at most `recent` turns."""
    return Render(messages or notes_and_turns, recent)


def named(text: str) -> Context:
    """The context that a setting names.

    Raises:
        ConfigError: There is none.
    """
    name, _, number = text.partition(":")
    if text == "append":
        return append()
    if name == "shorten" and number.isdecimal():
        return shorten(int(number))
    if name == "render" and number.isdecimal():
        return render(recent=int(number))
    raise ConfigError(f"no context {text!r}: write append, shorten:CHARACTERS or render:TURNS")


def notes_and_turns(history: History, turns: Sequence[Turn]) -> list[Message]:
    """One user message: the question, the notes of the tools under their headings, the turns."""
    notes = [f"{heading}\n{note}" for heading, note in history.state.notes.items()]
    clean = (_harmless(history, note) for note in notes)
    shown = (_readable(history, turn.reply) + turn.shown for turn in turns)
    return [("user", "\n\n".join(_filled((history.message, *clean, *shown))))]


def _filled(texts: Iterable[str]) -> list[str]:
    return [text for text in map(str.strip, texts) if text]


def _readable(history: History, reply: str) -> str:
    """What the policy wrote, with its tags and without any other markup."""
    parts = []
    for block in scan(reply, history.grammar):
        tags = reply[block.start : block.content_start], reply[block.content_end : block.end]
        parts += [tags[0], _harmless(history, block.content(reply)), tags[1]]
    return "".join(parts)


def _harmless(history: History, text: str) -> str:
    found = harmless(history.tokenizer, text, history.grammar)
    return found.text if found else ""
