"""Questions in words: a frame or a verb around noun phrases."""

from __future__ import annotations

import random
from collections.abc import Sequence

from innersearch.world.relations import RELATIONS, EntityKind, Wording

_FRAMES = ("{is} {phrase}?", "Name {phrase}.", "Tell me {phrase}.")
_IS = {True: "Who is", False: "What is"}


def phrase(relations: tuple[str, ...], head: str, wording: Wording, rng: random.Random) -> str:
    """Ask for the end of a chain of relations from `head`, every relation in words of that kind."""
    subject = head
    for name in relations[:-1]:
        subject = _noun_phrase(name, subject, wording, rng, of_a_name=subject == head)
    last = RELATIONS[relations[-1]]
    of_a_name = len(relations) == 1
    forms = [
        frame.format(phrase=words, **{"is": _IS[last.tail is EntityKind.PERSON]})
        for frame in _FRAMES
        for words in last.phrases(wording, of_a_name=of_a_name)
    ]
    if wording is Wording.SEEN:
        forms.append(last.asks)
    return rng.choice(forms).format(x=subject)


def gathering(relations: Sequence[str], heads: Sequence[str], rng: random.Random) -> str:
    """Ask for one fact of each of several names, in the wordings of training."""
    phrases = [
        rng.choice(RELATIONS[relation].phrases(Wording.SEEN, of_a_name=True)).format(x=head)
        for relation, head in zip(relations, heads, strict=True)
    ]
    return f"Name {joined(phrases)}."


def joined(parts: Sequence[str]) -> str:
    """Parts as a sentence lists them.

    >>> joined(["A"]), joined(["A", "B", "C"])
    ('A', 'A, B and C')
    """
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _noun_phrase(
    name: str, subject: str, wording: Wording, rng: random.Random, *, of_a_name: bool
) -> str:
    return rng.choice(RELATIONS[name].phrases(wording, of_a_name=of_a_name)).format(x=subject)
