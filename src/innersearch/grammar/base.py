"""A grammar as a value: the tags that a policy writes, and what it asks for with them.

Everything that reads or writes tags takes a `Grammar`: `scan`, masks, `neutralise`, stop strings,
transcripts. Nobody else knows how a tag is spelled.

    >>> tags = {Kind.SEARCH: Tag("[search]", "[/search]"), Kind.INFORMATION: Tag("[found]", "[/found]")}
    >>> bracketed = Grammar("bracketed", tags)
    >>> bracketed.render(Kind.SEARCH, "who?")
    '[search]who?[/search]'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import permutations
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from innersearch.errors import ConfigError
from innersearch.types import Kind

_TAG = re.compile(r"<[^<>\[\]\0-\x1f]+>|\[[^<>\[\]\0-\x1f]+\]")
_UNTAGGED = (Kind.PROMPT, Kind.TEXT)
ANSWER = "answer"
"""The name under which an answer is asked for, as if it were a tool."""


@dataclass(frozen=True, slots=True)
class Tag:
    """How a block is written: `<search>` … `</search>`, `<|begin_of_query|>` … `<|end_of_query|>`."""

    opens: str
    closes: str

    def __iter__(self) -> Iterator[str]:
        """Both ends."""
        return iter((self.opens, self.closes))


class Block(NamedTuple):
    """One block of a text, in character offsets; `[content_start, content_end)` excludes the tags."""

    kind: Kind
    start: int
    content_start: int
    content_end: int
    end: int
    closed: bool
    """Whether nothing is missing of it; a part of a thought in which something else stands is whole."""

    def content(self, text: str) -> str:
        """What stands between the tags."""
        return text[self.content_start : self.content_end]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that the policy asks for."""

    tool: str
    """Who is to do it: search, open, … or `answer`."""
    inputs: tuple[str, ...]
    """Queries, addresses, ids; of an answer its text."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The other arguments of a tool call."""
    dropped: int = 0
    """Inputs that were left out, since there were more than are allowed."""


