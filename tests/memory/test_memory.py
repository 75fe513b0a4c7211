"""The memory of an agent that gathers documents: changes as functions, and texts that lose nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from innersearch.config.harness import HarnessSettings
from innersearch.memory import (
    DETAILS,
    Answer,
    Importance,
    Memory,
    Verdict,
    curate,
    discover,
    entities,
    verdict,
    write,
)
from innersearch.memory.sentences import fitting
from innersearch.types import Document

PLAIN = HarnessSettings(auto_seed=0, dedup=0)


def documents(*names: str) -> list[Document]:
    return [
        Document(name, f"Title {name}", f"The text of {name} says that {name} is {name}.")
        for name in names
    ]


def found(*names: str, settings: HarnessSettings = PLAIN) -> Memory:
    return discover(Memory(), "query", documents(*names), settings)


def test_what_is_found_twice_changes_only_the_log() -> None:
    settings = HarnessSettings()
    once = discover(Memory(), "who", documents(*"abc"), settings)
    twice = discover(once, "who", documents(*"abc"), settings)
    assert replace(twice, log=once.log) == once
    assert [(line.returned, line.new) for line in twice.log] == [(3, 3), (3, 0)]


def test_the_first_that_are_found_are_chosen_once() -> None:
    settings = HarnessSettings(auto_seed=2)
    empty = discover(Memory(), "nothing", [], settings)
    memory = discover(
        discover(empty, "who", documents(*"abc"), settings), "more", documents("d"), settings
    )
    assert dict(memory.curated) == {"a": Importance.FAIR, "b": Importance.FAIR}
    assert discover(Memory(), "who", documents(*"abc"), PLAIN).curated == {}


def test_copies_do_not_enter_the_pool_and_count_once() -> None:
    settings = HarnessSettings(dedup=0.85)
    text = "one two three four five six seven eight nine ten eleven twelve"
    pair = [
        Document("a", "", text),
        Document("b", "Other", text),
        Document("c", "", "quite another text here"),
    ]
    memory = discover(discover(Memory(), "q", pair, settings), "q", pair, settings)
    assert memory.pool == ("a", "c")
    assert dict(memory.copies) == {"b": "a"}
    assert memory.seen == {"a", "b", "c"}
    assert discover(Memory(), "q", pair, PLAIN).pool == ("a", "b", "c")


def test_newcomers_take_the_place_of_what_they_outrank_and_are_refused_otherwise() -> None:
    settings = HarnessSettings(curated=2, auto_seed=0)
    memory, _ = curate(found(*"abcd"), ["a", "b"], [], {"a": "low", "b": "high"}, settings)
    refused, said = curate(memory, ["c"], [], {"c": "low"}, settings)
    assert refused.curated == memory.curated
    assert "refused, since the set is full and they do not outrank any of it: c" in said
    taken, said = curate(memory, ["c"], [], {"c": "very_high"}, settings)
    assert taken.chosen == ("c", "b")
    assert "removed for more important ones: a" in said
    assert curate(taken, [], ["b"], {}, settings)[0].chosen == ("c",)
    assert (
        curate(memory, ["c"], ["a"], {"c": "none of them"}, settings)[0].curated["c"] is Importance.FAIR
    )


def test_the_same_choice_twice_is_the_choice_once() -> None:
    rng = random.Random(4)
    names = [f"d{n}" for n in range(9)]
    settings = HarnessSettings(curated=4, auto_seed=3)
    for _ in range(400):
        memory = found(*names, settings=settings)
        for _ in range(3):
            memory, _ = curate(memory, *_request(rng, names), settings)
        request = _request(rng, names)
        once, said = curate(memory, *request, settings)
        twice, _ = curate(once, *request, settings)
        assert dict(twice.curated) == dict(once.curated), (request, said)
        assert len(once.curated) <= settings.curated


def _request(rng: random.Random, names: list[str]) -> tuple[list[str], list[str], dict[str, str]]:
    add = rng.sample([*names, "unknown"], rng.randint(0, 6))
    levels = [level.value for level in Importance]
    return (
        add,
        rng.sample(names, rng.randint(0, 3)),
        {n: rng.choice(levels) for n in add if rng.random() < 0.7},
    )


def test_h1_2_ids_that_no_search_returned_are_refused() -> None:
    memory, said = curate(found("a"), ["a", "gold", "a_1"], [], {}, PLAIN)
    assert memory.chosen == ("a",)
    assert said.endswith("refused, since no search returned them: gold, a_1")


def test_h1_7_ids_are_opaque() -> None:
    names = ["a_1_2", "a_1", "a", "x/1#2", "wiki:Ä_ö"]
    memory, said = curate(found(*names), names, [], {}, PLAIN)
    assert set(memory.chosen) == set(names)
    assert "refused" not in said
    assert all(f"[{name}]" in write(memory, PLAIN) for name in names)


def test_the_last_word_about_a_claim_counts() -> None:
    memory = verdict(found(*"ab"), [Verdict("a", "c", Answer.YES), Verdict("x", "c", Answer.YES)])
    memory = verdict(memory, [Verdict("b", "c", Answer.NO, "other town"), Verdict("a", "c", Answer.NO)])
    assert memory.verdicts == (Verdict("a", "c", Answer.NO), Verdict("b", "c", Answer.NO, "other town"))
    assert "c no: a, b (other town)" in write(memory, PLAIN)


@pytest.mark.parametrize("detail", range(DETAILS))
def test_no_degree_of_detail_leaves_out_a_curated_id_or_a_verdict(detail: int) -> None:
    names = [f"d{n}" for n in range(40)]
    memory, _ = curate(found(*names), names[:30], [], dict.fromkeys(names[:9], "high"), PLAIN)
    memory = verdict(
        memory, [Verdict(name, "a claim", Answer.YES, "so it says") for name in names[20:35]]
    )
    text = write(memory, PLAIN, detail)
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    assert set(names[:30]) <= set(words)
    said = next(line for line in text.splitlines() if line.startswith("a claim yes:"))
    assert all(name in said for name in names[20:35])


def test_less_detail_is_shorter() -> None:
    memory = discover(found(*(f"d{n}" for n in range(60))), "Zo", documents(*"ab"), PLAIN)
    lengths = [len(write(memory, PLAIN, detail)) for detail in range(DETAILS)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < lengths[0] / 10


def test_names_and_years_lead_from_document_to_document() -> None:
    memory = discover(
        Memory(),
        "q",
        [Document("a", "", "Ada Byron met Zo in 1841."), Document("b", "", "In 1841 it was Ada Byron.")],
        PLAIN,
    )
    assert entities(memory)["Ada Byron"] == ["a", "b"]
    assert entities(memory)["1841"] == ["a", "b"]
    assert "Ada Byron: a, b" in write(memory, PLAIN)
    assert "Ada Byron: a, b" not in write(memory, HarnessSettings(entities=0))


def test_long_texts_are_shown_by_the_sentences_that_fit() -> None:
    text = " ".join(f"Sentence {n} is about nothing." for n in range(20)) + " Zo rules Lim."
    assert fitting(text, "who rules Lim", 2) == "Sentence 0 is about nothing. Zo rules Lim."
    assert fitting(text, "who rules Lim", 99) == text
