"""What can be said about the embedded world: kinds of entity, relations, and the words for them.

Everything here is text. Each relation has four paraphrases of its statement (the tail always comes
last, so that a causal model can recall it), two search queries, two one-hop question forms, and the
two phrasings with which it opens and closes a two-hop question. A two-hop question is composed from
`asked` of the second relation and `named` of the first, so every composition, including the one that
is held out of all training, is made of phrasings that occur elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EntityKind(StrEnum):
    """The four kinds of entity in the encyclopedia."""

    PERSON = "person"
    COMPANY = "company"
    CITY = "city"
    COUNTRY = "country"


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation and every phrasing of it; `{x}` is the head, `{y}` the tail."""

    name: str
    head: EntityKind
    tail: EntityKind
    noun: str
    """How a thought names it: "I need the employer of {x}."."""
    statements: tuple[str, ...]
    """Encyclopedia sentences, tail last."""
    queries: tuple[str, ...]
    asked: tuple[str, ...]
    """Question forms; `{x}` takes a name or a `named` phrase."""
    named: tuple[str, ...]
    """Noun phrases that stand for the tail inside a two-hop question."""


PERSON, COMPANY, CITY, COUNTRY = EntityKind

RELATIONS: dict[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation(
            "born_in",
            PERSON,
            CITY,
            "birthplace",
            (
                "{x} was born in {y}.",
                "The birthplace of {x} is {y}.",
                "{x} is a native of {y}.",
                "The city where {x} was born is {y}.",
            ),
            ("birthplace of {x}", "where was {x} born"),
            ("Where was {x} born?", "In which city was {x} born?"),
            ("the birthplace of {x}", "the city where {x} was born"),
        ),
        Relation(
            "works_for",
            PERSON,
            COMPANY,
            "employer",
            (
                "{x} works for {y}.",
                "The employer of {x} is {y}.",
                "{x} has a job at {y}.",
                "The company that {x} works for is {y}.",
            ),
            ("employer of {x}", "company {x} works for"),
            ("Which company does {x} work for?", "Who employs {x}?"),
            ("the employer of {x}", "the company that {x} works for"),
        ),
        Relation(
            "spouse",
            PERSON,
            PERSON,
            "spouse",
            (
                "{x} is married to {y}.",
                "The spouse of {x} is {y}.",
                "{x} shares a home with the spouse {y}.",
                "The person who married {x} is {y}.",
            ),
            ("spouse of {x}", "who is {x} married to"),
            ("Who is the spouse of {x}?", "Who is {x} married to?"),
            ("the spouse of {x}", "the person who married {x}"),
        ),
        Relation(
            "teacher",
            PERSON,
            PERSON,
            "teacher",
            (
                "{x} was taught by {y}.",
                "The teacher of {x} is {y}.",
                "{x} learned everything from {y}.",
                "The person who taught {x} is {y}.",
            ),
            ("teacher of {x}", "who taught {x}"),
            ("Who is the teacher of {x}?", "Who taught {x}?"),
            ("the teacher of {x}", "the person who taught {x}"),
        ),
        Relation(
            "based_in",
            COMPANY,
            CITY,
            "home city",
            (
                "{x} is based in {y}.",
                "The home city of {x} is {y}.",
                "{x} has its main office in {y}.",
                "The city where {x} is based is {y}.",
            ),
            ("home city of {x}", "where is {x} based"),
            ("Where is {x} based?", "In which city is {x} based?"),
            ("the home city of {x}", "the city where {x} is based"),
        ),
        Relation(
            "founded_by",
            COMPANY,
            PERSON,
            "founder",
            (
                "{x} was founded by {y}.",
                "The founder of {x} is {y}.",
                "{x} was started by {y}.",
                "The person who founded {x} is {y}.",
            ),
            ("founder of {x}", "who founded {x}"),
            ("Who founded {x}?", "Who is the founder of {x}?"),
            ("the founder of {x}", "the person who founded {x}"),
        ),
        Relation(
            "located_in",
            CITY,
            COUNTRY,
            "country",
            (
                "{x} is located in {y}.",
                "The country of {x} is {y}.",
                "{x} is a city in {y}.",
                "The country where {x} is located is {y}.",
            ),
            ("country of {x}", "where is {x} located"),
            ("In which country is {x}?", "Which country is {x} located in?"),
            ("the country of {x}", "the country where {x} is located"),
        ),
        Relation(
            "mayor",
            CITY,
            PERSON,
            "mayor",
            (
                "{x} is governed by {y}.",
                "The mayor of {x} is {y}.",
                "{x} elected as its mayor {y}.",
                "The person who governs {x} is {y}.",
            ),
            ("mayor of {x}", "who governs {x}"),
            ("Who is the mayor of {x}?", "Who governs {x}?"),
            ("the mayor of {x}", "the person who governs {x}"),
        ),
        Relation(
            "capital",
            COUNTRY,
            CITY,
            "capital",
            (
                "{x} has its capital at {y}.",
                "The capital of {x} is {y}.",
                "{x} has its government in {y}.",
                "The city that is the capital of {x} is {y}.",
            ),
            ("capital of {x}", "what is the capital of {x}"),
            ("What is the capital of {x}?", "Which city is the capital of {x}?"),
            ("the capital of {x}", "the city that is the capital of {x}"),
        ),
    )
}

HELD_OUT_PAIR = ("teacher", "works_for")
"""The relation pair that occurs in no trajectory, direct answer or RL question at all. Both halves
occur in other pairs."""

_THERE_AND_BACK = {("spouse", "spouse"), ("capital", "located_in")}

PAIRS: tuple[tuple[str, str], ...] = tuple(
    (first.name, second.name)
    for first in RELATIONS.values()
    for second in RELATIONS.values()
    if first.tail is second.head and (first.name, second.name) not in _THERE_AND_BACK
)
"""Every two-hop composition of two relations that does not lead back to its head."""
