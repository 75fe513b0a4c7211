"""Demonstrations in the protocols of other systems: what a policy writes; an engine answers it.

    world:demonstrations-r1-searcher     one in twenty searches, the others answer from memory
    world:demonstrations-rag-r1          two or three facts, looked up by one to three queries at once
    world:demonstrations-rag-r1-single   the same, one query a search
    world:demonstrations-deepresearcher  some search, few of them open what they found

They show how a protocol is written. How often they search, for what, how many queries stand together and
whether a page is opened is drawn without a look at what the question needs, so that what is best is left
to reinforcement. Answers are what was found, and where nothing was, what memory says or any name.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from innersearch.grammar import GRAMMARS, Grammar
from innersearch.types import Kind, Question
from innersearch.world.encyclopedia import Encyclopedia, Fact, Split
from innersearch.world.further import joined, pair_questions, triple_questions
from innersearch.world.pages import ADDRESS
from innersearch.world.questions import questions
from innersearch.world.relations import RELATIONS

REPLIES = "replies"
"""Where the metadata of a question hold what is written in reply, turn after turn."""
NUMBER = 4_000
"""Demonstrations of each protocol."""
SEARCHING = 0.05
"""Of R1-Searcher's, those that search."""
OPENING = 0.15
"""Of DeepResearcher's, those that open a page; as many more answer after a search alone."""
GOES_ON = 0.8
"""Of RAG-R1's, the chance that a fact which is left is still looked up."""
WRONG = 0.1
"""Share of what memory says that is wrong."""


@dataclass(frozen=True)
class Speaker:
    """Writes in a protocol about a world, with randomness from `rng` only."""

    grammar: Grammar
    world: Encyclopedia
    rng: random.Random

    def call(self, thought: str, tool: str, inputs: Sequence[str]) -> str:
        """A reply that asks for something."""
        if Kind.CALL in self.grammar.tags:
            argument = {"search": "query", "open": "url"}[tool]
            asked = json.dumps({"name": tool, "arguments": {argument: list(inputs)}})
            return self._thought(thought) + self.grammar.render(Kind.CALL, asked)
        searched = self.grammar.render(Kind.SEARCH, ", ".join(inputs))
        nests = Kind.SEARCH in self.grammar.nested
        return (thought if nests else self._thought(thought)) + searched

    def answer(self, thought: str, answer: str) -> str:
        """The last reply."""
        return self._thought(thought) + self.grammar.render(Kind.ANSWER, answer)

    def _thought(self, thought: str) -> str:
        """A thought that ends; the framework may have begun it."""
        opening, closing = self.grammar.tags[Kind.THINK]
        return f"{'' if self.grammar.begins == opening else opening}{thought}{closing}"

    def query(self, fact: Fact) -> str:
        """What is looked up for a fact."""
        return f"{self.rng.choice(RELATIONS[fact.relation].nouns)} of {fact.head}"

    def plan(self, found: Sequence[Fact], facts: Sequence[Fact]) -> str:
        """A thought before a call, brief or at length."""
        if self.rng.random() < 0.5:
            return "Next."
        return f"{self._so_far(found)} Now I ask for {joined([f'the {self.query(f)}' for f in facts])}."

    def conclusion(self, found: Sequence[Fact], answer: str) -> str:
        """A thought before the answer."""
        if self.rng.random() < 0.5:
            return "Done."
        return f"{self._so_far(found)} So I answer {answer}."

    def _so_far(self, found: Sequence[Fact]) -> str:
        if not found:
            return "I know nothing yet."
        last = found[-1]
        return f"The {self.rng.choice(RELATIONS[last.relation].nouns)} of {last.head} is {last.tail}."

    def memory(self, fact: Fact) -> str:
        """What memory says of a fact; any name of the kind where it was never stated."""
        if fact.mentions and self.rng.random() >= WRONG:
            return fact.remembered
        members = self.world.members(Split.TRAIN, RELATIONS[fact.relation].tail)
        return self.rng.choice(members).name


Writes = Callable[[Speaker, Sequence[Fact]], list[str]]
"""The replies to a question that needs some facts."""


