"""The text that each token stands for, by incremental decoding; nothing here encodes.

The incremental decoder of the tokenizers library raises at byte tokens that form no character, and
takes quadratic time over them. Here bytes are decoded as bytes, in the order in which they come, and the
text of any other token is what it adds to that of the token before it. For well-formed text both agree.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How tokenizers with byte fallback write a byte."""
LOST = "\ufffd"
"""What bytes become that form no character."""
_BEHIND = 8
"""Tokens without text that are remembered, since a decoder may treat the first token otherwise."""
_STEPS = 1 << 18
"""Tokens whose text is remembered, each after what stood before it, which costs some ten megabytes."""
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_LETTERS = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + number): byte for number, byte in enumerate(sorted({*range(256)} - {*_PRINTABLE}))
}
"""The character by which byte-level tokenizers write each byte, as GPT-2 does."""


def pieces(
    tokenizer: PreTrainedTokenizerFast, token_ids: Sequence[int], *, ended: bool = False
) -> list[str]:
    """The text that each token completes; "" for one that has no text or ends inside a character.

    The pieces concatenate to the decoded text, special tokens spelled out, without a character left
    incomplete at the end. Bytes that form no character become U+FFFD. Takes any numbers, and time in
    proportion to how many they are; a number that stands for no token has no text.

    Args:
        tokenizer: Whose tokens they are.
        token_ids: One sequence, from its beginning.
        ended: The last token ends the sequence. Its own text is left out, and what no token completes
            any more comes out with it.
    """
    state = _table(tokenizer, len(tokenizer)).start
    found: list[str] = []
    held = ""
    for token_id in token_ids[:-1] if ended else token_ids:
        broken, text, state = state[token_id]
        if broken:
            found[-1] = held + broken
            held = ""
        if state.begun:
            held += text
            text = ""
        elif held:
            text, held = held + text, ""
        found.append(text)
    if held:
        found[-1] = held
    return [*found, state.end()] if ended else found


def spelled_alone(tokenizer: PreTrainedTokenizerFast) -> dict[int, str]:
    """What each token of the vocabulary stands for, as written and as spelled alone, by its number.

    The numbers need not follow each other: there may be fewer tokens than the highest of them says.
    """
    table = _table(tokenizer, len(tokenizer))
    vocabulary = tokenizer.get_vocab()
    return {number: token + table.decode((number,)) for token, number in vocabulary.items()}


class Spelled(NamedTuple):
    """What a token adds to a text."""

    broken: str
    """U+FFFD for bytes before it that it does not complete to a character."""
    text: str
    """The characters that it completes."""


