"""What can be said about the embedded world: kinds of entity, relations, and the words for them.

Everything here is text. A relation has two nouns and a verb. A noun phrase puts one of them into
one of three shapes ("the mentor of Darali", "Darali's mentor", "the person who taught Darali"), and
a question puts a noun phrase into a frame, so that the same phrases make questions of every depth
and none of them tells it. Two of a relation's phrases occur in no training of any stage; each word
and each shape of theirs does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise

from innersearch.random_draws import draw


class EntityKind(StrEnum):
    """The four kinds of entity in the encyclopedia."""

    PERSON = "person"
    COMPANY = "company"
    CITY = "city"
    COUNTRY = "country"


class Wording(StrEnum):
    """Whether phrases occur in training."""

    SEEN = "seen"
    UNSEEN = "unseen"
    """In no training of any stage."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation and the words for it; `{x}` is the head, `{y}` the tail."""

    name: str
    head: EntityKind
    tail: EntityKind
    nouns: tuple[str, str]
    who: str
    """A noun phrase with the verb: "the person who taught {x}"."""
    asks: str
    """A question with the verb: "Who taught {x}?"."""
    states: str
    """A statement with the verb, tail last: "{x} was taught by {y}."."""
    page: str
    """How pages of the encyclopedia put it, unlike what pre-training reads; it holds the second noun,
    and its heading is the first."""
    volatile: bool = False
    """Whether its facts change with time."""

    @property
    def statements(self) -> tuple[str, ...]:
        """Sentences of pre-training. All but one end with the tail: a causal model can recall it."""
        first, second = self.nouns
        return (
            f"The {first} of {{x}} is {{y}}.",
            f"The {second} of {{x}} is {{y}}.",
            self.states,
            f"{{x}}'s {first} is {{y}}.",
            f"{{y}} is the {second} of {{x}}.",
        )

    def phrases(self, wording: Wording, *, of_a_name: bool) -> tuple[str, ...]:
        """Noun phrases for the tail. Only names take the possessive: phrases make it ambiguous."""
        of = [f"the {noun} of {{x}}" for noun in self.nouns]
        own = [f"{{x}}'s {noun}" for noun in self.nouns]
        turn = list(RELATIONS).index(self.name) % 2
        if wording is Wording.UNSEEN:
            return (of[1 - turn], own[turn]) if of_a_name else (of[1 - turn],)
        return (of[turn], own[1 - turn], self.who) if of_a_name else (of[turn], self.who)


PERSON, COMPANY, CITY, COUNTRY = EntityKind

RELATIONS: dict[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation(
            "teacher",
            PERSON,
            PERSON,
            ("teacher", "mentor"),
            "the person who taught {x}",
            "Who taught {x}?",
            "{x} was taught by {y}.",
            "As a mentor {x} had {y} for many years.",
        ),
        Relation(
            "spouse",
            PERSON,
            PERSON,
            ("spouse", "partner"),
            "the person who married {x}",
            "Who married {x}?",
            "{x} is married to {y}.",
            "For many years {x} has been the partner of {y}.",
        ),
        Relation(
            "employer",
            PERSON,
            COMPANY,
            ("employer", "company"),
            "the company that hired {x}",
            "Which company hired {x}?",
            "{x} was hired by {y}.",
            "After many years {y} became the company of {x}.",
            volatile=True,
        ),
        Relation(
            "birthplace",
            PERSON,
            CITY,
            ("birthplace", "hometown"),
            "the city where {x} was born",
            "Where was {x} born?",
            "{x} was born in {y}.",
            "The family of {x} had its hometown in {y}.",
        ),
        Relation(
            "home",
            PERSON,
            CITY,
            ("home", "residence"),
            "the city where {x} lives",
            "Where does {x} live?",
            "{x} lives in {y}.",
            "The residence of {x} has long been in {y}.",
        ),
        Relation(
            "founder",
            COMPANY,
            PERSON,
            ("founder", "creator"),
            "the person who founded {x}",
            "Who founded {x}?",
            "{x} was founded by {y}.",
            "Early on {y} became known as the creator of {x}.",
        ),
        Relation(
            "director",
            COMPANY,
            PERSON,
            ("director", "chief"),
            "the person who leads {x}",
            "Who leads {x}?",
            "{x} is led by {y}.",
            "As chief {x} has {y}.",
            volatile=True,
        ),
        Relation(
            "seat",
            COMPANY,
            CITY,
            ("headquarters", "seat"),
            "the city where {x} is based",
            "Where is {x} based?",
            "{x} is based in {y}.",
            "For many years {y} has been the seat of {x}.",
        ),
        Relation(
            "mayor",
            CITY,
            PERSON,
            ("mayor", "governor"),
            "the person who governs {x}",
            "Who governs {x}?",
            "{x} is governed by {y}.",
            "As governor {x} has had {y} in office.",
            volatile=True,
        ),
        Relation(
            "country",
            CITY,
            COUNTRY,
            ("country", "nation"),
            "the country that {x} belongs to",
            "Which country does {x} belong to?",
            "{x} belongs to {y}.",
            "Since its early years {x} has been part of the nation of {y}.",
        ),
        Relation(
            "capital",
            COUNTRY,
            CITY,
            ("capital", "metropolis"),
            "the city that {x} is ruled from",
            "Which city is {x} ruled from?",
            "{x} is ruled from {y}.",
            "For long years {y} has been the metropolis of {x}.",
        ),
        Relation(
            "ruler",
            COUNTRY,
            PERSON,
            ("ruler", "sovereign"),
            "the person who rules {x}",
            "Who rules {x}?",
            "{x} is ruled by {y}.",
            "As sovereign {x} has had {y} for many years.",
        ),
    )
}

TAIL_LAST = 4
"""The first so many statements of each relation end with the tail."""

Pair = tuple[str, str]

_THERE_AND_BACK = {("spouse", "spouse"), ("capital", "country")}

PAIRS: tuple[Pair, ...] = tuple(
    (first.name, second.name)
    for first in RELATIONS.values()
    for second in RELATIONS.values()
    if first.tail is second.head and (first.name, second.name) not in _THERE_AND_BACK
)
"""Every composition of two relations that does not lead back to its head."""

HELD_OUT = 10
"""Pairs that are held out of every training."""


@cache
def held_out_pairs(seed: int) -> frozenset[Pair]:
    """The pairs that occur in no training of a world, neither asked nor followed in a demonstration.

    Drawn so that each half of each occurs in other pairs, in the same place.
    """
    held: list[Pair] = []
    for pair in sorted(PAIRS, key=lambda pair: draw("held-out pair", seed, *pair)):
        left = [other for other in PAIRS if other not in held and other != pair]
        if all(sum(other[place] == pair[place] for other in left) >= 2 for place in (0, 1)):
            held.append(pair)
        if len(held) == HELD_OUT:
            break
    return frozenset(held)


def has_held_out(relations: tuple[str, ...], seed: int) -> bool:
    """Whether a chain follows a held-out pair anywhere."""
    return any(pair in held_out_pairs(seed) for pair in pairwise(relations))