def _in_one_thought(speaker: Speaker, facts: Sequence[Fact]) -> list[str]:
    """Searches inside the thought now and then; R1-Searcher."""
    rng, found, replies = speaker.rng, list[Fact](), list[str]()
    # One or two searches, whatever the question needs.
    for fact in facts[: rng.choice((1, 2))] if rng.random() < SEARCHING else ():
        replies.append(speaker.call(speaker.plan(found, [fact]), "search", [speaker.query(fact)]))
        found.append(fact)
    answer = found[-1].tail if found else speaker.memory(facts[-1])
    return [*replies, speaker.answer(speaker.conclusion(found, answer), answer)]


def _several_at_once(speaker: Speaker, facts: Sequence[Fact], most: int) -> list[str]:
    """Facts in any order, as many at once as is drawn, not always all of them; RAG-R1."""
    rng, found, replies = speaker.rng, list[Fact](), list[str]()
    left = rng.sample(facts, len(facts))
    while left and rng.random() < GOES_ON:
        asked = left[: rng.randint(1, most)]
        left = left[len(asked) :]
        queries = [speaker.query(fact) for fact in asked]
        replies.append(speaker.call(speaker.plan(found, asked), "search", queries))
        found += asked
    answer = joined([f.tail if f in found else speaker.memory(f) for f in facts])
    return [*replies, speaker.answer(speaker.conclusion(found, answer), answer)]


def _with_pages(speaker: Speaker, facts: Sequence[Fact]) -> list[str]:
    """A search in some, and few open what it found; DeepResearcher."""
    [fact], rng = facts, speaker.rng
    drawn, found, replies = rng.random(), list[Fact](), list[str]()
    if drawn < 2 * OPENING:
        replies.append(speaker.call(speaker.plan(found, facts), "search", [speaker.query(fact)]))
    if drawn < OPENING:
        replies.append(speaker.call("Next.", "open", [ADDRESS + fact.head]))
        found.append(fact)
    answer = fact.tail if found else speaker.memory(fact)
    return [*replies, speaker.answer(speaker.conclusion(found, answer), answer)]


def _chains(depth: int) -> Callable[[Encyclopedia], list[Question]]:
    def asked(world: Encyclopedia) -> list[Question]:
        return [q for q in questions(world, Split.TRAIN) if q.metadata["depth"] <= depth]

    return asked


def _gathered(world: Encyclopedia) -> list[Question]:
    return pair_questions(world, Split.TRAIN) + triple_questions(world, Split.TRAIN)


PROTOCOLS: dict[str, tuple[str, Callable[[Encyclopedia], list[Question]], Writes]] = {
    "r1-searcher": ("r1-searcher", _chains(2), _in_one_thought),
    "rag-r1": ("rag-r1", _gathered, lambda speaker, facts: _several_at_once(speaker, facts, 3)),
    "rag-r1-single": (
        *("rag-r1-single", _gathered),
        lambda speaker, facts: _several_at_once(speaker, facts, 1),
    ),
    "deepresearcher": ("deepresearcher-plain", _chains(1), _with_pages),
}
"""The grammar of each, what is asked, and who writes."""


def demonstrations(world: Encyclopedia, protocol: str) -> list[Question]:
    """Questions of the training split with the replies of a demonstration in their metadata."""
    name, asks, writes = PROTOCOLS[protocol]
    rng = random.Random(f"protocol-{protocol}-{world.seed}")
    speaker = Speaker(GRAMMARS[name], world, rng)
    found = []
    for number, question in enumerate(_drawn(asks(world), rng)):
        facts = [world.about[_fact(identity)] for identity in question.metadata["documents"]]
        identity = f"{question.id}/demonstration-{protocol}-{number}"
        metadata = {REPLIES: writes(speaker, facts), "group": "demonstration"}
        found.append(replace(question, id=identity, metadata=metadata))
    return found


def _drawn(asked: Sequence[Question], rng: random.Random) -> Iterator[Question]:
    return (rng.choice(asked) for _ in range(NUMBER))


def _fact(identity: str) -> tuple[str, str]:
    head, _, relation = identity.rpartition(":")
    return head, relation
