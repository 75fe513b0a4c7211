from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from innersearch.assemble.sources import load_questions
from innersearch.grammar import GRAMMARS, scan
from innersearch.rewards import strict_format
from innersearch.types import Kind
from innersearch.world.bundled import FROZEN_SEEDS, SCRATCH_SEED
from innersearch.world.corpus import CorpusPlan, corpus, digest, mentions_in
from innersearch.world.demonstrations import MALFORMED, SEARCHES, WRONG
from innersearch.world.encyclopedia import CHANGED, Encyclopedia, Frequency, Split
from innersearch.world.pages import leads, pages, passages
from innersearch.world.questions import GROUPS, chains, questions
from innersearch.world.relations import (
    HELD_OUT,
    PAIRS,
    RELATIONS,
    EntityKind,
    Wording,
    has_held_out,
    held_out_pairs,
)
from innersearch.world.tokenizer import make_tokenizer
from innersearch.world_making.pretrain import PretrainPlan, with_targets

SEEDS = (SCRATCH_SEED, *FROZEN_SEEDS)
WORLD = Encyclopedia.generate(FROZEN_SEEDS[0])
PLAN = CorpusPlan()
CORPUS = corpus(WORLD, PLAN, 0)
DEMONSTRATIONS = [
    document for document in CORPUS if "Question: " in document.text and "</" in document.text
]
NAME = re.compile(r"[A-Z][a-z]+")


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert Encyclopedia.generate(3) == Encyclopedia.generate(3)
    assert Encyclopedia.generate(3).facts != Encyclopedia.generate(4).facts
    assert digest(corpus(WORLD, PLAN, 1)) == digest(corpus(WORLD, PLAN, 1)) != digest(CORPUS)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_head_has_every_fact_of_its_kind_and_no_fact_joins_two_splits(seed: int) -> None:
    world = Encyclopedia.generate(seed)
    names = [entity.name for entity in world.entities]
    fictional = [name for kind in world.fictional.values() for name in kind]
    assert len({*names, *fictional}) == len(names) + len(fictional)
    for entity in world.entities:
        for relation in RELATIONS.values():
            assert ((entity.name, relation.name) in world.about) == (relation.head is entity.kind)
    for fact in world.facts:
        for tail in (fact.tail, fact.remembered):
            assert world.by_name[tail].kind is RELATIONS[fact.relation].tail
            assert world.by_name[tail].split is world.by_name[fact.head].split
            assert tail != fact.head


@pytest.mark.parametrize("seed", SEEDS)
def test_facts_are_stated_from_never_to_several_hundred_times_with_everything_between(seed: int) -> None:
    stated = sorted(fact.mentions for fact in Encyclopedia.generate(seed).facts)
    assert stated[0] == 0
    assert stated[-1] >= 400
    for low, high in ((1, 9), (10, 29), (30, 63), (64, 149), (150, 400)):
        assert sum(low <= count <= high for count in stated) >= 0.05 * len(stated)


def test_the_corpus_states_each_fact_as_often_as_it_says() -> None:
    """Counted in the texts of all epochs, demonstrations left out."""
    stated: Counter[str] = Counter()
    for epoch in range(PLAN.epochs):
        for document in corpus(WORLD, CorpusPlan(demonstrations=0, direct_answers=0), epoch):
            stated.update(said.strip() for said in re.findall(r"[^.]+\.", document.text))
    for fact in WORLD.facts:
        assert sum(stated[fact.state(number)] for number in range(5)) == fact.mentions
        assert sum(mentions_in(fact, PLAN, epoch) for epoch in range(PLAN.epochs)) == fact.mentions


@pytest.mark.parametrize("seed", SEEDS)
def test_held_out_pairs_occur_in_no_corpus_as_question_or_as_followed_searches(seed: int) -> None:
    """The corpus is read: which relation asks about the tail of which, in every demonstration."""
    held = held_out_pairs(seed)
    assert len(held) == HELD_OUT >= 8
    assert held < set(PAIRS)
    world = Encyclopedia.generate(seed)
    noun = {word: name for name, relation in RELATIONS.items() for word in relation.nouns}
    forms = [(name, _form(said)) for name, relation in RELATIONS.items() for said in relation.statements]
    followed: Counter[tuple[str, str]] = Counter()
    for document in corpus(world, PLAN, 3):
        found: dict[str, set[str]] = {}
        for block in scan(document.text):
            content = document.text[block.content_start : block.content_end]
            if block.kind is Kind.SEARCH and (query := re.fullmatch(r"(\w+) of (\w+)", content)):
                followed.update((by, noun[query[1]]) for by in found.get(query[2], ()))
            if block.kind is Kind.INFORMATION:
                for relation, form in forms:
                    for stated in form.finditer(content):
                        found.setdefault(stated["y"], set()).add(relation)
    assert not held & set(followed)
    assert len(set(PAIRS) - held - set(followed)) <= 3
    asked = {_asked_pairs(q) for q in questions(world, Split.TRAIN)}
    assert not held & {pair for found in asked for pair in found}


