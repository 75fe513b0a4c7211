from __future__ import annotations

import asyncio
import re

import pytest

from innersearch.assemble.sources import load_questions
from innersearch.world.encyclopedia import Encyclopedia, Split
from innersearch.world.engine import world_engine
from innersearch.world.further import DEPTHS, FURTHER, LINES, STAFF, further_passages, lineages, staffs
from innersearch.world.pages import passages

WORLD = Encyclopedia.generate(1)
FURTHER_PASSAGES = {document.id: document for document in further_passages(WORLD)}


@pytest.mark.parametrize("kind", FURTHER)
def test_every_kind_is_a_source_and_its_splits_share_no_document(kind: str) -> None:
    gold: set[str] = set()
    for split in Split:
        found = load_questions(f"world:{kind}-{split}")
        assert len({question.id for question in found}) == len(found) > 0
        documents = {name for question in found for name in question.metadata["documents"]}
        assert not gold & documents
        gold |= documents
    assert load_questions(f"world:2:{kind}-test") != load_questions(f"world:{kind}-test")


def test_lineages_lead_from_passage_to_passage_to_somebody_without_a_teacher() -> None:
    found = lineages(WORLD)
    assert len(found) == LINES * len(Split)
    assert len({name for line in found for name in line.names}) == len(found) * (DEPTHS[-1] + 1)
    assert {q.metadata["depth"] for q in load_questions("world:lineages-test")} == set(DEPTHS)
    for question in load_questions("world:lineages-test"):
        name = re.search(r"of (\w+)\?", question.question)
        assert name
        person, steps = name[1], 0
        while "no mentor" not in (said := FURTHER_PASSAGES[f"{person}:teacher"].text):
            taught = re.search(rf"a mentor {person} had (\w+) for", said)
            assert taught
            person, steps = taught[1], steps + 1
        assert (person,) == question.golden_answers
        assert steps == question.metadata["depth"]


def test_sets_have_a_document_for_each_person_and_people_who_left_are_none_of_them() -> None:
    for staff in staffs(WORLD):
        assert STAFF[0] <= len(staff.people) <= STAFF[1]
        for person in staff.left:
            assert "left" in FURTHER_PASSAGES[f"{person}:employer"].text
    for question in load_questions("world:sets-test"):
        for identity in question.metadata["documents"]:
            assert " became the company of " in FURTHER_PASSAGES[identity].text


def test_pairs_and_triples_join_the_answers_of_their_documents() -> None:
    documents = {document.id: document for document in passages(WORLD)}
    for kind, size in (("pairs", 2), ("triples", 3)):
        for question in load_questions(f"world:{kind}-test"):
            answers = re.split(", | and ", question.golden_answers[0])
            assert len(answers) == size
            for answer, identity in zip(answers, question.metadata["documents"], strict=True):
                assert answer in documents[identity].text


def test_nothing_is_written_about_what_cannot_be_answered() -> None:
    written = " ".join(d.text for d in [*passages(WORLD), *FURTHER_PASSAGES.values()])
    for question in load_questions("world:unanswerable-test"):
        assert question.golden_answers == ()
        assert question.id.split(":")[0] not in written


def test_the_engine_finds_the_passage_of_most_facts_by_either_noun() -> None:
    engine = world_engine()
    facts = [fact for fact in WORLD.facts if WORLD.by_name[fact.head].split is Split.TEST][::7]
    from innersearch.world.relations import RELATIONS

    queries = [f"{noun} of {fact.head}" for fact in facts for noun in RELATIONS[fact.relation].nouns]
    results = asyncio.run(engine.search(queries, 1))
    found = [result.documents[0].id for result in results]
    right = [identity == facts[index // 2].id for index, identity in enumerate(found)]
    assert sum(right) / len(right) > 0.9
