from __future__ import annotations

import json

import pytest

from innersearch.grammar import last_answer, scan
from innersearch.metrics import exact_match
from innersearch.policy.loading import load_tokenizer
from innersearch.rewards import strict_format
from innersearch.types import Kind
from innersearch.view.tables import evaluation_table
from innersearch.world.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world.encyclopedia import Encyclopedia, Split, Tier
from innersearch.world.questions import GROUPS, questions
from innersearch.world.relations import HELD_OUT_PAIR, PAIRS, RELATIONS, EntityKind
from innersearch.world.tokenizer import make_tokenizer
from innersearch.world_making.build import MANIFEST, fingerprint
from innersearch.world_making.corpus import CorpusPlan, corpus, digest
from innersearch.world_making.pretrain import PretrainPlan

WORLD = Encyclopedia.generate(BUNDLED_SEED)


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert Encyclopedia.generate(3) == Encyclopedia.generate(3)
    assert Encyclopedia.generate(3).facts != Encyclopedia.generate(4).facts
    plan = CorpusPlan(common_mentions=2, trajectories=50, direct_answers=5)
    assert digest(corpus(WORLD, plan, 1)) == digest(corpus(WORLD, plan, 1))
    assert digest(corpus(WORLD, plan, 1)) != digest(corpus(WORLD, plan, 2))


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


def test_training_mentions_no_validation_or_test_entity() -> None:
    """Neither RL questions with their chains, nor trajectories and direct answers in the corpus."""
    others = {e.name for e in WORLD.entities if e.split is not Split.TRAIN}
    for question in questions(WORLD, Split.TRAIN):
        assert not others & set(question.metadata["chain"])
    for document in corpus(WORLD, CorpusPlan(common_mentions=0, rare_mentions=0), 0):
        words = set(document.text.replace(".", " ").replace("<", " ").replace(">", " ").split())
        assert not others & words


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


def test_unseen_facts_are_in_no_document_and_rare_ones_in_few() -> None:
    plan = CorpusPlan()
    texts = " ".join(d.text for d in corpus(WORLD, plan, 0) if not d.fictional)
    counts: dict[Tier, list[int]] = {tier: [] for tier in Tier}
    for fact in WORLD.facts:
        if fact.relation == "works_for":
            stated = sum(texts.count(fact.state(paraphrase)) for paraphrase in range(4))
            counts[WORLD.by_name[fact.head].tier].append(stated)
    assert max(counts[Tier.UNSEEN]) == 0
    assert max(counts[Tier.RARE]) <= 2
    assert min(counts[Tier.COMMON]) >= plan.common_mentions


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


def test_trajectories_of_the_corpus_are_deliberately_imperfect() -> None:
    """Two-hop questions are mostly answered wrongly, one-hop questions mostly rightly."""
    golds = {q.question: q for q in questions(WORLD, Split.TRAIN)}
    right: dict[int, list[bool]] = {1: [], 2: []}
    formats = []
    for document in corpus(WORLD, CorpusPlan(), 0):
        prompt, _, trajectory = document.text.partition("\n")
        question = golds.get(prompt.removeprefix("Question: "))
        if question is None or "<think>" not in trajectory:
            continue
        hops = question.metadata["hops"]
        right[hops].append(exact_match(last_answer(trajectory), question.golden_answers))
        formats.append(strict_format(trajectory))
        # What stands inside information is always true, so that nothing bad hides under the mask.
        for block in scan(trajectory):
            if block.kind is Kind.INFORMATION:
                assert block.closed
    assert 0.10 < sum(right[2]) / len(right[2]) < 0.35
    assert 0.6 < sum(right[1]) / len(right[1]) < 0.95
    assert 0.75 < sum(formats) / len(formats) < 0.95


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


def test_the_bundled_data_hashes_are_what_the_build_makes() -> None:
    manifest = json.loads((BUNDLED / MANIFEST).read_text())
    made = fingerprint(WORLD, CorpusPlan(), PretrainPlan())
    assert {key: manifest[key] for key in made} == made


def test_what_a_build_prints_of_its_metrics() -> None:
    printed = evaluation_table(json.loads((BUNDLED / MANIFEST).read_text())["metrics"])
    assert "two_hop_common" in printed
    assert "24 questions per group, 16 samples each" in printed


def test_the_bundled_tokenizer_is_what_the_build_makes(tmp_path) -> None:
    texts = [document.text for document in corpus(WORLD, CorpusPlan(), 0)]
    made = make_tokenizer(texts)
    made.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == (BUNDLED / "tokenizer.json").read_text()
    bundled = load_tokenizer(str(BUNDLED))
    assert bundled(texts[:2000])["input_ids"] == made(texts[:2000])["input_ids"]


def test_the_bundled_model_is_small() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) <= 8_000_000


@pytest.mark.parametrize("split", Split)
def test_flashrag_rows_of_a_build_read_back(tmp_path, split: Split) -> None:
    from innersearch.readers import read_questions
    from innersearch.world_making.build import write_data

    write_data(WORLD, tmp_path)
    assert read_questions(tmp_path / "questions" / f"{split}.jsonl") == questions(WORLD, split)