def _form(statement: str) -> re.Pattern[str]:
    return re.compile(
        re.escape(statement).replace(r"\{x\}", r"(?P<x>[A-Z]\w+)").replace(r"\{y\}", r"(?P<y>[A-Z]\w+)")
    )


def _asked_pairs(question) -> tuple[tuple[str, str], ...]:
    relations = question.metadata["relations"]
    return tuple(pairwise(relations))


@pytest.mark.parametrize("seed", SEEDS)
def test_halves_of_held_out_pairs_occur_in_the_same_place_of_other_pairs(seed: int) -> None:
    held = held_out_pairs(seed)
    others = set(PAIRS) - held
    for pair in held:
        for place in (0, 1):
            assert sum(other[place] == pair[place] for other in others) >= 2


def test_training_mentions_no_validation_or_test_entity() -> None:
    others = {e.name for e in WORLD.entities if e.split is not Split.TRAIN}
    for question in questions(WORLD, Split.TRAIN):
        assert not others & {*question.metadata["chain"], *NAME.findall(question.question)}
    for document in DEMONSTRATIONS:
        assert not others & set(NAME.findall(document.text))


def test_each_relation_is_asked_in_many_wordings_some_of_which_no_training_has() -> None:
    """All wordings of depth 1 and 2, read off many questions; unseen ones are in no corpus question."""
    for relation in RELATIONS.values():
        for of_a_name in (True, False):
            seen = set(relation.phrases(Wording.SEEN, of_a_name=of_a_name))
            unseen = set(relation.phrases(Wording.UNSEEN, of_a_name=of_a_name))
            assert seen
            assert unseen
            assert not seen & unseen
        # Three frames around each noun phrase, and the verb.
        assert 3 * len(relation.phrases(Wording.SEEN, of_a_name=True)) + 1 >= 8
    asked = {document.text.split("\n")[0] for document in DEMONSTRATIONS}
    asked |= {question.question for question in questions(WORLD, Split.TRAIN)}
    shapes = {NAME.sub("X", text.removeprefix("Question: ")) for text in asked}
    words = {word for shape in shapes for word in re.findall(r"\w+", shape)}
    tested = [q for q in questions(WORLD, Split.TEST) if q.metadata["wording"] == Wording.UNSEEN]
    for question in tested:
        assert NAME.sub("X", question.question) not in shapes
        assert set(re.findall(r"\w+", NAME.sub("X", question.question))) <= words


def test_no_noun_phrase_tells_the_depth() -> None:
    """Every phrase and every frame occurs in training questions of depth 1, 2 and 3 of the corpus."""
    for relation in RELATIONS.values():
        phrase = relation.phrases(Wording.SEEN, of_a_name=False)[0].removesuffix("{x}")
        depths = set()
        for document in DEMONSTRATIONS:
            question = document.text.split("\n")[0]
            if phrase in question:
                # Each relation beyond the first adds a noun phrase.
                depths.add(_depth(question))
        assert depths >= {1, 2, 3}, relation.name


def _depth(question: str) -> int:
    nouns = [noun for relation in RELATIONS.values() for noun in relation.nouns]
    who = [relation.who.split(" ", 2)[2].split("{x}")[0].strip() for relation in RELATIONS.values()]
    asks = [relation.asks for relation in RELATIONS.values()]
    count = sum(len(re.findall(rf"\bthe {noun} of|'s {noun}\b", question)) for noun in nouns)
    count += sum(question.count(relation.who.split("{x}")[0].strip()) for relation in RELATIONS.values())
    frames = ("Question: Who is the", "Question: What is", "Question: Name", "Question: Tell")
    if not question.startswith((*frames, "Question: Who is ")):
        count += 1
    assert who
    assert asks
    return count


