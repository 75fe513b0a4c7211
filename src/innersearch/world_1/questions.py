"""One- and two-hop questions over the encyclopedia, with gold answers, gold documents and splits.

Question ids are `head:relation` or `head:relation.relation`. Each question is asked in one phrasing,
drawn from its id. The metadata carries `hops`, `tier`, `split`, `chain` (head, bridge, answer),
`relations`, `documents` (the gold facts, by the ids of their first documents) and `group`: the name
under which results are reported.
"""

from __future__ import annotations

import random

from innersearch.data.sources import QuestionSource
from innersearch.errors import DataError, did_you_mean
from innersearch.types import Question
from innersearch.world_1.bundled import BUNDLED_SEED
from innersearch.world_1.encyclopedia import Encyclopedia, Fact, Split
from innersearch.world_1.relations import HELD_OUT_PAIR, PAIRS, RELATIONS

GROUPS = (
    "one_hop_common",
    "one_hop_rare",
    "one_hop_unseen",
    "two_hop_common",
    "two_hop_rare",
    "two_hop_unseen",
    "held_out_pair",
)
"""The groups of the test split, in the order of every table."""


def phrase(relations: tuple[str, ...], head: str, rng: random.Random) -> str:
    """Ask for the end of a chain of relations that starts at `head`."""
    subject = head
    for name in relations[:-1]:
        subject = rng.choice(RELATIONS[name].named).format(x=subject)
    return rng.choice(RELATIONS[relations[-1]].asked).format(x=subject)


def chain_of(world: Encyclopedia, head: str, relations: tuple[str, ...]) -> list[Fact]:
    """The facts that lead from `head` to the answer."""
    facts = []
    for relation in relations:
        facts.append(Fact(head, relation, world.tails[head, relation]))
        head = facts[-1].tail
    return facts


def questions(world: Encyclopedia, split: Split) -> list[Question]:
    """All questions of a split, one-hop first. The held-out pair is asked in the test split only, and
    of common heads only.
    """
    chains = [(relation,) for relation in RELATIONS] + [tuple(pair) for pair in PAIRS]
    return [
        question
        for relations in chains
        for entity in world.entities
        if entity.split is split and entity.kind is RELATIONS[relations[0]].head
        if (question := _question(world, entity.name, relations)) is not None
    ]


def _question(world: Encyclopedia, head: str, relations: tuple[str, ...]) -> Question | None:
    facts = chain_of(world, head, relations)
    answer = facts[-1].tail
    if answer == head:
        return None
    split, tier = world.by_name[head].split, world.tier_of(facts)
    group = f"{'one' if len(relations) == 1 else 'two'}_hop_{tier}"
    if relations == HELD_OUT_PAIR:
        if split is not Split.TEST or tier != "common":
            return None
        group = "held_out_pair"
    identity = f"{head}:{'.'.join(relations)}"
    return Question(
        id=identity,
        question=phrase(relations, head, random.Random(f"{world.seed}:{identity}")),
        golden_answers=(answer,),
        metadata={
            "group": group,
            "split": split.value,
            "tier": tier.value,
            "hops": len(relations),
            "relations": list(relations),
            "chain": [head, *(fact.tail for fact in facts)],
            "documents": [fact.id for fact in facts],
        },
    )


def _read(split: str) -> list[Question]:
    if split not in list(Split):
        raise DataError(f"unknown split {split!r} of the first world; {did_you_mean(split, Split)}")
    return questions(Encyclopedia.generate(BUNDLED_SEED), Split(split))


SOURCE = QuestionSource("world-1:train, world-1:validation or world-1:test", _read)
