"""Questions in words: a frame or a verb around noun phrases."""

from __future__ import annotations

import random

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


def _noun_phrase(
    name: str, subject: str, wording: Wording, rng: random.Random, *, of_a_name: bool
) -> str:
    return rng.choice(RELATIONS[name].phrases(wording, of_a_name=of_a_name)).format(x=subject)