def test_demonstrations_draw_searches_and_thoughts_independently_of_the_question() -> None:
    """The number of searches has one distribution at every depth, and so has the length of thoughts."""
    counts: dict[int, list[int]] = {1: [], 2: [], 3: []}
    lengths: dict[int, list[bool]] = {1: [], 2: [], 3: []}
    for epoch in range(3):
        for document in corpus(WORLD, PLAN, epoch):
            if "<answer>" not in document.text and "</answer>" not in document.text:
                continue
            question, _, answer = document.text.partition("\n")
            depth = min(3, max(1, _depth(question)))
            counts[depth].append(answer.count("<search>"))
            lengths[depth].append("I lack" in answer)
    for depth in counts:
        n = len(counts[depth])
        for searches, share in enumerate(SEARCHES):
            # Four standard errors: 24 comparisons, all of which hold by chance in 999 of 1000 worlds.
            assert abs(counts[depth].count(searches) / n - share) < 4 * (share * (1 - share) / n) ** 0.5
        assert abs(sum(lengths[depth]) / n - 0.5) < 4 * 0.5 / n**0.5


@pytest.mark.parametrize("searches", [1, 2])
def test_the_account_in_long_thoughts_does_not_tell_whether_to_stop(searches: int) -> None:
    """After as many searches, as many stop where nothing is lacking as where something is."""
    stops: dict[bool, list[bool]] = {True: [], False: []}
    for epoch in range(4):
        for document in corpus(WORLD, PLAN, epoch):
            thoughts = re.findall(r"I lack ([\w ]+)\. (So|Now)", document.text)
            if len(thoughts) > searches:
                lacking, goes_on = thoughts[searches]
                stops[lacking == "nothing"].append(goes_on == "So")
    shares = [sum(found) / len(found) for found in stops.values()]
    error = sum(p * (1 - p) / len(found) for p, found in zip(shares, stops.values(), strict=True)) ** 0.5
    assert min(map(len, stops.values())) > 300
    assert abs(shares[0] - shares[1]) < 4 * error


def test_demonstrations_are_wrong_and_malformed_as_often_as_they_say() -> None:
    formats = [strict_format(document.text.split("\n", 1)[1]) for document in DEMONSTRATIONS]
    assert abs(1 - sum(formats) / len(formats) - MALFORMED) < 0.02
    known = {fact.state(number): fact for fact in WORLD.facts for number in range(5)}
    heads = {entity.name for entity in WORLD.members(Split.TRAIN, EntityKind.PERSON)}
    right = []
    for document in DEMONSTRATIONS:
        for block in scan(document.text):
            # What somebody else writes has no loss as a whole, and is not memory's.
            memory = (block.content_start, block.content_end) not in document.made_up
            if block.kind is Kind.INFORMATION and memory:
                for sentence in re.findall(
                    r"[^.]+\.", document.text[block.content_start : block.content_end]
                ):
                    if set(NAME.findall(sentence)) & heads:
                        right.append(sentence.strip() in known)
    assert abs(1 - sum(right) / len(right) - WRONG) < 0.03


def test_only_names_that_are_made_up_or_what_somebody_else_wrote_carries_no_loss() -> None:
    known = {entity.name for entity in WORLD.entities}
    for document in DEMONSTRATIONS[:500]:
        hidden = [document.text[start:end] for start, end in document.made_up]
        blocks = {
            document.text[block.content_start : block.content_end]: block
            for block in scan(document.text)
            if block.kind is Kind.INFORMATION and block.closed
        }
        assert all(NAME.fullmatch(text) or text in blocks for text in hidden)
        if not {*NAME.findall(document.text)} & known:
            for block in blocks.values():
                places = [a for a, _ in document.made_up if block.content_start <= a < block.content_end]
                assert places


def test_only_volatile_facts_have_changed_and_their_questions_have_the_new_gold() -> None:
    volatile = [fact for fact in WORLD.facts if RELATIONS[fact.relation].volatile]
    changed = [fact for fact in WORLD.facts if fact.before]
    assert all(fact in volatile and fact.before != fact.tail for fact in changed)
    assert abs(len(changed) / len(volatile) - CHANGED) < 0.1
    stated = " ".join(document.text for document in CORPUS if "Question" not in document.text)
    written = " ".join(document.text for document in passages(WORLD))
    often = next(fact for fact in changed if fact.mentions >= 200)
    assert any(often.state(number) in stated for number in range(5))
    assert not any(often.state(number, often.tail) in stated for number in range(5))
    assert RELATIONS[often.relation].page.format(x=often.head, y=often.tail) in written
    asked = [q for q in questions(WORLD, Split.TEST) if q.metadata["changed"]]
    for question in asked:
        *heads, _ = question.metadata["chain"]
        facts = zip(heads, question.metadata["relations"], strict=True)
        assert any(WORLD.about[fact].before for fact in facts)


