"""The words of a text, in all scripts, as BM25 indexes them and asks for them.

What works in which language:

* Languages with spaces: a word is a run of letters, digits and the marks that belong to them (vowel
  signs, points, accents), lower-cased. Joiners, soft hyphens and other invisible characters are taken
  out, so are the apostrophe of a possessive "'s" and those inside Cyrillic and Hebrew words; other
  apostrophes and hyphens part words. Composed and decomposed text is the same, and so are full-width
  and other forms of one letter or digit.
* Chinese, Japanese and Korean; Thai, Lao, Khmer, Burmese and other scripts of South-East Asia: every two
  characters that follow each other are a word (in the latter, a character with its vowels and tones),
  and so is a single one. A query of two or more asks for pairs only, so that a text which shares no more
  than a character with it is not found.
* A stemmer brings together the forms of a word in one of the languages that Snowball knows. It is
  given the letters of its language as they are; accents of other languages are taken off before it,
  and all others after it, so that "Beyoncé" is found by "beyonce" and "Straße" by "strasse". Letters
  that are no accented form of another stay: й is not и. Latin letters are found whatever their accents,
  so the tones of Vietnamese do not tell its words apart. Vowel points of Arabic and Hebrew go, and so do
  stress marks; ё, ς, ß, ı, ł, ø, æ and the like become what is typed instead of them.
* The stop words (Lucene's 33) are English; they are left out of queries with the stemmer english, or
  none. One in capitals ("IT", "vitamin A") and a single letter at the end are no stop words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from innersearch.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from Stemmer import Stemmer

VERSION = 2
"""Of the rules below; 1 was before marks, pairs and stemming of whole letters."""

_EAST = (
    "\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u3099-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_SOUTH_EAST = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109f\u1780-\u17d3"
    "\u17d7\u17dc\u17dd\u1950-\u1974\u1980-\u19c9\u1a20-\u1a7c\u1b00-\u1b4c\ua980-\ua9c0\ua9e0-\ua9ef"
    "\ua9fa-\ua9fe\uaa60-\uaadd"
)
_UNSPACED = _EAST + _SOUTH_EAST
"""Scripts that write words without spaces between them, or, in Korean, with particles behind them."""
_BEFORE = "\u0e40-\u0e44\u0ec0-\u0ec4\uaab5\uaab6\uaab9\uaabb\uaabc"
_BEHIND = "\u0e30\u0e32\u0e45\u0eb0\u0eb2"
_STACKING = "\u1039\u17d2\u1a60\u1b44\ua9c0"
"""Vowels that are written as letters before or behind their consonant; signs that join two of these."""


def _every(kinds: tuple[str, ...]) -> list[int]:
    """Code points of some categories, outside of the scripts that have none by the thousand."""
    points = (*range(0x300, 0x3400), *range(0xA000, 0xAC00), *range(0xD7B0, 0x12000))
    points += (*range(0x16A00, 0x17000), *range(0x1D165, 0x1FBFA))
    return [point for point in points if unicodedata.category(chr(point)) in kinds]


def _ranges(points: Sequence[int]) -> str:
    """Code points as they are written in a class of characters."""
    runs: list[list[int]] = []
    for point in points:
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in runs)


_MARKS = _ranges(_every(("Mn", "Mc", "Me")))
_DIGITS = {point: str(unicodedata.decimal(chr(point))) for point in _every(("Nd",))}

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u0640\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_APOSTROPHES = re.compile("[‘’ʼʻʹ′´՚＇]")
_POSSESSIVE = re.compile(r"'s\b", re.IGNORECASE)
_INSIDE = re.compile(
    "(?<=[\u0400-\u052f])'(?=[\u0400-\u052f])|(?<=[\u0590-\u05ff])['\"\u05f3\u05f4](?=[\u0590-\u05ff])"
    "|(?<=[lL])·(?=[lL])"
)
_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_WORD = re.compile(rf"[^\W{_UNSPACED}](?:[^\W{_UNSPACED}]|(?![{_UNSPACED}])[{_MARKS}])*")
_RUN = re.compile(rf"[{_UNSPACED}]+")
_PIECE = re.compile(f"{_RUN.pattern}|{_WORD.pattern}")
_CHARACTER = re.compile(
    rf"[{_BEFORE}]?[^{_MARKS}](?:[{_MARKS}]|(?<=[{_STACKING}])[^{_MARKS}])*[{_BEHIND}]?|[{_MARKS}]"
)

_ACCENTS = re.compile("([a-zà-ɏ\u0370-\u03ff\u1f00-\u1fff])[\u0300-\u036f]+")
_POINTS = re.compile(
    "[\u0300\u0301\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0730-\u074a]"
)
_LETTERS = _DIGITS | str.maketrans(
    {"ı": "i", "ß": "ss", "ς": "σ", "ё": "е", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"}
    | {"ð": "d", "þ": "th", "ħ": "h", "ĳ": "ij", "أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا"}
    | {"ی": "ي", "ى": "ي", "ک": "ك"}
)

_DUTCH = "äëïöüáéíóúè"
_OWN_LETTERS = {
    "arabic": "\u0600-\u06ff",
    "basque": "ñ",
    "catalan": "àáèéìíïòóúùüçñ",
    "czech": "áčďéěíňóřšťúůýž",
    "danish": "æøå",
    "dutch": _DUTCH,
    "dutch_porter": _DUTCH,
    "esperanto": "ĉĝĥĵŝŭ",
    "estonian": "äõöüšž",
    "finnish": "äöå",
    "french": "âàçëéêèïîôûùœæÿ",
    "german": "äöüß",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "hungarian": "áéíóöőúüű",
    "irish": "áéíóú",
    "italian": "àèìòùáéíóú",
    "lithuanian": "ąčęėįšųūž",
    "norwegian": "æøåêòô",
    "persian": "\u0600-\u06ff",
    "polish": "ąćęłńóśźż",
    "portuguese": "áâãàçéêíóôõúü",
    "romanian": "ăâîșțşţ",
    "russian": "\u0400-\u052f",
    "serbian": "čćđšž\u0400-\u052f",
    "sesotho": "êôš",
    "spanish": "áéíóúüñ",
    "swedish": "åäöé",
    "turkish": "çğıöşüâîû",
    "yiddish": "\u0590-\u05ff",
}
"""What a stemmer needs to see as it is written; those of other scripts lose nothing before it anyway."""


def folded(word: str) -> str:
    """A lower-case word without accents and points, in the letters that are typed instead.

    >>> folded("łódź"), folded("й"), folded("straße")
    ('lodz', 'й', 'strasse')
    """
    if word.isascii():
        return word
    word = _ACCENTS.sub(r"\1", unicodedata.normalize("NFD", word))
    return _POINTS.sub("", unicodedata.normalize("NFC", word)).translate(_LETTERS)


class Words:
    """How texts become words, and words what is indexed.

    Args:
        stemmer: A Snowball algorithm, or None for words as they are.

    Raises:
        ConfigError: The stemmer is unknown.
    """

    def __init__(self, stemmer: str | None) -> None:
        if stemmer is not None:
            from Stemmer import algorithms

            if stemmer not in algorithms():
                raise ConfigError(f"no stemmer {stemmer!r}: {did_you_mean(stemmer, algorithms())}")
        self._stemmer = stemmer
        own = _OWN_LETTERS.get(stemmer or "", "")
        self._foreign = re.compile(f"[^{own}]+" if own else ".+", re.DOTALL)

    def of_text(self, text: str) -> list[str]:
        """The words of a document, lower-cased, repetitions included.

        >>> Words(None).of_text("Vitamin C: 北京!")
        ['vitamin', 'c', '北', '北京', '京']
        """
        return self._cut(self._lower(_plain(text)), pairs_only=False)

    def of_query(self, query: str) -> list[str]:
        """The words that are asked for, as they are indexed, repetitions included.

        >>> Words("english").of_query("Who sold the vitamin A?")
        ['who', 'sold', 'vitamin', 'a']
        """
        written = self._cut(_plain(query), pairs_only=True)
        asked = written
        if self._stemmer in (None, "english", "porter"):
            asked = [word for place, word in enumerate(written) if not _stops(word, place, written)]
        return [self.term(self._lower(word)) for word in asked or written]

    def term(self, word: str) -> str:
        """What stands in an index for a lower-case word.

        >>> Words("english").term("cafés"), Words("russian").term("новый")
        ('cafe', 'нов')
        """
        if self._stemmer is None:
            return folded(word)
        if not word.isascii():
            # Composed again: the letters of a language are looked for as single characters.
            word = self._foreign.sub(lambda found: folded(found[0]), unicodedata.normalize("NFC", word))
        return folded(self._new_stemmer().stemWord(word))

    def _lower(self, text: str) -> str:
        if self._stemmer == "turkish":
            text = text.replace("I", "ı").replace("İ", "i")
        return text.lower()

    def _new_stemmer(self) -> Stemmer:
        from Stemmer import Stemmer

        # It must not be shared by threads, and making one takes less than a microsecond.
        return Stemmer(self._stemmer)

    def _cut(self, text: str, *, pairs_only: bool) -> list[str]:
        text = _POSSESSIVE.sub("", text)
        if text.isascii():
            return _ASCII_WORD.findall(text)
        text = _INSIDE.sub("", text)
        if not _RUN.search(text):
            return _WORD.findall(text)
        words: list[str] = []
        for piece in _PIECE.findall(text):
            words += _pairs(piece, only=pairs_only) if _RUN.match(piece) else [piece]
        return words


class EarlierWords(Words):
    """The rules of indexes of version 1: their queries have to be cut as their documents were."""

    _UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    _WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
    _POSSESSIVE = re.compile(r"['’]s\b")
    _ACCENTS = re.compile(r"[\u0300-\u036f]")

    def of_text(self, text: str) -> list[str]:
        """The words of a document, lower-cased and without accents."""
        if not text.isascii():
            text = self._ACCENTS.sub("", unicodedata.normalize("NFKD", text))
            text = unicodedata.normalize("NFC", text)
        return self._WORD.findall(self._POSSESSIVE.sub("", text.lower()))

    def of_query(self, query: str) -> list[str]:
        """The words that are asked for, without stop words if there are others."""
        from bm25s.stopwords import STOPWORDS_EN

        words = self.of_text(query)
        return [self.term(word) for word in [w for w in words if w not in STOPWORDS_EN] or words]

    def term(self, word: str) -> str:
        """The stem."""
        return word if self._stemmer is None else self._new_stemmer().stemWord(word)


def words_of(stemmer: str | None, version: int) -> Words:
    """The rules of a version.

    Raises:
        ConfigError: The stemmer is unknown, or the version is a later one.
    """
    if version not in (1, VERSION):
        raise ConfigError(f"words of version {version} are unknown here: install a later innersearch")
    return (Words if version == VERSION else EarlierWords)(stemmer)


def is_pair(term: str) -> bool:
    """Whether a term comes from a script without spaces: its neighbours in spelling are other words."""
    return _RUN.match(term) is not None


def _plain(text: str) -> str:
    """A text in one form, without what is not seen."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _APOSTROPHES.sub("'", _INVISIBLE.sub("", text)))


def _pairs(run: str, *, only: bool) -> list[str]:
    characters = _CHARACTER.findall(run)
    pairs = [first + second for first, second in pairwise(characters)]
    if only and pairs:
        return pairs
    # A character before the pair that it begins, so that both stand where they are read.
    both = [word for two in zip(characters, pairs, strict=False) for word in two]
    return both + characters[len(pairs) :]


def _stops(word: str, place: int, words: Sequence[str]) -> bool:
    from bm25s.stopwords import STOPWORDS_EN

    if word.lower() not in STOPWORDS_EN:
        return False
    if len(word) == 1 and 0 < place == len(words) - 1:
        return False
    # In a query that is all capitals they say nothing.
    return not (word.isupper() and place > 0 and any(other != other.upper() for other in words))
