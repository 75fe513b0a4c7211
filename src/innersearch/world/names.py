"""Names of the world's entities: an onset and an ending, two tokens each."""

from __future__ import annotations

import random
from itertools import product

from innersearch.world.relations import EntityKind

ONSETS = tuple("".join(letters) for letters in product("BDGHJKLMNRTVWZ", "aeiou", "lmnrs"))
"""First syllables. No two entities of a kind share one, as no two known people are confused. Where there
are too few for a world, its names begin with two, and no two share both."""

ENDINGS = {
    EntityKind.PERSON: (
        "in ek ara ius ona el im osa ira en ado ette ix una eo ali us ey orn ane ith ud ak ie"
    ).split(),
    EntityKind.COMPANY: "tek soft corp works labs dyne mart bank".split(),
    EntityKind.CITY: "burg ville ton ford haven mouth stead gate field port dale wick".split(),
    EntityKind.COUNTRY: "land istan onia avia eria aria".split(),
}
"""Last syllables."""


def draw_names(kind: EntityKind, count: int, rng: random.Random) -> tuple[list[str], tuple[str, ...]]:
    """So many names of a kind, and names that belong to nobody."""
    if count < len(ONSETS):
        onsets = rng.sample(ONSETS, len(ONSETS))
    else:
        pairs = ["".join(syllables) for syllables in product(ONSETS, ONSETS)]
        onsets = rng.sample(pairs, count + len(ONSETS))
    names = [onset + rng.choice(ENDINGS[kind]) for onset in onsets[:count]]
    return names, tuple(onset + ending for onset in onsets[count:] for ending in ENDINGS[kind])


def with_another_ending(name: str, kind: EntityKind, rng: random.Random) -> str:
    """A name of that kind that begins alike.

    >>> with_another_ending("Darius", EntityKind.PERSON, random.Random(1))
    'Darel'
    """
    ending = max((e for e in ENDINGS[kind] if name.endswith(e)), key=len)
    return name.removesuffix(ending) + rng.choice([e for e in ENDINGS[kind] if e != ending])
