"""The synthetic encyclopedia: entities, how often their facts are stated, and what has changed since.

Entities are partitioned by split before any fact is drawn, and a fact never joins two splits. A
test entity therefore occurs in no training question, neither as head nor as bridge nor as answer:
there is nothing to leak.

How often pre-training states a fact falls with the rank of its head, as in real text (Zipf with
Mandelbrot's shift): from 500 times to never. Tails are drawn by the same popularity. Of the facts
that can change, a part has changed since pre-training: the weights hold the old tail, the
encyclopedia the new one.

    >>> world = Encyclopedia.generate(seed=1)
    >>> fact = world.facts[0]
    >>> fact.relation in RELATIONS and fact.tail in world.by_name
    True
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from innersearch.world.names import draw_names
from innersearch.world.relations import RELATIONS, EntityKind


class Split(StrEnum):
    """Which questions an entity may occur in."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Frequency(StrEnum):
    """How often pre-training states the least stated fact of a question; tiers for tables only."""

    OFTEN = "often"
    SELDOM = "seldom"
    NEVER = "never"

    @classmethod
    def of(cls, mentions: int) -> Frequency:
        """The tier of a number of statements."""
        if mentions == 0:
            return cls.NEVER
        return cls.OFTEN if mentions >= OFTEN else cls.SELDOM


OFTEN = 64
"""Statements from which a fact counts as often stated."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A named thing of the world."""

    name: str
    kind: EntityKind
    split: Split
    popularity: float
    """Statements of each of its facts in pre-training, before chance."""


@dataclass(frozen=True, slots=True)
class Fact:
    """`head relation tail`, for example `Darali teacher Bemon`, as it is now."""

    head: str
    relation: str
    tail: str
    mentions: int = 0
    """How often pre-training states it."""
    before: str = ""
    """The tail that pre-training states, where it has changed since."""

    @property
    def id(self) -> str:
        """The id of the passage that states this fact."""
        return f"{self.head}:{self.relation}"

    @property
    def remembered(self) -> str:
        """The tail as pre-training states it."""
        return self.before or self.tail

    def state(self, statement: int, tail: str = "") -> str:
        """Sentence number `statement` about the fact, as it was at pre-training."""
        sentence = RELATIONS[self.relation].statements[statement]
        return sentence.format(x=self.head, y=tail or self.remembered)


@dataclass(frozen=True, slots=True)
class Population:
    """Numbers of entities of one kind, per split: at most 122,000, of people an even number."""

    train: int
    validation: int
    test: int


DEFAULT_POPULATION: dict[EntityKind, Population] = {
    EntityKind.PERSON: Population(90, 40, 90),
    EntityKind.COMPANY: Population(24, 14, 24),
    EntityKind.CITY: Population(24, 14, 24),
    EntityKind.COUNTRY: Population(8, 5, 8),
}

CHANGED = 0.4
"""Share of the facts of volatile relations that have changed since pre-training."""


def popularity(rank: float) -> float:
    """Statements of each fact of an entity of that rank, from 0 to 1: 525 at 0, none from 7/8 on."""
    return max(0.0, 600 / (1 + 8 * rank) - 75)


@dataclass(frozen=True)
class Encyclopedia:
    """Everything that is true in the world. Build it with `generate`."""

    seed: int
    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]
    fictional: dict[EntityKind, tuple[str, ...]] = field(repr=False)
    """Names that belong to nobody, for drills on form without content."""

    @classmethod
    def generate(
        cls, seed: int = 1, population: dict[EntityKind, Population] | None = None
    ) -> Encyclopedia:
        """Draw a world; the same seed and population give the same world."""
        rng = random.Random(f"innersearch-world-2-{seed}")
        entities: list[Entity] = []
        fictional = {}
        for kind, counts in (population or DEFAULT_POPULATION).items():
            sizes = [getattr(counts, split.value) for split in Split]
            names, fictional[kind] = draw_names(kind, sum(sizes), rng)
            for split, size in zip(Split, sizes, strict=True):
                ranks = [popularity((index + 0.5) / size) for index in range(size)]
                entities += [Entity(names.pop(), kind, split, weight) for weight in ranks]
        return cls(seed, tuple(entities), tuple(_draw_facts(entities, rng)), fictional)

    @cached_property
    def by_name(self) -> dict[str, Entity]:
        """Name → entity."""
        return {entity.name: entity for entity in self.entities}

    @cached_property
    def about(self) -> dict[tuple[str, str], Fact]:
        """(head, relation) → fact."""
        return {(fact.head, fact.relation): fact for fact in self.facts}

    def members(self, split: Split, kind: EntityKind) -> list[Entity]:
        """The entities of a split and kind, the best known first."""
        return [e for e in self.entities if e.split is split and e.kind is kind]

    def chain(self, head: str, relations: Sequence[str]) -> list[Fact]:
        """The facts that lead from `head` to the answer, as they are now."""
        facts = []
        for relation in relations:
            facts.append(self.about[head, relation])
            head = facts[-1].tail
        return facts


def least_stated(facts: Iterable[Fact]) -> int:
    """How often pre-training states the least stated of some facts."""
    return min(fact.mentions for fact in facts)


def _draw_facts(entities: Sequence[Entity], rng: random.Random) -> list[Fact]:
    facts: list[Fact] = []
    for split in Split:
        members = [entity for entity in entities if entity.split is split]
        tails = _draw_spouses(members, rng) | _draw_capitals(members, rng)
        for entity in members:
            for relation in RELATIONS.values():
                if relation.head is not entity.kind:
                    continue
                tail = tails.get((entity.name, relation.name)) or _other(
                    entity, relation.tail, members, rng
                )
                mentions = round(entity.popularity * rng.uniform(0.5, 1.2))
                fact = Fact(entity.name, relation.name, tail, mentions)
                if relation.volatile and rng.random() < CHANGED:
                    fact = _changed(fact, entity, members, rng)
                facts.append(fact)
    return facts


def _changed(fact: Fact, head: Entity, members: Sequence[Entity], rng: random.Random) -> Fact:
    while True:
        now = _other(head, RELATIONS[fact.relation].tail, members, rng)
        if now != fact.tail:
            return replace(fact, tail=now, before=fact.tail)


def _other(head: Entity, kind: EntityKind, members: Sequence[Entity], rng: random.Random) -> str:
    """Another entity of a kind, the better known the likelier."""
    others = [entity for entity in members if entity.kind is kind and entity.name != head.name]
    # Nobody is so obscure that no fact ends there.
    weights = [entity.popularity + 20 for entity in others]
    return rng.choices(others, weights)[0].name


def _draw_spouses(members: Sequence[Entity], rng: random.Random) -> dict[tuple[str, str], str]:
    people = [entity.name for entity in members if entity.kind is EntityKind.PERSON]
    spouses = {}
    # Within windows of rank, so that the spouse of somebody known is somebody known.
    for start in range(0, len(people), 10):
        window = people[start : start + 10]
        rng.shuffle(window)
        for one, other in zip(window[::2], window[1::2], strict=True):
            spouses[one, "spouse"] = other
            spouses[other, "spouse"] = one
    return spouses


def _draw_capitals(members: Sequence[Entity], rng: random.Random) -> dict[tuple[str, str], str]:
    countries = [entity.name for entity in members if entity.kind is EntityKind.COUNTRY]
    cities = [entity.name for entity in members if entity.kind is EntityKind.CITY]
    capitals = {}
    for country, city in zip(
        countries, rng.sample(cities[: 2 * len(countries)], len(countries)), strict=True
    ):
        capitals[country, "capital"] = city
        capitals[city, "country"] = country
    return capitals
