"""The synthetic encyclopedia: entities, their popularity tiers and splits, and the facts about them.

Entities are partitioned by split before any fact is drawn, and a fact never joins two splits. A test
entity therefore occurs in no training question, neither as head nor as bridge nor as answer: there
is nothing to leak. Tiers say how often pre-training states the facts of a head: often (`common`), a
few times (`rare`), never (`unseen`). Tails are common entities, except that spouses share a tier; a few
people are their own teachers.

    >>> world = Encyclopedia.generate(seed=0)
    >>> fact = world.facts[0]
    >>> fact.relation in RELATIONS and fact.tail in {e.name for e in world.entities}
    True
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import product

from innersearch.types import Document
from innersearch.world_1.relations import RELATIONS, EntityKind

ONSETS = tuple("".join(letters) for letters in product("BDGHJKLMNRTVWZ", "aeiou", "lmnrs"))
"""First syllables of names. No two entities of a kind share one, as no two known people are confused.
Where there are too few for a world, its names begin with two, and no two share both."""

ENDINGS = {
    EntityKind.PERSON: (
        "in ek ara ius ona el im osa ira en ado ette ix una eo ali us ey orn ane ith ud ak ie"
    ).split(),
    EntityKind.COMPANY: "tek soft corp works labs dyne mart bank".split(),
    EntityKind.CITY: "burg ville ton ford haven mouth stead gate field port dale wick".split(),
    EntityKind.COUNTRY: "land istan onia avia eria aria".split(),
}
"""Last syllables of names."""


class Tier(StrEnum):
    """How often pre-training states the facts of an entity."""

    COMMON = "common"
    """Often: the model knows them."""
    RARE = "rare"
    """A few times: the model may know them."""
    UNSEEN = "unseen"
    """Never: only a real engine can know them."""


class Split(StrEnum):
    """Which questions an entity may occur in."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Entity:
    """A named thing of the world."""

    name: str
    kind: EntityKind
    tier: Tier
    split: Split


@dataclass(frozen=True, slots=True)
class Fact:
    """`head relation tail`, for example `Darali works_for Josmart`."""

    head: str
    relation: str
    tail: str

    @property
    def id(self) -> str:
        """The id of the document that states this fact."""
        return f"{self.head}:{self.relation}"

    def state(self, paraphrase: int) -> str:
        """The fact as the encyclopedia's sentence number `paraphrase`."""
        return RELATIONS[self.relation].statements[paraphrase].format(x=self.head, y=self.tail)


@dataclass(frozen=True, slots=True)
class Population:
    """Numbers of (common, rare, unseen) entities of one kind, per split. At most 122,000 in all; of
    people an even number each, since all are married within their tier.
    """

    train: tuple[int, int, int]
    validation: tuple[int, int, int]
    test: tuple[int, int, int]


DEFAULT_POPULATION: dict[EntityKind, Population] = {
    EntityKind.PERSON: Population((72, 6, 6), (24, 6, 6), (64, 12, 12)),
    EntityKind.COMPANY: Population((20, 2, 2), (8, 3, 3), (16, 4, 4)),
    EntityKind.CITY: Population((20, 2, 2), (8, 3, 3), (16, 4, 4)),
    EntityKind.COUNTRY: Population((7, 0, 0), (3, 0, 0), (6, 0, 0)),
}


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
        cls, seed: int = 0, population: dict[EntityKind, Population] | None = None
    ) -> Encyclopedia:
        """Draw a world; the same seed and population give the same world."""
        rng = random.Random(f"innersearch-world-{seed}")
        entities: list[Entity] = []
        fictional = {}
        for kind, counts in (population or DEFAULT_POPULATION).items():
            onsets = _draw_onsets(sum(map(sum, astuple(counts))), rng)
            for split in Split:
                for tier, count in zip(Tier, getattr(counts, split.value), strict=True):
                    names = [onsets.pop() + rng.choice(ENDINGS[kind]) for _ in range(count)]
                    entities += [Entity(name, kind, tier, split) for name in names]
            fictional[kind] = tuple(onset + ending for onset in onsets for ending in ENDINGS[kind])
        return cls(seed, tuple(entities), tuple(_draw_facts(entities, rng)), fictional)

    @cached_property
    def by_name(self) -> dict[str, Entity]:
        """Name → entity."""
        return {entity.name: entity for entity in self.entities}

    @cached_property
    def tails(self) -> dict[tuple[str, str], str]:
        """(head, relation) → tail."""
        return {(fact.head, fact.relation): fact.tail for fact in self.facts}

    def tier_of(self, facts: Iterable[Fact]) -> Tier:
        """The tier of the least known of some facts."""
        order = list(Tier)
        return max((self.by_name[fact.head].tier for fact in facts), key=order.index)

    def documents(self) -> list[Document]:
        """The encyclopedia as a search corpus: a document per fact and paraphrase, titled with its head.

        The first has the id of its fact, the others that id and their number.
        """
        return [
            Document(f"{fact.id}/{number}" if number else fact.id, fact.head, fact.state(number))
            for fact in self.facts
            for number in range(len(RELATIONS[fact.relation].statements))
        ]


def _draw_onsets(names: int, rng: random.Random) -> list[str]:
    """Beginnings for so many names and for fictional ones."""
    if names < len(ONSETS):
        return rng.sample(ONSETS, len(ONSETS))
    pairs = ["".join(syllables) for syllables in product(ONSETS, ONSETS)]
    return rng.sample(pairs, names + len(ONSETS))


def _draw_facts(entities: Sequence[Entity], rng: random.Random) -> list[Fact]:
    tails: dict[tuple[str, str], str] = {}
    for split in Split:
        members = [entity for entity in entities if entity.split is split]
        tails.update(_draw_spouses(members))
        tails.update(_draw_capitals(members, rng))
        known = {kind: [other.name for other in _common(members, kind)] for kind in EntityKind}
        for entity in members:
            for relation in RELATIONS.values():
                if relation.head is entity.kind and (entity.name, relation.name) not in tails:
                    tails[entity.name, relation.name] = rng.choice(known[relation.tail])
    return [Fact(head, relation, tail) for (head, relation), tail in tails.items()]


def _common(members: Sequence[Entity], kind: EntityKind) -> list[Entity]:
    return [e for e in members if e.kind is kind and e.tier is Tier.COMMON]


def _draw_spouses(members: Sequence[Entity]) -> dict[tuple[str, str], str]:
    spouses = {}
    for tier in Tier:
        people = [e.name for e in members if e.kind is EntityKind.PERSON and e.tier is tier]
        for one, other in zip(people[::2], people[1::2], strict=True):
            spouses[one, "spouse"] = other
            spouses[other, "spouse"] = one
    return spouses


def _draw_capitals(members: Sequence[Entity], rng: random.Random) -> dict[tuple[str, str], str]:
    countries = _common(members, EntityKind.COUNTRY)
    cities = rng.sample(_common(members, EntityKind.CITY), len(countries))
    capitals = {}
    for country, city in zip(countries, cities, strict=True):
        capitals[country.name, "capital"] = city.name
        capitals[city.name, "located_in"] = country.name
    return capitals
