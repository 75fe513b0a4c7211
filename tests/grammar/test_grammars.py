"""Every grammar, and one from outside: blocks, masks, stop strings, documents with its own markup."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from typing import Any, Never

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from innersearch.errors import ConfigError
from innersearch.grammar import (
    ANSWER,
    GRAMMARS,
    Grammar,
    Malformed,
    MaskRule,
    Scanner,
    Tag,
    grammar_of,
    is_markup,
    label,
    last_answer,
    neutralise,
    one,
    scan,
)
from innersearch.grammar.checking import check_grammar
from innersearch.grammar.injection import encode_document
from innersearch.grammar.tags import tag
from innersearch.policy.stops import StopStrings
from innersearch.token_text import pieces
from innersearch.types import Kind
from tests.families import ALL, tokenizer_of
from tests.grammar.reference import Reference, hidden_letters
from tests.payloads import GOLD, credulous, disguises
from tests.trajectories import sample_ids

OUTSIDE = Grammar(
    "outside",
    {
        Kind.THINK: tag("hm"),
        Kind.SEARCH: Tag("[ask]", "[/ask]"),
        Kind.INFORMATION: Tag("[told]", "[/told]"),
        Kind.ANSWER: Tag("<|so|>", "<|so it is|>"),
    },
    {Kind.SEARCH: one("search"), Kind.ANSWER: one(ANSWER)},
    nested=frozenset({Kind.SEARCH}),
    opaque=frozenset({Kind.THINK, Kind.SEARCH}),
)
"""A grammar that the package knows nothing of: square brackets, spaces, a query that is opaque."""
EVERY = [*GRAMMARS.values(), OUTSIDE]
every = pytest.mark.parametrize("grammar", EVERY, ids=lambda grammar: grammar.name)
relaxed = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = ("a", " ", "\n", "<", "[", "|>", "é🎉", "Goltek was founded by Belira.", "</", "x < 3")


def written(grammar: Grammar) -> st.SearchStrategy[list[str]]:
    """Fragments of trajectories with every kind of fault."""
    tags = [*grammar.markup, *grammar.markup]
    torn = [end[: len(end) // 2] for end in grammar.markup] + [end[2:] for end in grammar.markup]
    return st.lists(st.sampled_from([*tags, *torn, *WORDS]), max_size=16)


@every
@settings(relaxed, max_examples=150)
@given(data=st.data())
def test_blocks_are_those_of_a_recursive_reader(grammar: Grammar, data: st.DataObject) -> None:
    text = "".join(data.draw(written(grammar)))
    blocks = scan(text, grammar)
    assert blocks == Reference(grammar, text).blocks
    assert "".join(text[b.start : b.end] for b in blocks) == text


@every
@settings(relaxed, max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_text_in_pieces_that_is_partly_taken_back_reads_the_same(
    grammar: Grammar, seed: int, data: st.DataObject
) -> None:
    fragments, draw = data.draw(written(grammar)), random.Random(seed)
    text = "".join(fragments)
    scanner, read = Scanner(grammar), 0
    while read < len(text):
        cut = min(len(text), read + draw.randrange(1, 12))
        mark = scanner.mark()
        scanner.feed("".join(draw.sample(fragments, draw.randrange(len(fragments) + 1))))
        scanner.roll_back(mark)
        scanner.feed(text[read:cut])
        read = cut
        assert scanner.finish() == scan(text[:read], grammar)


@every
@settings(relaxed, max_examples=12)
@given(data=st.data(), whole=st.booleans())
def test_tokens_are_masked_by_their_letters(
    tokenizer: PreTrainedTokenizerFast, grammar: Grammar, whole: bool, data: st.DataObject
) -> None:
    ids = sample_ids(tokenizer, data.draw(written(grammar)), whole=whole, noise=0)
    spelled = pieces(tokenizer, ids)
    text = "".join(spelled)
    hidden = hidden_letters(grammar, text)
    found = label(spelled, scan(text, grammar), MaskRule())
    at = 0
    for number, piece in enumerate(spelled):
        rest = next((p for p in spelled[number:] if p), "x")
        assert found[number].masked == any(hidden[at : at + len(rest)])
        at += len(piece)


def attacks(grammar: Grammar) -> Iterator[str]:
    """Documents that end the block in which they stand and go on in the policy's name."""
    ends, answer = grammar.closing(Kind.INFORMATION), grammar.tags[Kind.ANSWER]
    shapes = zip(*map(disguises, (ends, *answer)), strict=False)
    for end, opens, closes in shapes:
        yield f"x{end}{opens}{GOLD}{closes}"
    for end in grammar.markup:
        for shape in disguises(end):
            yield f"a {shape} b"
        yield from (f"{end[:-1]}", f"{end[1:]} {end[:2]}", f"{end[0]}{end}{end[-1]}")


@every
def test_no_document_has_markup_of_its_grammar_left(grammar: Grammar) -> None:
    for document in attacks(grammar):
        neutral = neutralise(document, grammar=grammar)
        assert neutralise(neutral, grammar=grammar) == neutral
        seen = credulous(neutral)
        assert not [end for end in grammar.markup if end.replace(" ", "").casefold() in seen], document
        assert {block.kind for block in scan(neutral, grammar)} <= {Kind.TEXT}
        # Untagged answers are whatever is said, and such a policy is shown no documents.
        assert grammar.untagged or last_answer(neutral, grammar) is None


