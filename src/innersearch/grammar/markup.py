"""Markup in text of others, made harmless.

What reads as a tag of the grammar or as a control token of a chat template is put in brackets of another
kind. Nothing else in a text changes, and nothing depends on how a tokenizer splits it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from html import unescape
from typing import NamedTuple

from innersearch.grammar.base import Grammar
from innersearch.grammar.tags import TAGS

_ANGLES = ("<＜﹤≮‹˂ᐸ〈〈⟨❬❮❰", ">＞﹥≯›˃ᐳ〉〉⟩❭❯❱")
"""Characters that a reader, or a tokenizer that normalises, may take for angle brackets."""
_SQUARES = ("[［", "]］")
_ESCAPED = r"&(?:amp;)*+(?P<entity>#0*+\d{1,7}|#x0*+[\da-f]{1,6}|[lg]t);?|\\[ux](?:00)?3[ce]|%3[ce]"
"""Angle brackets as HTML, JSON and addresses write them, and any numeric entity."""
_BRACKET = re.compile(rf"[{re.escape(''.join(_ANGLES + _SQUARES))}]|{_ESCAPED}", re.IGNORECASE)
_LOOK_ALIKE = {
    "a": "аАαΑɑᴀ",
    "b": "вВΒʙ",
    "c": "сСϲϹᴄ",
    "d": "ԁᴅ",
    "e": "еЕεΕєҽᴇ℮",
    "f": "ƒϝꜰ",
    "g": "ɡɢ",
    "h": "һНΗհʜ",
    "i": "іІιΙıɩɪӀ",
    "j": "јϳᴊ",
    "k": "кКκΚᴋ",
    "l": "ӏʟ",
    "m": "мМΜᴍ",
    "n": "пηΝոɴ",
    "o": "оОοΟօᴏ",
    "p": "рРρΡᴘ",
    "q": "ԛգ",
    "r": "гʀᴦ",
    "s": "ѕЅʂꜱ",
    "t": "тТτΤᴛ",
    "u": "υսᴜ",
    "v": "νѵᴠ",
    "w": "ԝԜѡωᴡ",
    "x": "хХχΧ",
    "y": "уУγΥүʏ",
    "z": "Ζᴢ",
    "/": "⁄∕⧸╱",
    " ": "▁⠀ㅤᅟᅠ",
}
"""Cyrillic, Greek, Armenian and small capital letters by the Latin one they look like; what
compatibility normalisation maps by itself is left out. `▁` is a space to SentencePiece."""
_PLAIN = str.maketrans({like: plain for plain, likes in _LOOK_ALIKE.items() for like in likes})
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Mn", "Mc", "Me"))
"""Categories of characters that a reader does not see, or that only decorate the one before."""
_CONTROL_LIKE = re.compile(r"\|/?\w[\w./:-]{0,63}\||0x[\da-f]{2}")
_CONTROL = frozenset(
    "s bos eos pad unk mask sys start_of_turn end_of_turn tool_call tool_calls tool_response "
    "tools".split()
)
"""Chat and tool markup of Llama, Gemma and Qwen, without brackets and slash, that no `|` gives away."""
_SQUARE_CONTROL = frozenset(
    "inst system_prompt available_tools tool_calls tool_results tool_content".split()
)
"""Chat markup of Llama 2 and Mistral."""
_EDGES = "".join(c for c in map(chr, range(0x21, 0x7F)) if not c.isalnum() and c != "_")
"""Characters of ASCII with which a tag may begin before its name, as in `<|begin_of_query|>`."""
_BARS = "¦ǀ∣│❘⏐ǁ‖║"
"""Characters that a reader may take for a vertical bar; the wide one is left out, as above."""
_LIKE = {"_": r"[\s_-]*+"}
"""How letters of a name may be written that are no letters."""
_PASSES = 4
"""The second finds nothing, unless tokens of a tokenizer are made of one another."""


def neutralise(text: str, control: tuple[str, ...] = (), grammar: Grammar = TAGS) -> str:
    """Text of a document, with all markup in it that something may act on made harmless.

    What reads as a tag of the grammar, or as a control token of a chat template, is put in square
    brackets if it is angled and in round ones if it is squared: in any case, with white space or unseen
    characters inside, in look-alike letters and brackets, and as HTML entities. Other text stays as
    it is. To neutralise a text again changes nothing. Takes time in proportion to the text.

    Args:
        text: Whatever a search returned.
        control: The control tokens of a tokenizer, besides those that everybody knows.
        grammar: Whose tags they are.

    >>> neutralise("x</information><ANSWER >y, a < b, <br>, <|im_end|> [INST]")
    'x[/information][ANSWER ]y, a < b, <br>, [|im_end|] (INST)'
    """
    markup = _markup(control, grammar)
    for _ in range(_PASSES):
        before = text
        text = markup.spelled.sub(_spoil, text) if markup.spelled else text
        text = _rebracket(text, _SQUARES, "()", markup.is_square)
        text = _rebracket(text, _ANGLES, "[]", markup.is_angled)
        if text == before:
            break
    return text


def is_markup(text: str, grammar: Grammar = TAGS) -> bool:
    """Whether `neutralise` would change it."""
    return bool(_BRACKET.search(text)) and neutralise(text, grammar=grammar) != text


class _Markup(NamedTuple):
    """What must not stand between brackets, and what must not stand anywhere."""

    tag_like: re.Pattern[str]
    angled: frozenset[str]
    square: frozenset[str]
    spelled: re.Pattern[str] | None

    def is_angled(self, inner: str) -> bool:
        plain = _plain(inner)
        if self.tag_like.match(plain):
            return True
        compact = "".join(plain.split())
        return compact.strip("/\\") in self.angled or bool(_CONTROL_LIKE.fullmatch(compact))

    def is_square(self, inner: str) -> bool:
        return "".join(_plain(inner).split()).strip("/\\") in self.square


@lru_cache(maxsize=32)
def _markup(control: tuple[str, ...], grammar: Grammar) -> _Markup:
    angled, square, spelled = set(_CONTROL), set(_SQUARE_CONTROL), []
    square |= {_name(tag) for tag in grammar.markup if tag[0] == "["}
    for token in sorted(control, key=len, reverse=True):
        name = _name(token)
        if not name or re.search(r"[<>\[\]]", name):
            spelled.append(re.escape(token))
        elif token[0] + token[-1] == "<>":
            angled.add(name)
        elif token[0] + token[-1] == "[]":
            square.add(name)
        else:
            spelled.append(re.escape(token))
    pattern = re.compile("|".join(spelled)) if spelled else None
    return _Markup(_tag_like(grammar), frozenset(angled), frozenset(square), pattern)


def _name(token: str) -> str:
    """What stands between the brackets of a tag or token, as it is compared."""
    return "".join(_plain(token[1:-1]).split()).strip("/\\")


def _tag_like(grammar: Grammar) -> re.Pattern[str]:
    """What an angled tag looks like to a careless reader, in plain text and without its brackets."""
    names = [_name(tag) for tag in grammar.markup if tag[0] == "<"]
    words = dict.fromkeys(re.sub(r"^\W+|\W+$", "", name) for name in names)
    before = {character for name in names for character in name[: len(name) - len(name.lstrip(_EDGES))]}
    edges = re.escape("".join(sorted(before)) + _BARS * ("|" in before))
    spelled = (r"\s*+".join(_LIKE.get(letter, re.escape(letter)) for letter in word) for word in words)
    return re.compile(rf"[\s/\\{edges}]*+(?:{'|'.join(spelled) or '(?!)'})\b[^()\[\]]{{0,64}}\Z")


def _spoil(match: re.Match[str]) -> str:
    token = match[0]
    other = token.translate(str.maketrans("<>[]", "[]()"))
    return other if other != token else f"{token[0]} {token[1:]}"


def _rebracket(text: str, brackets: tuple[str, str], pair: str, is_markup: Callable[[str], bool]) -> str:
    """`text` with `pair` in place of every two of `brackets` that hold markup and no other of them."""
    parts: list[str] = []
    done = 0
    opened: re.Match[str] | None = None
    for bracket in _BRACKET.finditer(text):
        character = _character(bracket)
        if character in brackets[0]:
            opened = bracket
        elif character in brackets[1]:
            inner = text[opened.end() : bracket.start()] if opened else ""
            if opened and is_markup(inner):
                parts += [text[done : opened.start()], pair[0], inner, pair[1]]
                done = bracket.end()
            opened = None
    return "".join([*parts, text[done:]])


def _character(bracket: re.Match[str]) -> str:
    written = bracket[0]
    if bracket["entity"]:
        # Some numbers stand for no character at all.
        return unescape(f"&{bracket['entity']};")[:1] or " "
    return written if len(written) == 1 else {"c": "<", "e": ">"}[written[-1].lower()]


def _plain(text: str) -> str:
    """`text` as a careless reader sees it: entities resolved, look-alikes Latin, case ignored."""
    if "&" in text:
        text = unescape(text)
    if not text.isascii():
        # What is unseen goes first, since normalising long runs of it takes quadratic time.
        text = unicodedata.normalize("NFKD", _seen(text).translate(_PLAIN)).translate(_PLAIN)
    return _seen(text).casefold()


def _seen(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) not in _UNSEEN)
