"""The pre-training corpus: encyclopedia text, direct answers, and demonstrations.

Demonstrations are about training heads and about fictional names, so that copying a name is learned
apart from the few names of the training split. Validation and test entities occur in encyclopedia
text only.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from innersearch.random_draws import number as number_of
from innersearch.types import Question
from innersearch.world.demonstrations import WRONG, Demonstrator, Memory, Recalled, Text
from innersearch.world.encyclopedia import Encyclopedia, Fact, Split
from innersearch.world.names import with_another_ending
from innersearch.world.questions import Chain, chains
from innersearch.world.relations import RELATIONS, EntityKind, Wording, has_held_out, held_out_pairs
from innersearch.world.wordings import phrase


@dataclass(frozen=True, slots=True)
class CorpusPlan:
    """How much of what the corpus holds, over all epochs."""

    epochs: int = 12
    demonstrations: int = 3000
    """Per epoch."""
    direct_answers: int = 700
    """Per epoch."""
    fictional: float = 0.4
    """Share of demonstrations about fictional names."""
    depths: tuple[float, float, float] = (0.4, 0.4, 0.2)
    """Shares of questions of depth 1, 2 and 3 among them."""


SEARCH_PROMPT = "Question: {question}\n"
DIRECT_PROMPT = "Question: {question} Answer directly.\n"


@dataclass
class _Known:
    """The training split as a noisy memory, the known better than the obscure."""

    world: Encyclopedia
    rng: random.Random
    names: dict[EntityKind, list[str]] = field(init=False)
    weights: dict[EntityKind, list[float]] = field(init=False)
    fictional = False

    def __post_init__(self) -> None:
        members = {kind: self.world.members(Split.TRAIN, kind) for kind in EntityKind}
        self.names = {kind: [e.name for e in found] for kind, found in members.items()}
        self.weights = {kind: [e.popularity + 5 for e in found] for kind, found in members.items()}

    def recall(self, head: str, relation: str) -> Recalled:
        fact = self.world.about[head, relation]
        wrong = self.rng.random() < WRONG
        tail = self.guess(RELATIONS[relation].tail) if wrong else fact.remembered
        return Recalled(Fact(head, relation, tail), made_up=wrong or fact.mentions == 0)

    def guess(self, kind: EntityKind) -> str:
        return self.rng.choices(self.names[kind], self.weights[kind])[0]

    def kind_of(self, name: str) -> EntityKind:
        return self.world.by_name[name].kind


@dataclass
class _Fiction:
    """Facts about names that belong to nobody, made up at first sight."""

    world: Encyclopedia
    rng: random.Random
    facts: dict[tuple[str, str], Fact] = field(default_factory=dict)
    kinds: dict[str, EntityKind] = field(default_factory=dict)
    real: dict[EntityKind, list[str]] = field(init=False)
    fictional = True

    def __post_init__(self) -> None:
        self.real = {
            kind: [e.name for e in self.world.entities if e.kind is kind] for kind in EntityKind
        }

    def recall(self, head: str, relation: str) -> Recalled:
        if (head, relation) not in self.facts:
            tail = self.guess(RELATIONS[relation].tail)
            self.facts[head, relation] = Fact(head, relation, tail)
        return Recalled(self.facts[head, relation], made_up=True)

    def guess(self, kind: EntityKind) -> str:
        """A name of nobody, as often as not one that begins as a real one does.

        A real beginning has one ending in all that is read of it. Where others stand in context, the
        second half of a name has to be copied as well, as that of a name of which nothing was read.
        """
        name = self.rng.choice(self.world.fictional[kind])
        if self.rng.random() < 0.5:
            alike = with_another_ending(self.rng.choice(self.real[kind]), kind, self.rng)
            name = name if alike in self.world.by_name else alike
        self.kinds[name] = kind
        return name

    def kind_of(self, name: str) -> EntityKind:
        return self.kinds[name]


@dataclass
class _Exercises:
    """Questions with demonstrations or direct answers, about known and fictional entities."""

    world: Encyclopedia
    plan: CorpusPlan
    rng: random.Random

    def __post_init__(self) -> None:
        self.known = _Known(self.world, self.rng)
        self.held_out = held_out_pairs(self.world.seed)
        self.chains = [
            [chain for chain in chains(depth) if not has_held_out(chain, self.world.seed)]
            for depth in (1, 2, 3)
        ]

    def demonstration(self) -> Text:
        """A question and a trajectory."""
        fictional = self.rng.random() < self.plan.fictional
        memory = _Fiction(self.world, self.rng) if fictional else self.known
        head, relations, question = self._ask(memory)
        text, made_up = Demonstrator(memory, self.held_out, self.rng).write(head, relations)
        prompt = SEARCH_PROMPT.format(question=question)
        return Text(prompt + text, tuple((len(prompt) + a, len(prompt) + b) for a, b in made_up))

    def direct_answer(self) -> Text:
        """A question and an answer without a search."""
        head, relations, question = self._ask(self.known)
        text, made_up = Demonstrator(self.known, self.held_out, self.rng).guess(head, relations)
        prompt = f"{DIRECT_PROMPT.format(question=question)} "
        return Text(prompt + text, tuple((len(prompt) + a, len(prompt) + b) for a, b in made_up))

    def _ask(self, memory: Memory) -> tuple[str, Chain, str]:
        options = self.rng.choices(self.chains, self.plan.depths)[0]
        weights = [len(self.known.names[RELATIONS[chain[0]].head]) for chain in options]
        relations = self.rng.choices(options, weights)[0]
        head = memory.guess(RELATIONS[relations[0]].head)
        return head, relations, phrase(relations, head, Wording.SEEN, self.rng)


def corpus(world: Encyclopedia, plan: CorpusPlan, epoch: int) -> list[Text]:
    """The documents of one epoch, shuffled; a function of the world's seed, the plan and the epoch."""
    rng = random.Random(f"corpus-2-{world.seed}-{epoch}")
    exercises = _Exercises(world, plan, rng)
    documents = [Text(page) for page in _pages(world, plan, epoch, rng)]
    documents += [exercises.demonstration() for _ in range(plan.demonstrations)]
    documents += [exercises.direct_answer() for _ in range(plan.direct_answers)]
    rng.shuffle(documents)
    return documents


