"""The facts of the atlas, their splits, and how they are asked for and stated.

A country belongs to one split, with its cities, and so does an element; which one follows from the seed.
A question is asked in three wordings in training, and in one of two others in validation and test.
Documents state facts in wordings that no question has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from innersearch.metrics import normalise
from innersearch.random_draws import draw
from innersearch.real.places import Country, Places

ASKED = 300_000
"""Inhabitants of the smallest city that is asked about: of smaller ones small models know nothing."""
PER_COUNTRY = 4
"""Cities of a country that are asked about at most, the largest: none shall count for too much."""
_TRAINING, _VALIDATION = 0.5, 0.1
_ELEMENT = "element "
_WITH_ARTICLE = (
    "Central African Republic",
    "Czech Republic",
    "Democratic Republic of the Congo",
    "Dominican Republic",
    "Gambia",
    "Netherlands",
    "Philippines",
    "Republic of the Congo",
    "United Arab Emirates",
    "United Kingdom",
    "United States",
)


class Split(StrEnum):
    """What a country, or an element, is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Relation:
    """How one relation, or a chain of two, is asked for."""

    training: tuple[str, str, str]
    test: tuple[str, str]
    chain: tuple[str, ...] = ()
    """Of two hops: the relations that it is made of."""


ONE_HOP = {
    "capital": Relation(
        (
            "What is the capital of {x}?",
            "Which city is the capital of {x}?",
            "Name the capital city of {x}.",
        ),
        ("{x} has which city as its capital?", "What city serves as the capital of {x}?"),
    ),
    "capital_country": Relation(
        (
            "{x} is the capital of which country?",
            "Which country has {x} as its capital?",
            "Of which country is {x} the capital city?",
        ),
        ("What country is governed from its capital {x}?", "Name the country whose capital is {x}."),
    ),
    "city_country": Relation(
        (
            "In which country is {x}?",
            "Which country does the city of {x} belong to?",
            "{x} is a city in which country?",
        ),
        (
            "What country would you visit to see the city of {x}?",
            "Name the country where {x} is located.",
        ),
    ),
    "nationality": Relation(
        (
            "What is the nationality of a person from {x}?",
            "Which nationality do the people of {x} have?",
            "What are citizens of {x} called?",
        ),
        ("Somebody born in {x} has what nationality?", "Name the nationality of those who live in {x}."),
    ),
    "element": Relation(
        (
            "Which chemical element has the symbol {x}?",
            "What is the name of the element with the symbol {x}?",
            "The chemical symbol {x} stands for which element?",
        ),
        ("Name the element that chemists write as {x}.", "What element does {x} denote in chemistry?"),
    ),
    "symbol": Relation(
        (
            "What is the chemical symbol of {x}?",
            "Which symbol does the element {x} have?",
            "Give the chemical symbol for {x}.",
        ),
        ("How do chemists abbreviate the element {x}?", "{x} has what symbol in the periodic table?"),
    ),
}
TWO_HOPS = {
    "city_capital": Relation(
        (
            "What is the capital of the country in which {x} lies?",
            "Which city is the capital of the country that {x} belongs to?",
            "{x} is a city in a country. What is the capital of that country?",
        ),
        (
            "Name the capital of the country where {x} is located.",
            "What city serves as the capital of the country that includes {x}?",
        ),
        ("city_country", "capital"),
    ),
    "city_nationality": Relation(
        (
            "What is the nationality of the people in the country to which {x} belongs?",
            "Which nationality do the people of the country have in which {x} is a city?",
            "{x} is a city in a country. What are the citizens of that country called?",
        ),
        (
            "Somebody born in the country where {x} is located has what nationality?",
            "Name the nationality of those who live in the country that includes {x}.",
        ),
        ("city_country", "nationality"),
    ),
    "capital_nationality": Relation(
        (
            "What is the nationality of the people in the country whose capital is {x}?",
            "Which nationality do the people of the country have that has {x} as its capital?",
            "{x} is the capital of a country. What are the citizens of that country called?",
        ),
        (
            "Somebody born in the country governed from {x} has what nationality?",
            "Name the nationality of those who live in the country with the capital {x}.",
        ),
        ("capital_country", "nationality"),
    ),
}
RELATIONS = ONE_HOP | TWO_HOPS


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: a relation of a head, with all spellings of what it leads to."""

    relation: str
    head: str
    answers: tuple[str, ...]
    unit: str
    """The country, by its code, or the element: what is in one split, and errs together."""
    document: str
    """Id of the document that states it."""
    popularity: int = 0
    """Inhabitants of the city or country asked about; 0 where there is no such number."""


def facts_of(places: Places) -> list[Fact]:
    """Everything that one hop is asked about, by relation."""
    found = [fact for country in places.countries.values() for fact in _of_country(country)]
    found += _of_cities(places)
    for element in places.elements:
        # Lithium and Liechtenstein would have one code.
        unit, document = f"{_ELEMENT}{element.symbol}", f"element:{element.symbol}"
        found += [
            Fact("element", element.symbol, element.spellings, unit, document),
            Fact("symbol", element.spellings[0], (element.symbol,), unit, document),
        ]
    order = list(ONE_HOP)
    return sorted(found, key=lambda fact: order.index(fact.relation))


def _of_country(country: Country) -> Iterable[Fact]:
    code, name = country.code, spoken(country.name)
    if not _gives_away(country.capital, country.spellings):
        document = f"capital:{code}"
        yield Fact("capital", name, country.capital, code, document, country.population)
        yield Fact(
            "capital_country", country.capital[0], country.spellings, code, document, country.population
        )
    if country.nationality:
        document = f"nationality:{code}"
        yield Fact("nationality", name, country.nationality, code, document, country.population)


def _of_cities(places: Places) -> Iterable[Fact]:
    taken: dict[str, int] = {}
    for city in places.cities:
        country = places.countries.get(city.country)
        if country is None or not city.unique or city.population < ASKED or city.name in country.capital:
            continue
        if _gives_away((city.name,), country.spellings) or taken.get(country.code, 0) == PER_COUNTRY:
            continue
        taken[country.code] = taken.get(country.code, 0) + 1
        yield Fact(
            "city_country",
            city.name,
            country.spellings,
            country.code,
            f"city:{city.number}",
            city.population,
        )


def _gives_away(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether a name is a part of what it is asked about, as with Mexico City.

    >>> _gives_away(("Mexico City",), ("Mexico",)), _gives_away(("Oman",), ("Romania",))
    (True, False)
    """
    pairs = [(normalise(a).split(), normalise(b).split()) for a in one for b in other]
    return any(set(a) <= set(b) or set(b) <= set(a) for a, b in pairs if a and b)


def spoken(country: str) -> str:
    """A country as it stands in a sentence.

    >>> spoken("Netherlands"), spoken("Norway")
    ('the Netherlands', 'Norway')
    """
    return f"the {country}" if country in _WITH_ARTICLE else country


def splits_of(facts: Iterable[Fact], seed: int) -> Mapping[str, Split]:
    """The split of every country and element: half train, a tenth validation, the rest test."""
    units = {fact.unit for fact in facts}
    elements = {unit for unit in units if unit.startswith(_ELEMENT)}
    found = {}
    for several in (units - elements, elements):
        order = sorted(several, key=lambda unit: draw("atlas", seed, unit))
        for place, unit in enumerate(order):
            share = place / len(order)
            later = Split.VALIDATION if share < _TRAINING + _VALIDATION else Split.TEST
            found[unit] = Split.TRAIN if share < _TRAINING else later
    return found
