"""Questions of depth 1 to 3 over the encyclopedia, with gold answers, gold passages and splits.

Question ids are `head:relation.relation/wording`. The metadata carries `kind`, `depth`, `split`,
`wording`, `pair`, `mentions`, `frequency`, `changed`, `relations`, `chain` (head, bridges, answer),
`documents` (the gold passages) and `group`: the name under which results are reported.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from innersearch.data.sources import QuestionSource
from innersearch.errors import DataError, did_you_mean
from innersearch.random_draws import draw
from innersearch.types import Question
from innersearch.world.bundled import seed_of
from innersearch.world.encyclopedia import Encyclopedia, Entity, Frequency, Split, least_stated
from innersearch.world.further import FURTHER
from innersearch.world.relations import PAIRS, RELATIONS, Wording, has_held_out
from innersearch.world.wordings import phrase

GROUPS = ("depth_1", "depth_2", "depth_3", "held_out_pair", "changed", "never_stated")
"""The groups of the test split, in the order of every table."""

Chain = tuple[str, ...]

_CHAINS: tuple[tuple[Chain, ...], ...] = (
    tuple((name,) for name in RELATIONS),
    tuple(PAIRS),
    tuple((*pair, other[1]) for pair in PAIRS for other in PAIRS if other[0] == pair[1]),
)
"""Chains of relations of depth 1, 2 and 3."""

PER_HEAD = {Split.TRAIN: (99, 99, 0), Split.VALIDATION: (3, 4, 2), Split.TEST: (2, 3, 2)}
"""Most chains of depth 1, 2 and 3 that are asked of one head, besides those with a held-out pair."""
HELD_OUT_PER_HEAD = (0, 2, 0)
"""Most of those with one."""


def chains(depth: int) -> tuple[Chain, ...]:
    """All chains of that many relations."""
    return _CHAINS[depth - 1]


def questions(world: Encyclopedia, split: Split) -> list[Question]:
    """All questions of a split, the shallow ones first.

    Training asks chains of depth 1 and 2 without held-out pairs, in seen wordings. Validation and test
    ask a sample of all chains of depth 1 to 3, each in a seen and in an unseen wording.
    """
    wordings = (Wording.SEEN,) if split is Split.TRAIN else tuple(Wording)
    return [
        question
        for depth in (1, 2, 3)
        for entity in world.entities
        if entity.split is split
        for relations in _asked(world, entity, depth)
        for wording in wordings
        if (question := _question(world, entity, relations, wording)) is not None
    ]


def _asked(world: Encyclopedia, head: Entity, depth: int) -> Iterator[Chain]:
    """The chains that are asked of a head, a sample of those there are."""
    fitting = [chain for chain in chains(depth) if RELATIONS[chain[0]].head is head.kind]
    if head.split is Split.TRAIN:
        fitting = [chain for chain in fitting if not has_held_out(chain, world.seed)]
    held = [chain for chain in fitting if has_held_out(chain, world.seed)]
    trained = [chain for chain in fitting if chain not in held]

    def drawn(options: list[Chain], most: int) -> list[Chain]:
        return sorted(options, key=lambda chain: draw("asked", world.seed, head.name, *chain))[:most]

    yield from drawn(trained, PER_HEAD[head.split][depth - 1])
    yield from drawn(held, HELD_OUT_PER_HEAD[depth - 1])


def _question(world: Encyclopedia, head: Entity, relations: Chain, wording: Wording) -> Question | None:
    facts = world.chain(head.name, relations)
    answer = facts[-1].tail
    if answer in (head.name, *(fact.tail for fact in facts[:-1])):
        return None
    identity = f"{head.name}:{'.'.join(relations)}/{wording}"
    mentions = least_stated(facts)
    changed = any(fact.before for fact in facts)
    pair = "none" if len(relations) == 1 else "trained"
    if has_held_out(relations, world.seed):
        pair = "held_out"
    return Question(
        id=identity,
        question=phrase(relations, head.name, wording, random.Random(f"{world.seed}:{identity}")),
        golden_answers=(answer,),
        metadata={
            "kind": "chain",
            "depth": len(relations),
            "split": head.split.value,
            "wording": wording.value,
            "pair": pair,
            "mentions": mentions,
            "frequency": Frequency.of(mentions).value,
            "changed": changed,
            "relations": list(relations),
            "chain": [head.name, *(fact.tail for fact in facts)],
            "documents": [fact.id for fact in facts],
            "group": _group(len(relations), pair, mentions, changed=changed),
        },
    )


def _group(depth: int, pair: str, mentions: int, *, changed: bool) -> str:
    if changed:
        return "changed"
    if mentions == 0:
        return "never_stated"
    return "held_out_pair" if pair == "held_out" else f"depth_{depth}"


DEMONSTRATIONS = "demonstrations"
"""What the demonstrations of the corpus are asked for by."""


def _read(place: str) -> list[Question]:
    seed, _, named = place.rpartition(":")
    if named == DEMONSTRATIONS:
        # Imported late: the corpus asks questions itself.
        from innersearch.world.corpus import demonstrations

        return demonstrations(Encyclopedia.generate(seed_of(seed)))
    # Imported late: they are about questions.
    from innersearch.world.protocols import PROTOCOLS
    from innersearch.world.protocols import demonstrations as in_protocol

    protocol = named.removeprefix(f"{DEMONSTRATIONS}-")
    if named != protocol and protocol in PROTOCOLS:
        return in_protocol(Encyclopedia.generate(seed_of(seed)), protocol)
    kind, _, split = named.rpartition("-")
    known = [*Split, DEMONSTRATIONS, *(f"{DEMONSTRATIONS}-{name}" for name in PROTOCOLS)]
    known += [f"{kind}-{split}" for kind in FURTHER for split in Split]
    if named not in known:
        raise DataError(f"unknown split {named!r} of the world; {did_you_mean(named, known)}")
    return FURTHER.get(kind, questions)(Encyclopedia.generate(seed_of(seed)), Split(split))


SOURCE = QuestionSource("world:train, world:validation or world:test", _read)
"""Of another seed `world:2:test`; other kinds of questions `world:pairs-test`, see `FURTHER`;
demonstrations in the protocols of other systems `world:demonstrations-rag-r1`, see
`innersearch.world.protocols`."""
