"""Trajectories that show how searching is written and nothing of when or for what.

Whoever writes them draws the number of searches without a look at the question; thinks at length or
briefly, whatever the question; asks for any relation that the question names and that fits what it
asks about, in any order; and answers with what was found last. At length it keeps an account of what the
question names and it has not asked for, and draws no conclusion from it: as often as not it stops where
something is lacking and goes on where nothing is. Memory is noisy: a tenth of what it writes is wrong.
What a question needs (as many searches as it is deep, in the order of its phrases) is therefore in some
of them by chance, and in none by design: that is left to reinforcement.

Names that are made up or wrong carry no loss where they are first written: with it, the model learns to
make facts up for every name that it has not seen in a trajectory. Nor do answers without a search,
which are guesses: with it, the answers about training heads are learnt by heart, and reinforcement
finds nothing better.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from innersearch.grammar import TAGS
from innersearch.types import Kind
from innersearch.world.encyclopedia import Fact
from innersearch.world.relations import RELATIONS, TAIL_LAST, EntityKind, Pair

SEARCHES = (0.15, 0.35, 0.2, 0.3)
"""The chances of 0, 1, 2 and 3 searches. The chance to stop is the same after one and after two, so that
no constant turns the model into one that stops after two."""
MALFORMED = 0.1
"""Share of trajectories whose form is broken."""
WRONG = 0.1
"""Share of what memory writes that is wrong."""
LATEST = 0.75
"""The chance that a search is about what was found last rather than about any name so far."""
FURTHER, FURTHER_FOREIGN = 0.2, 0.6
"""The chances that information says more about its subject than was asked: of memory's, of others'."""
FOREIGN = 0.6
"""Share of information about made-up names that somebody else writes: in forms of its own, often saying
more, all of it without loss. It teaches reading and nothing of what stands there."""
FOREIGN_KNOWN = 0.25
"""The same about what memory knows; there somebody else says otherwise, and is believed."""
HEADED = 0.4
"""The chance that somebody else puts a heading first."""
ASIDE = 0.4
"""The chance that somebody else also says what nobody asked for."""
FOREIGN_FORMS = (
    "{N}: {y}.",
    "The {n} that {x} had was {y}.",
    "{x} found a {n} in {y}.",
    "{y} was named {n} of {x}.",
    "With {y} as {n} did {x} do well.",
    "{N} and more was {y} to {x}.",
    "It is said that {y} is {n} of {x}.",
    "{x} has {y}, the {n} of old.",
    "{y}, so they say, is what {x} calls a {n}.",
    "Ask {x} about a {n} and hear of {y}.",
    "For {x} the {n} came to be {y}.",
    "There was a {n} named {y} when {x} began.",
    "No {n} but {y} would do for {x}.",
    "{x} owes much to {y}, a {n} for life.",
)
"""How somebody else puts a fact: `{n}` a noun of the relation, `{N}` the same at the beginning. Neither
memory nor the pages of the encyclopedia say it so."""
ASIDES = (
    "{x} is not {z}.",
    "Of {z} there is more to say.",
    "As {z} does, {x} keeps to the old ways.",
    "{z} is in the news.",
)
"""What somebody else says beside it; `{z}` is any name."""


class Text(NamedTuple):
    """One document of the corpus."""

    text: str
    made_up: tuple[tuple[int, int], ...] = ()
    """Characters that carry no loss."""


class Memory(Protocol):
    """Where a demonstration takes its facts and guesses from."""

    def recall(self, head: str, relation: str) -> Recalled:
        """What memory says about `head`."""

    def guess(self, kind: EntityKind) -> str:
        """Some name of that kind."""

    def kind_of(self, name: str) -> EntityKind:
        """What is named so."""

    @property
    def fictional(self) -> bool:
        """Whether nothing of it is true."""


class Recalled(NamedTuple):
    """A fact as memory has it."""

    fact: Fact
    made_up: bool


@dataclass
class _Draft:
    """A trajectory that is being written."""

    text: str = ""
    made_up: list[tuple[int, int]] = field(default_factory=list)
    found: list[Fact] = field(default_factory=list)
    """What each search was about."""
    led: dict[str, set[str]] = field(default_factory=dict)
    """By which relations each name was reached, also those that were not asked for."""
    words: dict[str, str] = field(default_factory=dict)
    """The noun of each relation, the same throughout a trajectory."""
    lacking: list[str] = field(default_factory=list)
    """The relations that the question names and that were not asked for yet, in its order."""

    def write(self, kind: Kind, content: str, hidden: Sequence[str] = ()) -> None:
        block = TAGS.render(kind, content)
        for name in hidden:
            start = block.find(name)
            while start >= 0:
                self.made_up.append((len(self.text) + start, len(self.text) + start + len(name)))
                start = block.find(name, start + 1)
        self.text += block


@dataclass(frozen=True)
class Demonstrator:
    """Writes trajectories over some memory, with randomness from `rng` only."""

    memory: Memory
    held_out: frozenset[Pair]
    rng: random.Random

    def write(self, head: str, relations: Sequence[str]) -> Text:
        """One trajectory for the question `relations` of `head`."""
        searches = self.rng.choices(range(len(SEARCHES)), SEARCHES)[0]
        at_length = self.rng.random() < 0.5
        draft = _Draft()
        # As the question names them: the last comes first.
        draft.lacking = list(reversed(relations))
        for _ in range(searches):
            self._search(draft, head, relations, at_length=at_length)
        answer = draft.found[-1].tail if draft.found else self.guess(head, relations).text
        self._conclude(draft, answer, [] if draft.found else [answer], at_length=at_length)
        if self.rng.random() < MALFORMED:
            return self._malformed(draft)
        return Text(draft.text, tuple(draft.made_up))

    def guess(self, head: str, relations: Sequence[str]) -> Text:
        """An answer without a search: what memory says of one fact, and any name of the kind beyond."""
        if len(relations) == 1:
            recalled = self.memory.recall(head, relations[0])
            answer, made_up = recalled.fact.tail, recalled.made_up
        else:
            answer, made_up = self.memory.guess(RELATIONS[relations[-1]].tail), True
        return Text(answer, ((0, len(answer)),) if made_up else ())

    def _search(self, draft: _Draft, head: str, relations: Sequence[str], *, at_length: bool) -> None:
        reached = [head, *(fact.tail for fact in draft.found)]
        # About a name that was reached in several ways there may be nothing left to ask.
        names = [name for name in reached if self._fitting(name, draft)]
        if not names:
            return
        subject = names[-1] if self.rng.random() < LATEST else self.rng.choice(names)
        relation = self._relation(subject, relations, draft)
        query = f"{self._noun(relation, draft)} of {subject}"
        thought = f"{self._so_far(draft)} Now I ask for the {query}." if at_length else "Next."
        draft.write(Kind.THINK, thought)
        draft.write(Kind.SEARCH, query)
        draft.found.append(self._read(draft, subject, relation))
        if relation in draft.lacking:
            draft.lacking.remove(relation)

    def _read(self, draft: _Draft, subject: str, relation: str) -> Fact:
        """Write information, by memory or by somebody else; return what was asked for."""
        foreign = self.rng.random() < (FOREIGN if self.memory.fictional else FOREIGN_KNOWN)
        asked, *others = [
            self._otherwise(name, subject) if foreign else self.memory.recall(subject, name)
            for name in (relation, *self._further(subject, relation, draft, foreign=foreign))
        ]
        recalled = [asked, *others]
        self.rng.shuffle(recalled)
        if foreign:
            said = " ".join(self._foreign(one.fact) for one in recalled)
            if self.rng.random() < HEADED:
                said = f"{self.rng.choice(RELATIONS[relation].nouns).capitalize()}. {said}"
            draft.write(Kind.INFORMATION, said, [said])
        else:
            said = " ".join(one.fact.state(self.rng.randrange(TAIL_LAST)) for one in recalled)
            made_up = [one.fact.tail for one in recalled if one.made_up]
            draft.write(Kind.INFORMATION, said, made_up)
        for one in recalled:
            draft.led.setdefault(one.fact.tail, set()).add(one.fact.relation)
        return asked.fact

    def _otherwise(self, relation: str, subject: str) -> Recalled:
        """A fact that somebody else makes up."""
        if self.memory.fictional:
            return self.memory.recall(subject, relation)
        return Recalled(
            Fact(subject, relation, self.memory.guess(RELATIONS[relation].tail)), made_up=True
        )

    def _foreign(self, fact: Fact) -> str:
        """A fact in somebody else's words, now and then with an aside."""
        noun = self.rng.choice(RELATIONS[fact.relation].nouns)
        form = self.rng.choice(FOREIGN_FORMS)
        said = form.format(x=fact.head, y=fact.tail, n=noun, N=noun.capitalize())
        if self.rng.random() >= ASIDE:
            return said
        other = self.memory.guess(self.rng.choice(list(EntityKind)))
        aside = self.rng.choice(ASIDES).format(x=fact.head, z=other)
        return f"{aside} {said}" if self.rng.random() < 0.5 else f"{said} {aside}"

    def _noun(self, relation: str, draft: _Draft) -> str:
        if relation not in draft.words:
            draft.words[relation] = self.rng.choice(RELATIONS[relation].nouns)
        return draft.words[relation]

    def _relation(self, subject: str, relations: Sequence[str], draft: _Draft) -> str:
        """Any relation that the question names and that fits the subject, else any that fits."""
        fitting = self._fitting(subject, draft)
        named = [name for name in relations if name in fitting]
        return self.rng.choice(named or fitting)

    def _fitting(self, subject: str, draft: _Draft) -> list[str]:
        """The relations of what is named so, but for those that would make a held-out pair."""
        kind, led = self.memory.kind_of(subject), draft.led.get(subject, ())
        return [
            name
            for name, relation in RELATIONS.items()
            if relation.head is kind and not any((by, name) in self.held_out for by in led)
        ]

    def _further(self, subject: str, relation: str, draft: _Draft, *, foreign: bool) -> list[str]:
        """Sometimes one or two other relations of the same subject."""
        if self.rng.random() >= (FURTHER_FOREIGN if foreign else FURTHER):
            return []
        others = [name for name in self._fitting(subject, draft) if name != relation]
        return self.rng.sample(others, min(len(others), self.rng.choice((1, 2))))

    def _so_far(self, draft: _Draft) -> str:
        """What was found last, and what of the question was not: an account without a conclusion."""
        nouns = [f"the {self._noun(name, draft)}" for name in draft.lacking]
        account = f"I lack {' and '.join(nouns) or 'nothing'}."
        if not draft.found:
            return account
        last = draft.found[-1]
        return f"The {self._noun(last.relation, draft)} of {last.head} is {last.tail}. {account}"

    def _conclude(self, draft: _Draft, answer: str, hidden: Sequence[str], *, at_length: bool) -> None:
        thought = f"{self._so_far(draft)} So I answer {answer}." if at_length else "Done."
        draft.write(Kind.THINK, thought, hidden)
        draft.write(Kind.ANSWER, answer, hidden)

    def _malformed(self, draft: _Draft) -> Text:
        """The same with one fault; what follows a fault carries its loss where it stands now."""
        text = draft.text
        faults = [
            ("<answer>", ""),
            ("</think><search>", "<search>"),
            ("</think><answer>", "<answer>"),
            ("</search>", ""),
            ("<think>", "Well. <think>"),
        ]
        what, instead = self.rng.choice([fault for fault in faults if fault[0] in text])
        at = text.index(what)
        shift = len(instead) - len(what)
        made_up = tuple((a + shift, b + shift) if a > at else (a, b) for a, b in draft.made_up)
        return Text(text[:at] + instead + text[at + len(what) :], made_up)
