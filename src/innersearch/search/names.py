r"""How engines are named: what parts the names, and how a path is written that holds such a character.

    A,B             several engines
    KIND:PLACE      one engine and where it is
    DIR@MODEL       an index of vectors and its encoder

What stands in double quotes is taken as it is: `bm25:"a,b/index"`, `dense:"me@home/index"@MODEL`. Inside
quotes, \" and \\ stand for the quote and the backslash. A shell needs quotes of its own around it.
"""

from __future__ import annotations

import re
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


def engines_in(text: str) -> list[str]:
    """The names of the engines that a setting names, as they are written.

    >>> engines_in('bm25:"a,b", serper')
    ['bm25:"a,b"', 'serper']

    Raises:
        ConfigError: A quote is not closed.
    """
    return [name.strip() for name in cut(text, ",") if name.strip()]


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
