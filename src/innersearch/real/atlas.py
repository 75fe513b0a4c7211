"""Questions about real countries, cities and elements, in one hop and in two.

Ids are `relation:head`, in training with the number of the wording behind. Metadata: `group` (one_hop,
two_hop, elements), `relation`, `hops`, `split`, `unit` (the country or element, for `compare --cluster
unit`), `chain` (head, bridge, answer), `documents` (of the corpus, that state it) and `popularity` (how
many live in what is asked about), where there is such a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from innersearch.data.sources import QuestionSource
from innersearch.errors import DataError, did_you_mean
from innersearch.random_draws import number
from innersearch.real.facts import RELATIONS, TWO_HOPS, Fact, Split, facts_of, splits_of
from innersearch.real.places import read_places
from innersearch.types import Question

NAME = "atlas"
SEED = 0
"""Of the splits and wordings behind the names `atlas:train` and so on."""
_FIRST = "capital_country", "city_country"
"""Relations that lead to a country, so that another can follow."""


def questions(facts: Iterable[Fact], split: Split, seed: int) -> list[Question]:
    """The questions of a split, one hop first; in training each in all its wordings, else in one."""
    known = list(facts)
    splits = splits_of(known, seed)
    chosen = [fact for fact in known if splits[fact.unit] == split]
    return [
        question
        for relation, chain in (*((f.relation, (f,)) for f in chosen), *_chains(chosen))
        for question in _asked(relation, chain, split, seed)
    ]


def _chains(facts: list[Fact]) -> Iterator[tuple[str, tuple[Fact, ...]]]:
    """Two hops: all ways to go on from a country, by relation."""
    by_unit = {(fact.relation, fact.unit): fact for fact in facts if fact.relation not in _FIRST}
    for name, relation in TWO_HOPS.items():
        first, second = relation.chain
        for fact in facts:
            if fact.relation == first and (then := by_unit.get((second, fact.unit))):
                yield name, (fact, then)


def _asked(relation: str, chain: tuple[Fact, ...], split: Split, seed: int) -> Iterator[Question]:
    head, asked = chain[0].head, RELATIONS[relation]
    identity = f"{relation}:{head}"
    if split is Split.TRAIN:
        wordings = [(f"{identity}:{place}", text) for place, text in enumerate(asked.training)]
    else:
        wordings = [(identity, asked.test[number("wording", seed, identity) % len(asked.test)])]
    for name, text in wordings:
        subject = text.format(x=head)
        yield Question(
            name, subject[0].upper() + subject[1:], chain[-1].answers, _metadata(relation, chain, split)
        )


def _metadata(relation: str, chain: tuple[Fact, ...], split: Split) -> dict[str, object]:
    first = chain[0]
    group = "two_hop" if len(chain) > 1 else "one_hop" if first.popularity else "elements"
    return {
        "group": group,
        "relation": relation,
        "hops": len(chain),
        "split": split.value,
        "unit": first.unit,
        "chain": [first.head, *(fact.answers[0] for fact in chain)],
        "documents": [fact.document for fact in chain],
        **({"popularity": first.popularity} if first.popularity else {}),
    }


def _read(part: str) -> list[Question]:
    """Of `test`, or of one relation alone: `test:capital`."""
    split, _, relation = part.partition(":")
    if split not in list(Split):
        raise DataError(f"unknown split {split!r} of the atlas; {did_you_mean(split, Split)}")
    if relation and relation not in RELATIONS:
        raise DataError(
            f"unknown relation {relation!r} of the atlas; {did_you_mean(relation, RELATIONS)}"
        )
    found = questions(facts_of(read_places()), Split(split), SEED)
    return [q for q in found if not relation or q.metadata["relation"] == relation]


SOURCE = QuestionSource("atlas:train|validation|test, and atlas:test:RELATION", _read)
