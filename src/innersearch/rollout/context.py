"""What the policy sees next: everything so far, or a prompt that is made anew after every call.

Anything but `append` closes the segment and begins one with the new prompt, unless that goes on exactly
where the segment is. Tokens are trained on in the segment in which they were sampled, and are prompt in
every later one.

* `append()`: all of it.
* `shorten(characters)`: what was returned in full once, for one reply, and then only its beginning; or
  only pages so, as ASearcher does. Built from tokens as they were, not from text.
* `render(messages, recent)`: messages made of the question, of what its tools note, and of the last few
  turns. Where they do not fit, in this order: what came back earlier is shortened; the notes are given
  in less detail, as far as their tools can; the oldest turns are left out; of the last result there is
  only the beginning. The notes themselves are never left out, and they are of now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from innersearch import prompts
from innersearch.errors import ConfigError
from innersearch.grammar import Grammar, scan
from innersearch.grammar.control import harmless
from innersearch.policy.base import Message
from innersearch.tools.base import State

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from innersearch.rollout.segment import Observation

RECENT = 5
"""Turns that are kept where nobody says how many."""


class Turn(NamedTuple):
    """A reply and what came of it, in the tokens of its segment and as text."""

    reply_ids: Sequence[int]
    reply: str
    shown_ids: Sequence[int]
    shown: str
    short: Callable[[int], Observation]
    """What was returned, cut after so many characters, with all that is around it."""
    page: bool = False
    """Whether it is a page, or a part of one."""


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
    detail: int = 0
    """In how much detail the notes are shown; 0 is all of it."""

    def detailed(self, detail: int) -> History:
        """The same in another degree of detail."""
        return replace(self, detail=detail)

    @property
    def notes(self) -> Mapping[str, str]:
        """The notes of its tools in that detail, by their headings."""
        given = self.state.notes.items()
        return {
            heading: note if isinstance(note, str) else note[min(self.detail, len(note) - 1)]
            for heading, note in given
        }


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
    pages: bool = False
    """Whether only pages are cut, and what searches found stays."""
    appends: bool = False

    @property
    def name(self) -> str:
        """As settings write it."""
        return f"shorten{'-pages' * self.pages}:{self.characters}"

    def prompt(self, history: History) -> Prompt | None:
        """All but the last result cut short."""
        tokens = list(history.prompt_ids)
        last = len(history.turns) - 1
        for number, turn in enumerate(history.turns):
            tokens += turn.reply_ids
            whole = number == last or (self.pages and not turn.page)
            tokens += turn.shown_ids if whole else turn.short(self.characters).token_ids
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
        """The messages with as much of everything as there is room for."""
        made, rate = Prompt(()), 0.0
        *fuller, least = self._rungs(history)
        for shown in (*fuller, least):
            messages = self.messages(*shown)
            length = sum(len(content) for _, content in messages)
            # To encode takes long, and what is much too long need not be.
            if shown is not least and rate * length > _SURELY * history.room:
                continue
            made = Prompt(prompts.encode_turns(history.tokenizer, messages), messages)
            if len(made.token_ids) <= history.room:
                break
            rate = len(made.token_ids) / max(1, length)
        return made

    def _rungs(self, history: History) -> Iterator[tuple[History, Sequence[Turn]]]:
        """What could be shown, from all to the least."""
        most = min(self.recent, len(history.turns))
        turns = history.turns[len(history.turns) - most :]
        noted = history.state.notes.values()
        details = max((1 if isinstance(note, str) else len(note) for note in noted), default=1)
        for older in (_LONGEST, *_OLDER):
            newest = _shortened(turns[-1:], _LONGEST)
            yield history.detailed(0), [*_shortened(turns[:-1], older), *newest]
        for detail in range(1, details):
            yield history.detailed(detail), [*_shortened(turns[:-1], _OLDER[-1]), *turns[-1:]]
        least = history.detailed(details - 1)
        for kept in range(most - 1, 0, -1):
            yield least, [*_shortened(turns[most - kept : -1], _OLDER[-1]), *turns[-1:]]
        for last in _LAST:
            yield least, [turn._replace(reply="") for turn in _shortened(turns[-1:], last)]
        yield least, ()


_SURELY = 1.3
"""How much more tokens than there is room for are surely too many, as characters and tokens go."""
_LONGEST = 15_000
"""Characters that are ever shown of a result in a prompt that is made anew."""
_OLDER = (600, 120)
"""Characters of results before the last one, where all of them are too much."""
_LAST = (_LONGEST, 6_000, 3_000, 1_500, 1_000, 700, 500, 400, 300, 250, 200, 150, 100, 60, 30)
"""Characters of the last result, where nothing else is left to leave out."""


def _shortened(turns: Sequence[Turn], most: int) -> list[Turn]:
    return [
        turn._replace(shown=turn.short(most).text) if len(turn.shown) > most else turn for turn in turns
    ]


def append() -> Context:
    """The policy sees everything so far."""
    return Append()


def shorten(characters: int, *, pages: bool = False) -> Context:
    """The policy sees a result in full once, and then its first `characters`; with `pages` only what it
    opened is cut.
    """
    return Shorten(characters, pages)


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
    if name in ("shorten", "shorten-pages") and number.isdecimal():
        return shorten(int(number), pages=name != "shorten")
    if name == "render" and number.isdecimal():
        return render(recent=int(number))
    raise ConfigError(
        f"no context {text!r}: write append, shorten:CHARACTERS, shorten-pages:CHARACTERS or "
        "render:TURNS"
    )


def notes_and_turns(history: History, turns: Sequence[Turn]) -> list[Message]:
    """One user message: the question, the notes of the tools under their headings, the turns."""
    notes = [f"{heading}\n{note}" for heading, note in history.notes.items()]
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
    return _cleaned(history.tokenizer, len(history.tokenizer), history.grammar, text)


@lru_cache(maxsize=512)
def _cleaned(tokenizer: PreTrainedTokenizerFast, size: int, grammar: Grammar, text: str) -> str:
    """The same text is tried in prompt after prompt."""
    found = harmless(tokenizer, text, grammar)
    return found.text if found else ""
