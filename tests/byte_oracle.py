"""Random token sequences, and an oracle for their text, masks and stops that works on bytes.

It shares no code with the library: what a token stands for is read off its name in the vocabulary, tags
are looked for among bytes, and a token is hidden if a byte of it is, or of a character that it shares.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

OPENER, CLOSER = b"<information>", b"</information>"
STOPS = ("</search>", "</answer>", "</information>")
PARTS = (
    *("<think>", "</think>", "<search>", "</search>", "<answer>", "</answer>", "<information>"),
    *(
        "</information>",
        "<informa",
        "tion>",
        "Goltek",
        " é",
        "漢字",
        "🎉",
        "\n",
        "x < 3",
        "</sea",
        "rch>",
    ),
)


class Spelled(NamedTuple):
    """What a sequence stands for."""

    data: bytes
    owners: list[int]
    """The token of each byte."""


class Vocabulary:
    """The bytes of each token of a tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        state = tokenizer.backend_tokenizer.decoder.__getstate__().decode()
        self.family = next(
            name for name in ("ByteLevel", "ByteFallback", "Metaspace", "WordPiece") if name in state
        )
        self.strips = '"Strip"' in state
        letters = _letters() if self.family == "ByteLevel" else {}
        self.bytes = [self._bytes(name, letters) for name in self.names]
        lone = [i for i, name in enumerate(self.names) if re.fullmatch("<0x..>", name)]
        self.small = lone or [
            i for i, data in enumerate(self.bytes) if 1 in (len(data), len(data.strip()))
        ]

    def _bytes(self, name: str, letters: dict[str, int]) -> bytes:
        if self.family == "ByteLevel":
            return bytes(letters[c] for c in name) if set(name) <= set(letters) else name.encode()
        if self.family == "WordPiece":
            return name[2:].encode() if name.startswith("##") else f" {name}".encode()
        if self.family == "ByteFallback" and re.fullmatch("<0x[0-9A-F]{2}>", name):
            return bytes.fromhex(name[3:5])
        return name.replace("▁", " ").encode()

    def spell(self, ids: Sequence[int]) -> Spelled:
        data, owners = b"", []
        known = [place for place, token_id in enumerate(ids) if token_id < len(self.bytes)]
        for place in known:
            part = self.bytes[ids[place]]
            if place == known[0]:
                part = self._first(self.names[ids[place]], part)
            data += part
            owners += [place] * len(part)
        return Spelled(data, owners)

    def _first(self, name: str, part: bytes) -> bytes:
        if self.family in ("Metaspace", "WordPiece"):
            return name.replace("▁", "").encode()
        return part.removeprefix(b" ") if self.strips else part


@cache
def _letters() -> dict[str, int]:
    """How byte-level tokenizers write bytes, read off what they make of every two-byte character."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found = {chr(byte): byte for byte in range(0xC0, 0x100)}
    for number in range(0x800):
        character = chr(number)
        [(written, _)] = split.pre_tokenize_str(character)
        found |= dict(zip(written, character.encode(), strict=True))
    assert len(found) == 256
    return found


def expected_loss(spelled: Spelled, length: int) -> list[bool]:
    """Per token, whether it may carry loss under the default rule."""
    hidden = _hidden(spelled.data)
    loss = [True] * length
    for first, last, start, end in _groups(spelled, length):
        open_end = [hidden[-1]] if start == end else []
        value = not any([*hidden[start:end], *open_end])
        loss[first:last] = [value] * (last - first)
    return loss


def _groups(spelled: Spelled, length: int) -> Iterator[tuple[int, int, int, int]]:
    """Tokens that share characters, and their bytes; those without text go with what follows."""
    first = start = position = 0
    for place in range(length):
        own = position
        while position < len(spelled.owners) and spelled.owners[position] == place:
            position += 1
        if own == position:
            continue
        data = spelled.data[start:position]
        ahead = spelled.data[position : position + 1]
        if _goes_on(data) and ahead and not _breaks(data + ahead):
            continue
        if _goes_on(data) and not ahead:
            break
        yield first, place + 1, start, position
        first, start = place + 1, position
    if first < length:
        yield first, length, start, len(spelled.data)


def _goes_on(data: bytes) -> bool:
    """Whether the last character of these bytes lacks some."""
    tail = data[-4:]
    return any(_is_begun(tail[n:]) for n in range(len(tail)))


def _is_begun(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.reason == "unexpected end of data"
    return False


def _breaks(data: bytes) -> bool:
    """Whether the last byte does not go on with the character before it."""
    return not _goes_on(data) and not _is_whole(data)


def _is_whole(data: bytes) -> bool:
    """Whether the last byte ends a character of several bytes."""
    for length in (2, 3, 4):
        try:
            if len(data[-length:].decode()) == 1 and data[-1] >= 0x80:
                return True
        except UnicodeDecodeError:
            continue
    return False


def _hidden(data: bytes) -> list[bool]:
    hidden, depth, place = [False] * (len(data) + 1), 0, 0
    while place < len(data):
        size = 1
        if data.startswith(OPENER, place):
            size = len(OPENER)
            hidden[place : place + size] = [depth > 0] * size
            depth += 1
        elif depth and data.startswith(CLOSER, place):
            size = len(CLOSER)
            hidden[place : place + size] = [True] * size
            depth -= 1
        else:
            hidden[place] = depth > 0
        place += size
    hidden[-1] = depth > 0
    return hidden


def expected_stop(spelled: Spelled) -> int:
    """Tokens up to the one that completes the first stop string; 0 without one."""
    ends = [at + len(s) for s in STOPS if (at := spelled.data.find(s.encode())) >= 0]
    return spelled.owners[min(ends) - 1] + 1 if ends else 0


def readable(data: bytes) -> str:
    """The text of bytes, with one U+FFFD for broken ones in a row and none for an unfinished end."""
    ends = (n for n in range(max(0, len(data) - 4), len(data)) if _is_begun(data[n:]))
    data = data[: next(ends, len(data))]
    return re.sub("\ufffd+", "\ufffd", data.decode(errors="replace"))


def sequences(tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> Iterator[list[int]]:
    """Sequences of all kinds of tokens, half of them bytes where there are such."""
    rng, vocabulary = random.Random(seed), Vocabulary(tokenizer)
    known = {part: tokenizer.encode(part, add_special_tokens=False) for part in PARTS}
    singles = {vocabulary.bytes[i]: i for i in vocabulary.small}
    for _ in range(count):
        ids: list[int] = []
        length = rng.randint(1, 40)
        while len(ids) < length:
            draw, part = rng.random(), rng.choice(PARTS)
            if draw < 0.4:
                ids.append(rng.choice(vocabulary.small))
            elif draw < 0.6:
                # Some models have more rows than their tokenizer has tokens.
                ids.append(rng.randrange(len(tokenizer) + 20))
            elif draw < 0.8:
                ids += known[part]
            else:
                data = [bytes([byte]) for byte in part.encode()]
                ids += [singles.get(byte, vocabulary.small[0]) for byte in data]
        yield ids
