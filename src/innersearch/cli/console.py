"""Where commands print: results to stdout, errors to stderr.

Neither reads square brackets as markup: questions, paths and answers may hold them. Neither hands on
what would steer the terminal: documents, questions and files are other people's text, and may clear the
screen, write the clipboard or turn a line round. Where a launcher started several processes, the first
one speaks for all; errors are printed once per machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, screen
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]+[0-~]|\x1b[0-Z\\`-~]"  # two and three characters: character sets, reset
)
"""Whole sequences go with all they hold; of one that is not closed only the beginning goes."""
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_STEERING = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks, embeddings, overrides, isolates
    "\ufff9-\ufffb\U000e0000-\U000e007f]"  # annotations, tags: text that nobody sees
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    r"""A text without what steers a terminal, or cannot be printed at all.

    Escape sequences, control characters and marks of direction are dropped, tabs and newlines stay;
    whatever else begins a line becomes a newline, half a surrogate pair the replacement character. All
    scripts stay as they are, the joiners that Indic scripts and emoji need included.

    >>> printable("a\x1b]52;c;aGk=\x07b\x1b[2Jc\x9b1md\r\ne\u202ef")
    'abcd\nef'
    """
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_END.sub("\n", _SEQUENCE.sub("", text))
    return _SURROGATE.sub("\ufffd", _STEERING.sub("", text))


class SafeConsole(Console):
    """A console that prints nothing of a text but what `printable` leaves of it, and all of that: rich
    would make an emoji of `:x:` in a name.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(emoji=False, **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of anything that is printed, tables and live displays included."""
        return _safe(super().render(renderable, options))

    def render_str(self, text: str, **settings: Any) -> Text:
        """A text, made safe before rich takes the ends off its escape sequences."""
        return super().render_str(printable(text), **settings)


def _safe(segments: Iterable[Segment]) -> Iterator[Segment]:
    for segment in segments:
        # Control segments are rich's own.
        text = segment.text if segment.control else printable(segment.text)
        yield segment if text == segment.text else Segment(text, segment.style)


def _number(variable: str) -> int:
    """A variable that launchers set; whoever needs it refuses what is no number."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0


ANOTHER = 0 < _number("RANK") < _number("WORLD_SIZE")
"""Whether another process speaks for this one."""

_QUIET = ANOTHER and _number("LOCAL_RANK") > 0

stdout = SafeConsole(highlight=False, soft_wrap=True, markup=False, quiet=ANOTHER)
stderr = SafeConsole(highlight=False, soft_wrap=True, markup=False, stderr=True, quiet=_QUIET)
