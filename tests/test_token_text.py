"""What tokens spell, for every family of tokenizers and any sequence of numbers."""

from __future__ import annotations

import copy
import itertools

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from innersearch import token_text as spelling
from innersearch.grammar import TAGS, MaskRule
from innersearch.policy.base import Completion
from innersearch.policy.stops import StopStrings
from innersearch.rollout.segment import SegmentBuilder
from innersearch.token_text import pieces
from innersearch.types import Finish, Kind
from tests.byte_oracle import PARTS, Vocabulary, readable
from tests.families import tokenizer_of
from tests.token_checks import check_sequences

WITH_BYTES = ("byte_bpe", "llama2", "gemma")
BYTES = (0x00, 0x20, 0x3E, 0x61, 0x80, 0xA9, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xFF)
"""Ends, beginnings and middles of characters, and what is none of them."""


def test_no_sequence_of_tokens_raises_or_moves_a_mask_or_hides_a_stop_string(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """The same at full size: `python -m benchmarks.token_sequences`."""
    found = check_sequences(tokenizer, 400, seed=1)
    assert not any(found.faults.values()), found


@pytest.mark.parametrize("family", WITH_BYTES)
def test_every_short_sequence_of_bytes_is_spelled(family: str) -> None:
    tokenizer = tokenizer_of(family)
    vocabulary = Vocabulary(tokenizer)
    single = {vocabulary.bytes[i]: i for i in vocabulary.small}
    ids = [single[bytes([byte])] for byte in BYTES]
    for length in (1, 2, 3):
        for chosen in itertools.product(ids, repeat=length):
            spelled = pieces(tokenizer, chosen)
            assert len(spelled) == length
            text = "".join(spelled)
            assert readable(text.encode()) == readable(vocabulary.spell(chosen).data)


def test_well_formed_text_is_spelled_as_the_tokenizers_library_does(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    for first, second in itertools.product(PARTS, repeat=2):
        text = f"{first}{second} {first}"
        ids = tokenizer.encode(text, add_special_tokens=False)
        stream = DecodeStream(skip_special_tokens=False)
        backend = tokenizer.backend_tokenizer
        assert pieces(tokenizer, ids) == [stream.step(backend, i) or "" for i in ids]


def test_pieces_of_byte_level_tokens_join_to_the_decoded_text() -> None:
    tokenizer = tokenizer_of("byte_bpe")
    for length, start in itertools.product((1, 3, 7), range(0, 700, 3)):
        ids = [(start + 37 * step * step) % len(tokenizer) for step in range(length)]
        decoded = tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
        assert "".join(pieces(tokenizer, [*ids, 0], ended=True)) == decoded


@pytest.mark.parametrize("family", WITH_BYTES)
def test_time_over_broken_characters_grows_with_their_number(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in tokens that are decoded, and in bytes that are read."""
    tokenizer = tokenizer_of(family)
    work = 0
    decode = spelling._Table.decode

    def counted(table: spelling._Table, token_ids: tuple[int, ...]) -> str:
        nonlocal work
        work += len(token_ids)
        return decode(table, token_ids)

    monkeypatch.setattr(spelling._Table, "decode", counted)
    lone = Vocabulary(tokenizer).small
    ids = [lone[(7 * step) % len(lone)] for step in range(4096)]
    assert len(pieces(tokenizer, ids)) == len(ids)
    assert work <= 24 * len(ids)


def test_what_was_spelled_before_is_spelled_without_the_decoder(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tokenizer.encode("Goltek was founded in 漢字 by <é>.", add_special_tokens=False)
    spelled = pieces(tokenizer, ids)
    for work in ("step", "decode", "raw"):
        monkeypatch.delattr(spelling._Table, work)
    assert pieces(tokenizer, ids) == spelled


def test_tokens_are_spelled_alike_where_the_steps_between_them_are_forgotten(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(7 * step) % len(tokenizer) for step in range(400)]
    spelled = pieces(tokenizer, ids)
    monkeypatch.setattr(spelling, "_STEPS", 3)
    spelling._table.cache_clear()
    assert pieces(tokenizer, ids) == spelled
    table = spelling._table(tokenizer, len(tokenizer))
    assert len(table._states) <= 3
    spelling._table.cache_clear()


def test_numbers_beyond_the_vocabulary_have_no_text(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.encode("Goltek", add_special_tokens=False)
    beyond = [len(tokenizer), len(tokenizer) + 99, 2**31, 2**40, -1]
    mixed = [part for token_id in ids for part in (*beyond, token_id)]
    assert "".join(pieces(tokenizer, mixed)) == "".join(pieces(tokenizer, ids))
    assert pieces(tokenizer, beyond) == [""] * 5
    assert pieces(tokenizer, []) == []


def test_an_end_token_has_no_text_however_the_decoder_spells_it() -> None:
    end = "<｜end▁of▁sentence｜>"
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "▁Yes": 1}, unk_token="<unk>"))
    backend.decoder = decoders.Replace("▁", " ")
    backend.add_special_tokens([AddedToken(end, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end)
    builder = SegmentBuilder(tokenizer, [0], MaskRule())
    builder.add_sampled(Completion([1, tokenizer.eos_token_id], [0.0, 0.0], [], Finish.EOS))
    segment, _ = builder.build(Finish.EOS)
    assert "".join(span.text for span in segment.spans) == " Yes"


def test_tokens_are_found_where_their_numbers_have_gaps() -> None:
    words = ["<unk>", "<eos>", "</", "search", ">"]
    numbers = {word: 40 * place for place, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("</|>"), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    stops = StopStrings(tokenizer, [TAGS.closing(Kind.SEARCH)])
    ids = tokenizer.encode(TAGS.closing(Kind.SEARCH))
    assert max(ids) > len(tokenizer)
    assert numbers[">"] in stops.candidates
    assert stops.found(ids)


DECODERS = {
    "takes more off both ends than there is": [decoders.Strip(" ", 1, 1)],
    "takes three spaces off the beginning": [decoders.Strip(" ", 3, 0)],
    "writes brackets": [decoders.Replace("[", "<")],
}


@pytest.mark.parametrize("habit", DECODERS)
def test_no_habit_of_a_decoder_raises_or_hides_a_stop_string(habit: str) -> None:
    tokenizer = copy.deepcopy(tokenizer_of("gemma"))
    usual = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend = tokenizer.backend_tokenizer
    backend.decoder = decoders.Sequence(usual + DECODERS[habit])
    stops = StopStrings(tokenizer, [TAGS.closing(Kind.SEARCH)])
    space = tokenizer.convert_tokens_to_ids("▁")
    for token_id in (*range(0, len(tokenizer), 50), space):
        assert len(pieces(tokenizer, [space, token_id, token_id])) == 3
    ids = tokenizer.encode("Who  founded   Coltek?</search>", add_special_tokens=False)
    assert stops.found(ids)
    if habit != "takes more off both ends than there is":
        assert "".join(pieces(tokenizer, ids)) == backend.decode(ids, skip_special_tokens=False)


def test_a_stop_string_is_found_wherever_the_tail_is_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    stop = TAGS.closing(Kind.SEARCH)
    stops = StopStrings(tokenizer, [stop])
    written = [i for c in stop for i in tokenizer.encode(c, add_special_tokens=False)]
    nothing = [len(tokenizer)] * 40
    before = tokenizer.encode("漢字 é Goltek", add_special_tokens=False)
    ids = [*before, *(part for token_id in written for part in (*nothing, token_id))]
    text = "".join(pieces(tokenizer, ids))
    if stop not in text:  # Word pieces put a space before a letter that begins a word.
        ids = [*before, *tokenizer.encode(f"Goltek{stop}", add_special_tokens=False)]
    assert [stops.found(ids[start:]) for start in range(len(before))] == [True] * len(before)
    assert stops.first([*ids, *before]) == len(ids)
    assert not stops.found(ids[:-1])
    assert ids[-1] in stops.candidates