def demonstrations(world: Encyclopedia, epochs: Sequence[int] = range(4)) -> list[Question]:
    """Demonstrations as questions that have the response in their metadata, to be learnt again.

    Those without a search are left out: their answers were not learnt in pre-training either.
    """
    plan, found = CorpusPlan(), []
    for epoch in epochs:
        for number, document in enumerate(corpus(world, plan, epoch)):
            prompt, _, response = document.text.partition("\n")
            if "<think>" not in response or "<search>" not in response:
                continue
            asked = prompt.removeprefix("Question: ")
            metadata = {"response": response, "group": "demonstration"}
            found.append(Question(f"demonstration-{epoch}-{number}", asked, (), metadata))
    return found


def _pages(world: Encyclopedia, plan: CorpusPlan, epoch: int, rng: random.Random) -> Iterator[str]:
    """Statements of each fact, its share of this epoch: alone, or with others about the same head."""
    about: dict[str, list[str]] = {}
    for fact in world.facts:
        for _ in range(mentions_in(fact, plan, epoch)):
            about.setdefault(fact.head, []).append(fact.state(rng.randrange(5)))
    for sentences in about.values():
        rng.shuffle(sentences)
        while sentences:
            taken = rng.choice((1, 1, 2, 4))
            yield " ".join(sentences[:taken])
            del sentences[:taken]


def mentions_in(fact: Fact, plan: CorpusPlan, epoch: int) -> int:
    """How many of a fact's statements an epoch holds; over all epochs they are `fact.mentions`."""
    turn = (epoch + number_of("epoch", fact.id)) % plan.epochs
    return fact.mentions // plan.epochs + (turn < fact.mentions % plan.epochs)


def digest(documents: Iterable[Text]) -> str:
    """SHA-256 of documents in order, for proving that two builds saw the same data."""
    sha = hashlib.sha256()
    for document in documents:
        sha.update(f"{document.text}\0{document.made_up}\n".encode())
    return sha.hexdigest()