class Reason(StrEnum):
    """Why a reply cannot be read; few, so that they can be counted."""

    EMPTY = "the request is empty"
    """Nothing, or nothing but separators and quotes."""
    UNCLOSED = "the request has no closing tag"
    """The reply ends inside a block that asks for something."""
    NOTHING = "the reply asks for nothing and does not answer"
    """Where the grammar demands either."""
    NOT_JSON = "the call is not valid JSON"
    """What stands between the tags does not parse."""
    NOT_A_CALL = "the call is not an object with name and arguments"
    """It is JSON of another shape."""
    UNKNOWN_TOOL = "there is no tool of that name"
    """The call names another one."""
    NO_INPUT = "the call lacks the argument that the tool needs"
    """It is missing, or neither text nor a list of texts."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A reply that cannot be read."""

    reason: str
    """One of few texts, since it is counted; those of this package are in `Reason`."""
    detail: str = ""
    """What was found instead, in words of the policy."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


Reading = Callable[[str], tuple[Action, ...] | Malformed]
"""What the content of a closed block asks for."""


@dataclass(frozen=True, eq=False)
class Grammar:
    """What a policy writes and how it is read.

    Two grammars are the same only if they are the same object. Tags are in angle or square brackets,
    since that is what `neutralise` can make harmless, and none stands inside another, so that a text
    can be read while it is written.

    Raises:
        ConfigError: The parts do not fit together.
    """

    name: str
    tags: Mapping[Kind, Tag]
    reads: Mapping[Kind, Reading] = field(default_factory=dict)
    """How a closed block of a kind becomes actions; other kinds ask for nothing."""
    begins: str = ""
    """What the framework writes first in every reply, for example `<think>`."""
    nested: frozenset[Kind] = frozenset()
    """Kinds that may stand inside a thought, which goes on after them."""
    opaque: frozenset[Kind] = frozenset()
    """Kinds in which other tags are text, but for those of nested kinds in a thought. In information,
    which comes from others, they always are."""
    turns: bool = False
    """Whether a call ends the chat turn, and its result is a turn of its own."""
    several: bool = False
    """Whether a reply may ask for several things; it goes on after one until the policy ends it."""
    demands: bool = False
    """Whether a reply is malformed that neither asks for anything nor answers."""
    malformed: Literal["end", "tell", "retry"] = "tell"
    """What happens to a malformed reply: the trajectory ends, or the policy is told and goes on, or the
    reply is taken back and sampled again."""
    retries: int = 0
    """How often a reply is sampled again; where the policy is told, how many of them in a row it may
    write before the trajectory ends, 0 for any number."""
    untagged: bool = False
    """Whether the answer stands in no tags: it is all that is said after the last thought."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", MappingProxyType(dict(self.tags)))
        object.__setattr__(self, "reads", MappingProxyType(dict(self.reads)))
        _check_tags(self)
        _check_kinds(self)
        if self.begins and not self.begins.isprintable() and not self.begins.strip():
            raise ConfigError(f"grammar {self.name}: replies begin with white space: {self.begins!r}")
        if self.malformed == "retry" and self.retries < 1:
            raise ConfigError(f"grammar {self.name}: malformed = 'retry' needs retries of 1 or more")

    def opening(self, kind: Kind) -> str:
        """The opening tag, for example `<search>`."""
        return self._tag(kind).opens

    def closing(self, kind: Kind) -> str:
        """The closing tag, for example `</search>`."""
        return self._tag(kind).closes

    def render(self, kind: Kind, content: str) -> str:
        """`content` between the tags of `kind`."""
        tag = self._tag(kind)
        return f"{tag.opens}{content}{tag.closes}"

    @property
    def markup(self) -> tuple[str, ...]:
        """All tags, opening and closing, in the order of the kinds."""
        return tuple(end for tag in self.tags.values() for end in tag)

    @property
    def stops(self) -> tuple[str, ...]:
        """The closing tags of what ends a reply, but for the answer's: of everything that asks."""
        if self.several:
            return ()
        return tuple(self.closing(kind) for kind in self.reads if kind is not Kind.ANSWER)

    def actions(self, blocks: Sequence[Block], text: str) -> tuple[Action, ...] | Malformed:
        """What the blocks of a reply ask for, in order; `text` is that to which they refer.

        What stands before an answer is to be done before it counts. What stands after one is read if
        it can be, and never makes a reply malformed.
        """
        found: list[Action] = []
        for block in blocks:
            if not block.closed or (reading := self.reads.get(block.kind)) is None:
                continue
            asked = reading(block.content(text).strip())
            answered = any(action.tool == ANSWER for action in found)
            if isinstance(asked, Malformed):
                if not answered:
                    return asked
            else:
                found += asked
        if not found and self.demands:
            unclosed = blocks and blocks[-1].kind in self.reads and not blocks[-1].closed
            return Malformed(Reason.UNCLOSED if unclosed else Reason.NOTHING)
        return tuple(found)

    def _tag(self, kind: Kind) -> Tag:
        if kind not in self.tags:
            raise ConfigError(f"grammar {self.name} has no tags for {kind}; it has {_names(self.tags)}")
        return self.tags[kind]


def _check_tags(grammar: Grammar) -> None:
    for tag in grammar.markup:
        if not _TAG.fullmatch(tag) or not tag.isascii() or not re.search(r"\w", tag):
            raise ConfigError(
                f"grammar {grammar.name}: {tag!r} is no tag: write letters of ASCII in <> or [], with "
                "no other such bracket inside"
            )
    for one, other in permutations(grammar.markup, 2):
        if one in other:
            raise ConfigError(
                f"grammar {grammar.name}: the tag {one!r} stands in the tag {other!r}, so that nobody "
                "can tell them apart: rename one"
            )


def _check_kinds(grammar: Grammar) -> None:
    named = {
        "tags": set(grammar.tags) & set(_UNTAGGED),
        "reads": set(grammar.reads) - set(grammar.tags),
        "opaque": set(grammar.opaque) - set(grammar.tags),
        "nested": set(grammar.nested) - (set(grammar.tags) - {Kind.THINK, Kind.ANSWER}),
    }
    for part, wrong in named.items():
        if wrong:
            raise ConfigError(f"grammar {grammar.name}: {_names(wrong)} cannot be in its {part}")
    for needed in (Kind.INFORMATION, *([Kind.THINK] if grammar.nested else [])):
        if needed not in grammar.tags:
            raise ConfigError(f"grammar {grammar.name} needs tags for {needed}")


def _names(kinds: Any) -> str:
    return ", ".join(sorted(kinds)) or "none"
