"""Deliberately imperfect trajectories, so that pre-training plants searching without mastering it.

A good trajectory searches once per hop and answers what it found. The others stop early, answer at
once, search for the wrong thing, search too often, or break the format. Two-hop questions are mostly
answered after one search, so that the greedy answer is wrong while sampling finds the right one now
and then: pass@1 is poor and pass@k high, which is where reinforcement learning starts.

Faults never touch what stands inside an information block: those tokens carry no loss in training,
so a habit planted there could not be unlearned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from innersearch.grammar import TAGS
from innersearch.types import Kind
from innersearch.world.encyclopedia import Fact
from innersearch.world.relations import RELATIONS, EntityKind

ONE_HOP_MIX = {"good": 0.67, "over": 0.06, "direct": 0.12, "malformed": 0.15}
TWO_HOP_MIX = {"good": 0.22, "short": 0.42, "direct": 0.10, "wrong": 0.10, "malformed": 0.16}


class Knowledge(Protocol):
    """Where a demonstration takes its facts and guesses from."""

    def look_up(self, head: str, relation: str) -> Fact:
        """The fact about `head`."""

    def guess(self, kind: EntityKind) -> str:
        """Some name of that kind."""


@dataclass(frozen=True)
class Demonstrator:
    """Writes trajectories over some knowledge, with randomness from `rng` only."""

    knowledge: Knowledge
    rng: random.Random

    def write(self, head: str, relations: Sequence[str]) -> str:
        """One trajectory for the question `relations` of `head`, good or faulty as its mix draws."""
        facts: list[Fact] = []
        for relation in relations:
            facts.append(self.knowledge.look_up(facts[-1].tail if facts else head, relation))
        mix = ONE_HOP_MIX if len(facts) == 1 else TWO_HOP_MIX
        style = self.rng.choices(list(mix), list(mix.values()))[0]
        writers: dict[str, Callable[[list[Fact]], str]] = {
            "good": self._good,
            "short": lambda facts: self._good(facts[:1]),
            "over": lambda facts: self._good([*facts, self._other_fact(facts[0].tail, facts[0])]),
            "wrong": lambda facts: self._good([self._other_fact(head, facts[0])]),
            "direct": self._direct,
            "malformed": self._malformed,
        }
        return writers[style](facts)

    def _good(self, facts: list[Fact]) -> str:
        """One search per fact, then the tail of the last."""
        hops = [self._hop(fact, previous) for fact, previous in zip(facts, [None, *facts], strict=False)]
        return "".join(hops) + self._conclude(facts[-1].tail)

    def _other_fact(self, head: str, fact: Fact) -> Fact:
        """A fact about `head`, of another relation than `fact` where there is a choice."""
        relation = RELATIONS[fact.relation]
        kind = relation.head if head == fact.head else relation.tail
        names = [name for name, other in RELATIONS.items() if other.head is kind]
        others = [name for name in names if name != fact.relation] or names
        return self.knowledge.look_up(head, self.rng.choice(others))

    def _direct(self, facts: list[Fact]) -> str:
        thought = self.rng.choice(("I know this one.", "I can answer without a search."))
        answer = self.knowledge.guess(RELATIONS[facts[-1].relation].tail)
        return TAGS.render(Kind.THINK, thought) + TAGS.render(Kind.ANSWER, answer)

    def _malformed(self, facts: list[Fact]) -> str:
        good = self._good(facts if self.rng.random() < 0.4 else facts[:1])
        fault = self.rng.choice(("untagged answer", "unclosed think", "free text", "early answer"))
        if fault == "untagged answer":
            return good.replace("<answer>", "").replace("</answer>", "")
        if fault == "unclosed think":
            return good.replace("</think><search>", "<search>")
        if fault == "free text":
            return "Well." + good
        return good.replace(
            "</think><search>", f"</think>{TAGS.render(Kind.ANSWER, facts[0].tail)}<search>"
        )

    def _hop(self, fact: Fact, previous: Fact | None) -> str:
        relation = RELATIONS[fact.relation]
        thought = f"I need the {relation.noun} of {fact.head}."
        if previous is not None:
            found = f"The {RELATIONS[previous.relation].noun} is {previous.tail}."
            thought = f"{found} Now {thought}"
        query = self.rng.choice(relation.queries).format(x=fact.head)
        information = fact.state(self.rng.randrange(len(relation.statements)))
        return (
            TAGS.render(Kind.THINK, thought)
            + TAGS.render(Kind.SEARCH, query)
            + TAGS.render(Kind.INFORMATION, information)
        )

    def _conclude(self, answer: str) -> str:
        return TAGS.render(Kind.THINK, f"The answer is {answer}.") + TAGS.render(Kind.ANSWER, answer)