class Speller:
    """Spells one sequence, token by token."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._state = _table(tokenizer, len(tokenizer)).start

    def add(self, token_id: int) -> Spelled:
        """What the next token adds."""
        broken, text, self._state = self._state[token_id]
        return Spelled(broken, text)


class _Step(NamedTuple):
    """What a token adds, as `Spelled` has it, and what counts for the next one."""

    broken: str
    text: str
    state: _State


class _Past(NamedTuple):
    """What counts of the tokens so far for what the next one adds."""

    begun: bytes = b""
    """Of a character that is not complete."""
    before: tuple[int, ...] = ()
    """The last tokens, as many as the decoder may have to know; none for one that reads bytes only."""
    spelled: bool = False
    """Whether they have any text."""


class _State(dict[int, _Step]):
    """What each token adds after some past, found out when it is first asked for.

    So the usual token costs one lookup: all texts go from state to state, and most come by the same.
    """

    def __init__(self, table: _Table, past: _Past) -> None:
        super().__init__()
        self._table, self.past, self.begun = table, past, past.begun

    def __missing__(self, token_id: int) -> _Step:
        step = self[token_id] = self._table.step(self, token_id)
        return step

    def end(self) -> str:
        """What is left of a character that nothing completes any more: U+FFFD, or nothing."""
        return self.begun.decode(errors=self._table.errors)


class _Table:
    """What single tokens of a tokenizer stand for."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        kinds = {step["type"] for step in _steps(backend.decoder)}
        self.byte_level = "ByteLevel" in kinds
        self.errors = "replace" if self.byte_level else _each_byte.__name__
        self._has_bytes = "ByteFallback" in kinds
        self._known: dict[int, bytes | None] = {}
        self._states: dict[_Past, _State] = {}
        self._steps = 0
        self.start = _State(self, _Past())

    def step(self, state: _State, token_id: int) -> _Step:
        """What a token adds in a state, and the next one."""
        raw = self.raw(token_id)
        if raw == b"":
            return _Step("", "", state)
        begun, before, spelled = state.past
        broken = state.end() if raw is None or _breaks(begun, raw) else ""
        if raw is None:
            begun, text = b"", self._added(before, token_id)
        else:
            begun, text = self._decoded(b"" if broken else begun, raw)
        if self.byte_level:
            return _Step(broken, text, self._state(_Past(begun)))
        if raw and text and not broken and not spelled and LOST not in text:
            text = self._first(before, token_id, text)
        known = text.strip() or (raw and spelled)
        before = (*(() if known else before[1 - _BEHIND :]), token_id)
        return _Step(broken, text, self._state(_Past(begun, before, spelled or bool(broken or text))))

    def _state(self, past: _Past) -> _State:
        """The state after a past; all of them are forgotten where there are too many steps."""
        self._steps += 1
        if self._steps > _STEPS:
            self._steps = 0
            self._states.clear()
            self.start.clear()
        if past not in self._states:
            self._states[past] = _State(self, past)
        return self._states[past]

    def _decoded(self, begun: bytes, raw: bytes) -> tuple[bytes, str]:
        """The characters that bytes complete, behind those of one that is begun."""
        text, used = codecs.utf_8_decode(begun + raw, self.errors)
        return (begun + raw)[used:], text

    def raw(self, token_id: int) -> bytes | None:
        """The bytes of a token that stands for bytes; empty without text, None where it is text."""
        if token_id not in self._known:
            self._known[token_id] = self._raw(token_id)
        return self._known[token_id]

    def _raw(self, token_id: int) -> bytes | None:
        token = self._backend.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
        if token is None:
            return b""
        if self.byte_level:
            numbers = [_LETTERS.get(letter) for letter in token]
            # Added tokens are kept as they are.
            written = [number for number in numbers if number is not None]
            return bytes(written) if len(written) == len(numbers) else token.encode()
        byte = BYTE.fullmatch(token) if self._has_bytes else None
        return bytes.fromhex(byte[1]) if byte else None

    def _added(self, before: tuple[int, ...], token_id: int) -> str:
        """What a token adds to the text of those before it."""
        old, new = self.decode(before), self.decode((*before, token_id))
        return new[len(old) :] if new.startswith(old) else _rest(old, new)

    def _first(self, before: tuple[int, ...], token_id: int, text: str) -> str:
        """The first text of all: some decoders take a space off it, however it is written."""
        whole = self.decode((*before, token_id))
        return text if LOST in whole else whole

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """The text of some tokens; nothing where the decoder panics over them, as some do."""
        try:
            return self._backend.decode(list(token_ids), skip_special_tokens=False)
        except BaseException as error:
            # A panic of Rust is no Exception, and its type cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            return ""


@lru_cache(maxsize=8)
def _table(tokenizer: PreTrainedTokenizerFast, size: int) -> _Table:
    """The table of a tokenizer of `size` entries, which grows when tokens are added."""
    return _Table(tokenizer.backend_tokenizer)


def _steps(decoder: Any) -> Iterator[dict[str, Any]]:
    """The steps of a decoder; it may have none."""
    waiting = [json.loads(decoder.__getstate__())] if decoder else []
    while waiting:
        step = waiting.pop(0)
        waiting = [*step.get("decoders", ()), *waiting]
        yield step


def _breaks(begun: bytes, raw: bytes) -> bool:
    """Whether a character that is begun does not go on with these bytes."""
    try:
        (begun + raw[:1]).decode()
    except UnicodeDecodeError as error:
        return bool(begun) and error.reason != "unexpected end of data"
    return False


def _rest(old: str, new: str) -> str:
    """What stands in a text from where it differs from another on."""
    alike = zip(old, new, strict=False)
    shared = next((n for n, (one, other) in enumerate(alike) if one != other), min(len(old), len(new)))
    return new[shared:]


def _each_byte(error: UnicodeError) -> tuple[str, int]:
    """As decoders with byte fallback do, which spell U+FFFD for each byte of a broken character."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return LOST * (error.end - error.start), error.end


codecs.register_error(_each_byte.__name__, _each_byte)
