r"""How engines are named: what parts the names, and how a path is written that holds such a character.

    A,B             several engines
    KIND:PLACE      one engine and where it is
    DIR@MODEL       an index of vectors and its encoder

What stands in double quotes is taken as it is: `bm25:"a,b/index"`, `dense:"me@home/index"@MODEL`. Inside
quotes, \" and \\ stand for the quote and the backslash. A shell needs quotes of its own around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from innersearch.errors import ConfigError

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[^"]', re.DOTALL)
_SPECIAL = re.compile(r'[,@"]|^\s|\s$')


def cut(text: str, at: str) -> list[str]:
    """A text, cut at a character wherever that does not stand in quotes, which stay.

    Raises:
        ConfigError: A quote is not closed.
    """
    parts = [""]
    for piece in _pieces(text):
        if piece == at:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


@dataclass(frozen=True, slots=True)
class EngineName:
    """One engine as it is named: what kind it is of, and what stands behind that.

    >>> EngineName.parse('bm25:"a,b"').place, EngineName.parse("brave#per_second=1").kind
    ('a,b', 'brave')
    """

    text: str
    """As it is written."""
    kind: str
    rest: str
    """What stands behind the kind and its colon, quotes included; of an engine over the network it may
    begin with the # of its options."""

    @classmethod
    def parse(cls, text: str) -> EngineName:
        """The name that a text holds, blanks around it apart.

        Raises:
            ConfigError: A quote is not closed.
        """
        text = text.strip()
        bare(text)
        kind = re.split("[:#]", text, maxsplit=1)[0]
        return cls(text, kind, text[len(kind) :].removeprefix(":"))

    @property
    def place(self) -> str:
        """What stands behind the kind, without its quotes."""
        return bare(self.rest)

    def parts(self, at: str) -> tuple[str, str]:
        """What stands behind the kind, cut at the first `at` outside of quotes, without its quotes."""
        first, *others = cut(self.rest, at)
        return bare(first), bare(at.join(others))


@cache
def engine_names(text: str) -> tuple[EngineName, ...]:
    """The engines that a setting names.

    >>> [name.text for name in engine_names('bm25:"a,b", serper')]
    ['bm25:"a,b"', 'serper']

    Raises:
        ConfigError: A quote is not closed.
    """
    return tuple(EngineName.parse(name) for name in cut(text, ",") if name.strip())


def demand_reader_name(text: str) -> None:
    """Check how the name of a reader of pages is written.

    Raises:
        ConfigError: It is no reader, or lacks or has numbers.
    """
    form = r"whole(:[1-9]\d{0,6})?|parts:[1-9]\d{0,6}:[1-9]\d{0,3}|passages:[1-9]\d{0,3}|model:.+"
    if re.fullmatch(form, text) is None:
        raise ConfigError(
            f"no reader {text!r}: write whole or whole:TOKENS, parts:CHARACTERS:MOST, passages:NUMBER, "
            "or model:URL#NAME or model:DIR"
        )


def bare(text: str) -> str:
    """A place without the quotes in it.

    Raises:
        ConfigError: A quote is not closed.
    """
    return "".join(
        re.sub(r"\\(.)", r"\1", piece[1:-1], flags=re.DOTALL) if len(piece) > 1 else piece
        for piece in _pieces(text)
    )


def place(text: str | Path) -> str:
    """A path or an address as it is written in the name of an engine.

    >>> place("runs/wiki"), place("a,b/ix")
    ('runs/wiki', '"a,b/ix"')
    """
    # A path that is really called so; what a user writes with it is looked for in a home.
    text = f"./{text}" if isinstance(text, Path) and str(text).startswith("~") else str(text)
    if not _SPECIAL.search(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _pieces(text: str) -> list[str]:
    pieces = _PIECE.findall(text)
    if len("".join(pieces)) != len(text):
        raise ConfigError(
            f'a double quote in {text!r} is not closed: write a path that holds one in quotes, and \\" '
            "for the quote itself"
        )
    return pieces