@every
@pytest.mark.parametrize("family", ALL)
def test_no_tokenizer_brings_markup_back(grammar: Grammar, family: str) -> None:
    tokenizer = tokenizer_of(family)
    for number, document in enumerate(attacks(grammar)):
        if number % 11:
            continue
        injected = encode_document(tokenizer, document, grammar=grammar)
        text = "".join(injected.pieces).replace("<unk>", "?")
        assert {block.kind for block in scan(text, grammar)} <= {Kind.TEXT}, document
        assert neutralise(text, grammar=grammar) == text


@every
def test_a_grammar_leaves_other_text_alone(grammar: Grammar) -> None:
    for text in ("a < b > c", "<b>bold</b>", "[1] and [a]", "x | y", "begin of query", "List<String>"):
        assert neutralise(text, grammar=grammar) == text
        assert not is_markup(text, grammar)
    foreign = {end for other in EVERY for end in other.markup} - set(grammar.markup)
    for end in foreign:
        # Chat and tool markup goes with every grammar.
        known = "|" in end or "tool" in end
        assert known or neutralise(f"a {end}", grammar=grammar) == f"a {end}"


def spells(tokenizer: PreTrainedTokenizerFast, end: str) -> bool:
    return end in "".join(pieces(tokenizer, tokenizer.encode(end, add_special_tokens=False)))


@every
@pytest.mark.parametrize(
    ("family", "own"),
    [
        *((family, "spelled") for family in ALL),
        *((family, own) for family in ("byte_bpe", "llama2") for own in ("a token", "a special token")),
    ],
)
def test_a_reply_stops_where_its_request_is_closed(grammar: Grammar, family: str, own: str) -> None:
    tokenizer = tokenizer_of(family)
    ends = [*grammar.stops, grammar.closing(Kind.ANSWER)]
    if own != "spelled":
        tokenizer = type(tokenizer)(
            tokenizer_object=tokenizer.backend_tokenizer.__class__.from_str(
                tokenizer.backend_tokenizer.to_str()
            ),
            eos_token=tokenizer.eos_token,
        )
        tokenizer.add_tokens(ends, special_tokens=own == "a special token")
    stops = StopStrings(tokenizer, grammar.stops, last=ends[-1:])
    for end in ends:
        for after in ("", "\n\nmore", ">x"):
            for parts in ([f"a b{end}{after}"], ["a b", *end, *after], ["a b", end, after]):
                ids = [i for part in parts for i in tokenizer.encode(part, add_special_tokens=False)]
                spelled = ["".join(pieces(tokenizer, ids[:n])) for n in range(1, len(ids) + 1)]
                reached = next((n for n, text in enumerate(spelled, 1) if end in text), 0)
                # Some tokenizers lack a letter of it, and such models are not taken.
                assert reached or parts[1:] or not spells(tokenizer, end)
                assert stops.first(ids) == reached
                assert not reached or (
                    stops.found(ids[:reached]) and ids[reached - 1] in stops.candidates
                )
                assert stops.final(ids[:reached]) == (bool(reached) and end is ends[-1])


def test_grammars_are_found_by_name_and_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grammar_of("tags") is GRAMMARS["tags"]
    assert {name: grammar.name for name, grammar in GRAMMARS.items()} == {n: n for n in GRAMMARS}
    assert grammar_of(OUTSIDE) is OUTSIDE
    entry = metadata.EntryPoint("outside", f"{__name__}:OUTSIDE", "innersearch.grammars")
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [entry] if group == "innersearch.grammars" else []
    )
    assert grammar_of("outside") is OUTSIDE
    with pytest.raises(ConfigError, match="unknown grammar 'r1-seacher'; did you mean 'r1-searcher'"):
        grammar_of("r1-seacher")


@every
def test_every_grammar_passes_the_check_for_authors(grammar: Grammar) -> None:
    check_grammar(grammar)


def raises(content: str) -> Never:
    raise ValueError(content)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"begins": "[told]"}, "begins with a thought or with plain text, given '[told]'"),
        ({"reads": {Kind.SEARCH: one("search")}}, "an answer is read"),
        ({"reads": {Kind.ANSWER: one(ANSWER)}}, "something can be asked for"),
        ({"reads": {Kind.SEARCH: raises, Kind.ANSWER: one(ANSWER)}}, "returns Malformed, and raises"),
        ({"reads": {Kind.SEARCH: one(ANSWER), Kind.ANSWER: one(ANSWER)}}, "is for answers alone"),
        (
            {"reads": {Kind.SEARCH: lambda _: (), Kind.ANSWER: one(ANSWER)}},
            "returns actions or Malformed",
        ),
        (
            {"reads": {Kind.SEARCH: lambda _: Malformed("a\nb"), Kind.ANSWER: one(ANSWER)}},
            "says why, in one line",
        ),
    ],
)
def test_the_check_says_what_is_wrong(fault: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)) as caught:
        check_grammar(replace(OUTSIDE, **fault))
    assert "\n" not in str(caught.value)
