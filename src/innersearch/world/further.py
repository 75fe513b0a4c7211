"""Questions beside single chains: pairs and triples, lineages, sets, and what nobody can answer.

Pairs and triples are about the encyclopedia. Lineages and sets have people and companies of their own,
drawn from a stream of their own, so that the encyclopedia stays as it is; the weights know nothing of
them, and nobody knows what cannot be answered.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innersearch.types import Document, Question
from innersearch.world.encyclopedia import Encyclopedia, Fact, Split, least_stated
from innersearch.world.relations import RELATIONS, EntityKind, Wording

DEPTHS = range(2, 17)
"""How many teachers there are to the first of a line."""
LINES = 20
"""Lines of the greatest depth in each split; the others are asked of those who come later in them."""
SETS = 12
"""Companies whose people are asked for, in each split."""
STAFF = (8, 24)
"""How many people such a company has."""
GATHERED = 150
"""Pairs, triples and unanswerable questions of each split; of pairs and triples to train on there are
`GATHERED_TO_TRAIN`."""
GATHERED_TO_TRAIN = 1_000

LINEAGE = "Who is the first in the line of teachers of {x}?"
FIRST = "{x} had no mentor and learned alone."
_STAFF = "Which people work for {x}?"
_LEFT = "After many years {x} left the company {y}."


@dataclass(frozen=True, slots=True)
class Lineage:
    """Somebody, their teacher, the teacher's teacher, up to one who had none."""

    split: Split
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Staff:
    """A company, who works there, and who left."""

    split: Split
    company: str
    people: tuple[str, ...]
    left: tuple[str, ...]


def lineages(world: Encyclopedia) -> list[Lineage]:
    """The lineages of a world."""
    names = _people(world, "lineages")
    return [
        Lineage(split, tuple(names.pop() for _ in range(DEPTHS[-1] + 1)))
        for split in Split
        for _ in range(LINES)
    ]


