"""A corpus that states the facts of the atlas among others, and one in which some of them are false.

Besides what questions ask for it tells of money, size, telephones, domains and neighbours of countries,
and of all cities from `LARGE` inhabitants on, namesakes too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from innersearch.random_draws import draw, number
from innersearch.real.facts import ONE_HOP, Fact, Split, splits_of, spoken
from innersearch.real.places import Country, Places
from innersearch.types import Document, Question

_STATED = {
    "capital": (
        "The government of {x} sits in {y}, the capital.",
        "{y}, seat of the national government, is the capital city of {x}.",
    ),
    "city_country": (
        "{x} is one of the larger cities in {y}, with {n:,} inhabitants.",
        "With {n:,} inhabitants, {x} is among the cities of {y}.",
    ),
    "nationality": (
        "A passport of {x} makes its holder {y}.",
        "Whoever comes from {x} is said to be {y}.",
    ),
    "symbol": (
        "In formulas {x} is written as {y}; it is an element.",
        "{x} is a chemical element, {y} for short.",
    ),
}
"""Relations that have documents of their own; the others ask for the same facts from the other end."""


def corpus(places: Places, facts: Iterable[Fact], seed: int) -> list[Document]:
    """All documents, those of facts first."""
    stated = [_statement(fact, seed) for fact in facts if fact.relation in _STATED]
    there = {document.id for document in stated}
    others = [*_about_countries(places), *_about_cities(places, seed)]
    return [*stated, *(document for document in others if document.id not in there)]


def counterfactual(facts: Iterable[Fact], seed: int) -> list[Fact]:
    """Facts of the test split with the answer of another: of every relation that has documents.

    The answers of a relation change places among its own facts, so that each is an answer of the right
    kind, and no two capitals are the same.
    """
    known = list(facts)
    splits = splits_of(known, seed)
    test = [fact for fact in known if splits[fact.unit] is Split.TEST]
    return [
        false
        for relation in _STATED
        for false in _moved([fact for fact in test if fact.relation == relation], seed)
    ]


def _moved(facts: list[Fact], seed: int) -> Iterator[Fact]:
    """The same facts in another order of answers, none with its own."""
    groups = Counter(fact.answers for fact in facts)
    order = sorted(
        facts, key=lambda fact: (draw("false", seed, fact.relation, *fact.answers), fact.document)
    )
    # Equal answers stand side by side: one step further than the longest row none meets its own.
    step = max(groups.values(), default=0)
    if 2 * step > len(order):
        return
    for place, fact in enumerate(order):
        yield replace(fact, answers=order[(place + step) % len(order)].answers)


def counterfactual_questions(questions: Iterable[Question], false: Iterable[Fact]) -> list[Question]:
    """The questions of one hop about those facts: gold is what the documents say, `truth` what is so."""
    answers: Mapping[tuple[str, str], tuple[str, ...]] = {
        (fact.relation, fact.document): fact.answers for fact in false
    }
    return [
        Question(
            question.id,
            question.question,
            answers[key],
            {**question.metadata, "group": "counterfactual", "truth": list(question.golden_answers)},
        )
        for question in questions
        if question.metadata["relation"] in ONE_HOP
        and (key := (question.metadata["relation"], question.metadata["documents"][0])) in answers
    ]


def with_false(documents: Iterable[Document], false: Iterable[Fact], seed: int) -> list[Document]:
    """The corpus with the documents of those facts in the place of the true ones."""
    instead = {document.id: document for document in (_statement(fact, seed) for fact in false)}
    return [instead.get(document.id, document) for document in documents]


def _statement(fact: Fact, seed: int) -> Document:
    wordings = _STATED[fact.relation]
    text = wordings[number("stated", seed, fact.document) % len(wordings)]
    answer = fact.answers[0]
    if fact.relation == "city_country":
        answer = spoken(answer)
    filled = text.format(x=fact.head, y=answer, n=fact.popularity)
    return Document(fact.document, fact.head.removeprefix("the "), filled[0].upper() + filled[1:])


def _about_cities(places: Places, seed: int) -> Iterator[Document]:
    """All but capitals, of which a document would give their country away."""
    capitals = {(c.code, name) for c in places.countries.values() for name in c.capital}
    for city in places.cities:
        if (city.country, city.name) not in capitals and (name := places.names.get(city.country)):
            document = f"city:{city.number}"
            country = name.removeprefix("The ")
            yield _statement(
                Fact("city_country", city.name, (country,), city.country, document, city.population),
                seed,
            )


def _about_countries(places: Places) -> Iterator[Document]:
    for country in places.countries.values():
        for kind, text in _further(country, places):
            yield Document(f"{kind}:{country.code}", country.name, text[0].upper() + text[1:])


def _further(country: Country, places: Places) -> Iterator[tuple[str, str]]:
    name = spoken(country.name)
    if country.currency:
        yield "currency", f"Bills in {name} are paid in the {country.currency.lower()}."
    yield (
        "size",
        f"{name} covers {country.area:,} square kilometres and has {country.population:,} people.",
    )
    yield (
        "network",
        f"Web addresses of {name} end in {country.domain}; its calling code is {country.phone}.",
    )
    near = [
        spoken(places.names[code].removeprefix("The "))
        for code in country.neighbours
        if code in places.names
    ]
    if near:
        yield "borders", f"{name} shares a land border with {', '.join(near)}."
