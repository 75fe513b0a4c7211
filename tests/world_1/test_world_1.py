from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pytest

from innersearch.policy.loading import load_tokenizer
from innersearch.view.tables import evaluation_table
from innersearch.world_1.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import GROUPS, questions
from innersearch.world_1.relations import HELD_OUT_PAIR, PAIRS, RELATIONS, EntityKind

MANIFEST = "manifest.json"
WORLD = Encyclopedia.generate(BUNDLED_SEED)


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert Encyclopedia.generate(3) == Encyclopedia.generate(3)
    assert Encyclopedia.generate(3).facts != Encyclopedia.generate(4).facts


def test_names_are_unique_and_every_head_has_every_fact_of_its_kind() -> None:
    names = [entity.name for entity in WORLD.entities]
    fictional = [name for kind in WORLD.fictional.values() for name in kind]
    assert len({*names, *fictional}) == len(names) + len(fictional)
    for entity in WORLD.entities:
        for relation in RELATIONS.values():
            assert ((entity.name, relation.name) in WORLD.tails) == (relation.head is entity.kind)
    for fact in WORLD.facts:
        assert WORLD.by_name[fact.tail].kind is RELATIONS[fact.relation].tail
        assert fact.head != fact.tail or fact.relation == "teacher"


def test_spouses_and_capitals_agree_with_themselves() -> None:
    for (head, relation), tail in WORLD.tails.items():
        if relation == "spouse":
            assert WORLD.tails[tail, "spouse"] == head
        if relation == "capital":
            assert WORLD.tails[tail, "located_in"] == head


def test_no_fact_joins_two_splits() -> None:
    for fact in WORLD.facts:
        assert WORLD.by_name[fact.head].split is WORLD.by_name[fact.tail].split


def test_the_held_out_pair_is_asked_in_the_test_split_only() -> None:
    assert HELD_OUT_PAIR in PAIRS
    for split in Split:
        held = [q for q in questions(WORLD, split) if tuple(q.metadata["relations"]) == HELD_OUT_PAIR]
        assert bool(held) == (split is Split.TEST)
        assert {q.metadata["group"] for q in held} <= {"held_out_pair"}
    # Both halves occur elsewhere, so that the composition is the only new thing.
    others = [pair for pair in PAIRS if pair != HELD_OUT_PAIR]
    assert any(pair[0] == HELD_OUT_PAIR[0] for pair in others)
    assert any(pair[1] == HELD_OUT_PAIR[1] for pair in others)


def test_test_split_is_large_enough_for_five_points() -> None:
    found = questions(WORLD, Split.TEST)
    sizes = {group: sum(q.metadata["group"] == group for q in found) for group in GROUPS}
    assert sizes["two_hop_common"] >= 300
    assert min(sizes.values()) >= 60
    assert len({q.id for q in found}) == len(found)


def test_gold_answers_follow_from_the_gold_documents() -> None:
    documents = {document.id: document for document in WORLD.documents()}
    for question in questions(WORLD, Split.TEST):
        last = documents[question.metadata["documents"][-1]]
        assert question.golden_answers[0] in last.text
        assert question.metadata["chain"][0] in question.question


def test_words_and_tags_are_single_tokens_and_names_two_and_spelled_one_way() -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    assert len(tokenizer.encode("<think></answer>")) == 2
    assert len(tokenizer.encode("Where was the spouse of the founder born?\n")) == 10
    for name in [e.name for e in WORLD.entities] + [
        n for kind in WORLD.fictional.values() for n in kind
    ]:
        inside = tokenizer.encode(f"a {name}")[1:]
        assert len(inside) == 2
        assert tokenizer.encode(f"<answer>{name}")[1:] == inside


def test_no_two_entities_of_a_kind_share_their_first_token() -> None:
    for kind in EntityKind:
        names = [entity.name for entity in WORLD.entities if entity.kind is kind]
        assert len({name[:3] for name in names}) == len(names)


@pytest.mark.parametrize("text", ["Zürich 東京 ##x Ġ", "a  b\r\n\n c\t", "🙂" * 300, "x" * 5000])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    assert tokenizer.decode(tokenizer.encode(text)) == " " + text


def test_the_questions_are_those_that_the_model_came_with() -> None:
    hashes = json.loads((BUNDLED / MANIFEST).read_text())["questions_sha256"]
    for split in Split:
        rows = [json.dumps(asdict(question)) + "\n" for question in questions(WORLD, split)]
        assert hashlib.sha256("".join(rows).encode()).hexdigest() == hashes[split]


def test_what_a_build_prints_of_its_metrics() -> None:
    printed = evaluation_table(json.loads((BUNDLED / MANIFEST).read_text())["metrics"])
    assert "two_hop_common" in printed
    assert "24 questions per group, 16 samples each" in printed


def test_the_bundled_model_is_small() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) <= 8_000_000