def staffs(world: Encyclopedia) -> list[Staff]:
    """The companies of a world whose people are asked for."""
    rng = random.Random(f"staffs-{world.seed}")
    names = _people(world, "staffs")
    companies = rng.sample(world.fictional[EntityKind.COMPANY], len(Split) * SETS)
    found = []
    for index, company in enumerate(companies):
        staff = tuple(names.pop() for _ in range(rng.randint(*STAFF)))
        left = tuple(names.pop() for _ in range(4))
        found.append(Staff(list(Split)[index // SETS], company, staff, left))
    return found


def _people(world: Encyclopedia, purpose: str) -> list[str]:
    """Names that belong to nobody, lineages and sets each their own half of them."""
    free = list(world.fictional[EntityKind.PERSON])
    random.Random(f"further-{world.seed}").shuffle(free)
    half = len(free) // 2
    return free[:half] if purpose == "lineages" else free[half:]


def further_passages(world: Encyclopedia) -> list[Document]:
    """What the encyclopedia says about lineages and sets, worded as its pages are."""
    taught, hired = RELATIONS["teacher"].page, RELATIONS["employer"].page
    documents = []
    for line in lineages(world):
        for pupil, teacher in zip(line.names, line.names[1:], strict=False):
            documents.append(_passage(pupil, "teacher", taught.format(x=pupil, y=teacher)))
        documents.append(_passage(line.names[-1], "teacher", FIRST.format(x=line.names[-1])))
    for staff in staffs(world):
        for person in staff.people:
            documents.append(_passage(person, "employer", hired.format(x=person, y=staff.company)))
        for person in staff.left:
            documents.append(_passage(person, "employer", _LEFT.format(x=person, y=staff.company)))
    return documents


def _passage(name: str, relation: str, said: str) -> Document:
    heading = RELATIONS[relation].nouns[0].capitalize()
    address = f"https://world.invalid/{name}"
    return Document(f"{name}:{relation}", name, f"{heading}. {said}", url=address)


def lineage_questions(world: Encyclopedia, split: Split) -> list[Question]:
    """Who began the line of somebody's teachers; depth is how many teachers there are."""
    return [
        Question(
            f"{line.names[-1 - depth]}:lineage",
            LINEAGE.format(x=line.names[-1 - depth]),
            (line.names[-1],),
            _about("lineage", split, depth, [f"{name}:teacher" for name in line.names[-1 - depth :]])
            | {"line": line.names[-1]},
        )
        for depth in DEPTHS
        for line in lineages(world)
        if line.split is split
    ]


def set_questions(world: Encyclopedia, split: Split) -> list[Question]:
    """Who works for a company: the gold documents are what is asked for, one for each person."""
    return [
        Question(
            f"{staff.company}:staff",
            _STAFF.format(x=staff.company),
            (", ".join(sorted(staff.people)),),
            _about("set", split, 1, [f"{person}:employer" for person in staff.people]),
        )
        for staff in staffs(world)
        if staff.split is split
    ]


def pair_questions(world: Encyclopedia, split: Split) -> list[Question]:
    """Two unrelated facts in one question."""
    return _gathered(world, split, 2)


def triple_questions(world: Encyclopedia, split: Split) -> list[Question]:
    """Three unrelated facts in one question."""
    return _gathered(world, split, 3)


def _gathered(world: Encyclopedia, split: Split, size: int) -> list[Question]:
    rng = random.Random(f"gathered-{world.seed}-{split}-{size}")
    facts = [fact for fact in world.facts if world.by_name[fact.head].split is split]
    found: dict[str, Question] = {}
    number = GATHERED_TO_TRAIN if split is Split.TRAIN else GATHERED
    while len(found) < number:
        chosen = rng.sample(facts, size)
        if len({fact.head for fact in chosen}) < size or len({fact.tail for fact in chosen}) < size:
            continue
        question = _gathering(chosen, split, rng)
        found.setdefault(question.id, question)
    return list(found.values())


def _gathering(facts: Sequence[Fact], split: Split, rng: random.Random) -> Question:
    phrases = [
        rng.choice(RELATIONS[fact.relation].phrases(Wording.SEEN, of_a_name=True)).format(x=fact.head)
        for fact in facts
    ]
    kind = {2: "pair", 3: "triple"}[len(facts)]
    metadata = _about(kind, split, 1, [fact.id for fact in facts])
    metadata |= {"mentions": least_stated(facts), "changed": any(fact.before for fact in facts)}
    return Question(
        "+".join(fact.id for fact in facts),
        f"Name {joined(phrases)}.",
        (joined([fact.tail for fact in facts]),),
        metadata,
    )


def joined(parts: Sequence[str]) -> str:
    """Parts as a sentence lists them.

    >>> joined(["A"]), joined(["A", "B", "C"])
    ('A', 'A, B and C')
    """
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def unanswerable_questions(world: Encyclopedia, split: Split) -> list[Question]:
    """One fact about somebody of whom nothing is written anywhere; there is no gold answer."""
    rng = random.Random(f"unanswerable-{world.seed}-{split}")
    relations = [relation for relation in RELATIONS.values() if relation.head is EntityKind.COUNTRY]
    # Names of countries are in neither lineages nor sets.
    names = rng.sample(world.fictional[EntityKind.COUNTRY], GATHERED)
    found = []
    for name in names:
        relation = rng.choice(relations)
        phrase = rng.choice(relation.phrases(Wording.SEEN, of_a_name=True)).format(x=name)
        identity = f"{name}:{relation.name}/unanswerable"
        metadata = _about("unanswerable", split, 1, [])
        found.append(Question(identity, f"Name {phrase}.", (), metadata))
    return found


def _about(kind: str, split: Split, depth: int, documents: list[str]) -> dict[str, object]:
    return {
        "kind": kind,
        "depth": depth,
        "split": split.value,
        "mentions": 0,
        "changed": False,
        "documents": documents,
        "group": kind,
    }


FURTHER: dict[str, Callable[[Encyclopedia, Split], list[Question]]] = {
    "pairs": pair_questions,
    "triples": triple_questions,
    "lineages": lineage_questions,
    "sets": set_questions,
    "unanswerable": unanswerable_questions,
}
"""What can be asked besides chains, by the name it has in `world:NAME-SPLIT`."""

VOCABULARY = (LINEAGE, FIRST, _STAFF, _LEFT)
"""Texts with words that occur nowhere else."""