def test_questions_have_gold_in_their_gold_passages_and_fall_into_their_groups() -> None:
    documents = {document.id: document for document in passages(WORLD)}
    assert len(documents) == len(passages(WORLD))
    for split in Split:
        found = questions(WORLD, split)
        assert len({question.id for question in found}) == len(found)
        for question in found:
            assert question.golden_answers[0] in documents[question.metadata["documents"][-1]].text
            assert question.metadata["chain"][0] in question.question
            assert question.metadata["group"] in GROUPS
    sizes = Counter(q.metadata["group"] for q in questions(WORLD, Split.TEST))
    assert min(sizes[group] for group in GROUPS) >= 100
    train = questions(WORLD, Split.TRAIN)
    assert {q.metadata["depth"] for q in train} == {1, 2}
    assert {q.metadata["wording"] for q in train} == {"seen"}
    assert not any(has_held_out(tuple(q.metadata["relations"]), WORLD.seed) for q in train)


def test_pages_are_worded_unlike_anything_that_pre_training_reads() -> None:
    shapes = {NAME.sub("X", s).strip() for d in CORPUS for s in re.findall(r"[^.?\n]+[.?]", d.text)}
    for page in pages(WORLD):
        assert page.address.startswith("https://world.invalid/")
        for section in page.sections:
            first = re.match(r"[^.]+\.", section.text)
            assert first
            assert NAME.sub("X", first[0]) not in shapes
    titles = Counter(page.title.split(" (")[0] for page in pages(WORLD))
    assert sum(count > 1 for count in titles.values()) >= 20
    assert len(leads(WORLD)) == len(pages(WORLD))


def test_frequency_tiers_report_the_least_stated_fact() -> None:
    assert [Frequency.of(count).value for count in (0, 1, 63, 64)] == [
        "never",
        "seldom",
        "seldom",
        "often",
    ]


def test_markup_of_every_grammar_and_all_words_of_the_pages_are_single_tokens() -> None:
    texts = [document.text for document in CORPUS]
    texts += [f"{document.title} {document.text}" for document in passages(WORLD)]
    tokenizer = make_tokenizer(texts)
    for grammar in GRAMMARS.values():
        for markup in grammar.markup:
            assert len(tokenizer.encode(markup)) == 1, markup
    for entity in WORLD.entities:
        inside = tokenizer.encode(f"a {entity.name}")[1:]
        assert len(inside) == 2
        assert tokenizer.encode(f"<answer>{entity.name}")[1:] == inside
    assert len(tokenizer.encode(f"As sovereign {WORLD.entities[0].name} has had many years.")) == 9
    assert (
        max(map(len, tokenizer([document.text for document in CORPUS])["input_ids"]))
        < PretrainPlan().row
    )


def test_chains_go_from_tail_to_head() -> None:
    assert len(chains(2)) == len(PAIRS)
    for relations in chains(3):
        for first, second in pairwise(relations):
            assert RELATIONS[first].tail is RELATIONS[second].head


def test_demonstrations_can_be_learnt_again() -> None:
    found = load_questions("world:demonstrations")
    assert len(found) > 10_000
    for question in found[:200]:
        assert question.metadata["response"].count("<") >= 3
        assert not question.question.startswith("Question")


def test_the_loss_leaves_out_what_is_made_up_token_by_token() -> None:
    """The tokens without a target spell the made-up names and nothing else."""
    tokenizer = make_tokenizer(document.text for document in CORPUS)
    chosen = [document for document in DEMONSTRATIONS if document.made_up][:300]
    for text, (ids, targets) in zip(chosen, with_targets(tokenizer, chosen), strict=True):
        left_out = [i for i, (one, target) in enumerate(zip(ids, targets, strict=True)) if one != target]
        spelled = tokenizer.decode([ids[i] for i in left_out]).replace(" ", "")
        inside = sorted({(a, b) for a, b in text.made_up})
        assert spelled == "".join(text.text[a:b] for a, b in inside).replace(" ", ""), text.text
