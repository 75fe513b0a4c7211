"""The pre-training corpus: encyclopedia text, direct answers, and imperfect trajectories.

Trajectories are about training heads and about fictional names, so that copying a name is learned
apart from the few names of the training split. What a fictional search returns is made up and must not
be learned: those documents are marked, and pre-training leaves their information out of the loss.
Validation and test entities occur in encyclopedia text only.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from innersearch.world.encyclopedia import Encyclopedia, Fact, Split, Tier
from innersearch.world.questions import chain_of, phrase
from innersearch.world.relations import HELD_OUT_PAIR, PAIRS, RELATIONS, EntityKind
from innersearch.world_making.demonstrations import Demonstrator, Knowledge


class Text(NamedTuple):
    """One document of the corpus."""

    text: str
    fictional: bool
    """Whether its information is made up and must stay out of the loss."""


@dataclass(frozen=True, slots=True)
class CorpusPlan:
    """How much of what one epoch of the corpus holds."""

    common_mentions: int = 16
    """Statements of each fact about a common entity."""
    rare_mentions: float = 0.33
    """The same for a rare entity, on average."""
    trajectories: int = 8500
    direct_answers: int = 1500
    fictional: float = 0.5
    """Share of trajectories about fictional names."""
    one_hop: float = 0.3
    """Share of one-hop questions among them."""


SEARCH_PROMPT = "Question: {question}\n"
DIRECT_PROMPT = "Question: {question} Answer directly.\n"


@dataclass
class _Known:
    """The common entities of the training split, as knowledge for demonstrations."""

    world: Encyclopedia
    rng: random.Random
    names: dict[EntityKind, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        members = [e for e in self.world.entities if (e.split, e.tier) == (Split.TRAIN, Tier.COMMON)]
        self.names = {kind: [e.name for e in members if e.kind is kind] for kind in EntityKind}

    def look_up(self, head: str, relation: str) -> Fact:
        return Fact(head, relation, self.world.tails[head, relation])

    def guess(self, kind: EntityKind) -> str:
        return self.rng.choice(self.names[kind])


@dataclass
class _Fiction:
    """Facts about names that belong to nobody, made up at first sight."""

    world: Encyclopedia
    rng: random.Random
    facts: dict[tuple[str, str], Fact] = field(default_factory=dict)

    def look_up(self, head: str, relation: str) -> Fact:
        if (head, relation) not in self.facts:
            tail = self.guess(RELATIONS[relation].tail)
            self.facts[head, relation] = Fact(head, relation, tail)
        return self.facts[head, relation]

    def guess(self, kind: EntityKind) -> str:
        return self.rng.choice(self.world.fictional[kind])


@dataclass
class _Exercises:
    """Questions with trajectories or direct answers, about known and fictional entities."""

    world: Encyclopedia
    plan: CorpusPlan
    rng: random.Random

    def __post_init__(self) -> None:
        self.known = _Known(self.world, self.rng)
        chains = [(name,) for name in RELATIONS], [p for p in PAIRS if p != HELD_OUT_PAIR]
        self.chains = [(options, [self._heads(chain) for chain in options]) for options in chains]

    def _heads(self, chain: tuple[str, ...]) -> int:
        return len(self.known.names[RELATIONS[chain[0]].head])

    def trajectory(self) -> Text:
        """A question and an imperfect trajectory."""
        fictional = self.rng.random() < self.plan.fictional
        knowledge = _Fiction(self.world, self.rng) if fictional else self.known
        head, relations, question = self._ask(knowledge)
        answered = Demonstrator(knowledge, self.rng).write(head, relations)
        return Text(SEARCH_PROMPT.format(question=question) + answered, fictional)

    def direct_answer(self) -> Text:
        """A question and its answer, without a search."""
        head, relations, question = self._ask(self.known)
        answer = chain_of(self.world, head, relations)[-1].tail
        return Text(f"{DIRECT_PROMPT.format(question=question)} {answer}", fictional=False)

    def _ask(self, knowledge: Knowledge) -> tuple[str, tuple[str, ...], str]:
        options, weights = self.chains[self.rng.random() >= self.plan.one_hop]
        relations = self.rng.choices(options, weights)[0]
        head = knowledge.guess(RELATIONS[relations[0]].head)
        return head, relations, phrase(relations, head, self.rng)


def corpus(world: Encyclopedia, plan: CorpusPlan, epoch: int) -> list[Text]:
    """The documents of one epoch, shuffled; a function of the world's seed, the plan and the epoch."""
    rng = random.Random(f"corpus-{world.seed}-{epoch}")
    documents = [Text(page, fictional=False) for page in _pages(world, plan, rng)]
    exercises = _Exercises(world, plan, rng)
    documents += [exercises.trajectory() for _ in range(plan.trajectories)]
    documents += [exercises.direct_answer() for _ in range(plan.direct_answers)]
    rng.shuffle(documents)
    return documents


def _pages(world: Encyclopedia, plan: CorpusPlan, rng: random.Random) -> Iterator[str]:
    """Each mention of an entity states all its facts, on one page or in single sentences."""
    facts: dict[str, list[Fact]] = {}
    for fact in world.facts:
        facts.setdefault(fact.head, []).append(fact)
    for entity in world.entities:
        for _ in range(_mentions(entity.tier, plan, rng)):
            known = facts[entity.name]
            rng.shuffle(known)
            sentences = [fact.state(rng.randrange(4)) for fact in known]
            yield from [" ".join(sentences)] if rng.random() < 0.5 else sentences


def _mentions(tier: Tier, plan: CorpusPlan, rng: random.Random) -> int:
    if tier is Tier.COMMON:
        return plan.common_mentions
    whole, part = divmod(plan.rare_mentions, 1)
    return int(whole) + (rng.random() < part) if tier is Tier.RARE else 0


def digest(documents: Iterable[Text]) -> str:
    """SHA-256 of documents in order, for proving that two builds saw the same data."""
    sha = hashlib.sha256()
    for document in documents:
        sha.update(f"{document.text}\0{document.fictional}\n".encode())
    return sha.hexdigest()
