"""The encyclopedia as a search engine sees it: pages with a lead and sections, newer than the weights.

Nothing here is worded as pre-training words it. A page has an address, a lead that names its
subject, and a section per fact, each with a sentence about somebody else beside it. Where there is
room for confusion there is a page about a namesake as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from innersearch.types import Document
from innersearch.world.encyclopedia import Encyclopedia, Entity, Fact
from innersearch.world.relations import RELATIONS, EntityKind

ADDRESS = "https://world.invalid/"

NAMESAKES = 0.15
"""Share of entities that share their name with something that no question asks about."""

_LEADS = {
    EntityKind.PERSON: "{x} is a person of some name.",
    EntityKind.COMPANY: "{x} is a company with many years of history.",
    EntityKind.CITY: "{x} is a city that many people know.",
    EntityKind.COUNTRY: "{x} is a country with a long history.",
}
_NAMESAKE_LEAD = "{x} is a ship with a long history, and not the {kind} of that name."
_NAMESAKE = "The ship {x} was based in the port of {y} for many years."
_ASIDE = "Not far from there {y} has a history too."


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: a heading and sentences."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class WorldPage:
    """A page of the encyclopedia."""

    address: str
    title: str
    lead: str
    sections: tuple[Section, ...]
    ids: tuple[str, ...]
    """The id of each section's fact; of a namesake's, none that a question has."""


def pages(world: Encyclopedia) -> list[WorldPage]:
    """All pages, in the order of the entities."""
    rng = random.Random(f"pages-{world.seed}")
    about: dict[str, list[Fact]] = {}
    for fact in world.facts:
        about.setdefault(fact.head, []).append(fact)
    found = []
    for entity in world.entities:
        found.append(_page(world, entity, about[entity.name], rng))
        if rng.random() < NAMESAKES:
            found.append(_namesake(world, entity, rng))
    return found


def passages(world: Encyclopedia) -> list[Document]:
    """Every lead and section as a document of its own, titled with its page, with the id of its fact."""
    return [document for page in pages(world) for document in _documents(page)]


def leads(world: Encyclopedia) -> list[Document]:
    """The leads alone, which say where the rest can be read: for agents that open pages."""
    return [Document(page.address, page.title, page.lead, url=page.address) for page in pages(world)]


def _page(world: Encyclopedia, entity: Entity, facts: list[Fact], rng: random.Random) -> WorldPage:
    sections = tuple(
        Section(RELATIONS[fact.relation].nouns[0].capitalize(), _with_aside(world, entity, fact, rng))
        for fact in facts
    )
    lead = _LEADS[entity.kind].format(x=entity.name)
    return WorldPage(
        ADDRESS + entity.name, entity.name, lead, sections, tuple(fact.id for fact in facts)
    )


def _with_aside(world: Encyclopedia, entity: Entity, fact: Fact, rng: random.Random) -> str:
    said = RELATIONS[fact.relation].page.format(x=fact.head, y=fact.tail)
    other = rng.choice([e for e in world.entities if e.split is entity.split])
    sentences = [said, _ASIDE.format(y=other.name)] if rng.random() < 0.5 else [said]
    return " ".join(sentences)


def _namesake(world: Encyclopedia, entity: Entity, rng: random.Random) -> WorldPage:
    cities = [e.name for e in world.members(entity.split, EntityKind.CITY)]
    section = Section("History", _NAMESAKE.format(x=entity.name, y=rng.choice(cities)))
    lead = _NAMESAKE_LEAD.format(x=entity.name, kind=entity.kind.value)
    title = f"{entity.name} (ship)"
    return WorldPage(f"{ADDRESS}{entity.name}_(ship)", title, lead, (section,), (f"{title}:port",))


def _documents(page: WorldPage) -> Iterator[Document]:
    yield Document(page.address, page.title, page.lead, url=page.address)
    for section, identity in zip(page.sections, page.ids, strict=True):
        yield Document(identity, page.title, f"{section.heading}. {section.text}", url=page.address)
