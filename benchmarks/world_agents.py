"""Agents that follow a script over the second world: they read what tools return and know nothing else.

An agent is told which facts a question is about, looks them up in the words of its protocol, and answers
with what it has read; of what it has not found it says so. What it reaches an environment allows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cache

from innersearch.assemble.plans import open_search
from innersearch.config import Recipe
from innersearch.grammar import grammar_of
from innersearch.policy.base import Request
from innersearch.policy.loading import load_tokenizer
from innersearch.policy.scripted import ScriptedPolicy
from innersearch.rollout.episode import Task
from innersearch.search.base import Engine
from innersearch.tools.search import SearchTool
from innersearch.train.start import resolved
from innersearch.train.tasks import encode_prompts, rollout_of
from innersearch.types import Question, Source, Trajectory
from innersearch.world.encyclopedia import Encyclopedia, Fact
from innersearch.world.further import joined
from innersearch.world.pages import ADDRESS
from innersearch.world.protocols import Speaker
from innersearch.world.relations import RELATIONS

UNKNOWN = "unknown"
"""Stands for what was not found."""

Reply = Callable[[Speaker, Sequence[Fact], str, int], str]
"""What is written: from who speaks, the facts that are asked for, of which the tails are not looked at,
the text so far, and how many replies came before."""


def read(head: str, relation: str, text: str) -> str:
    """What a text says of a fact, in the words of pages."""
    stated = re.escape(RELATIONS[relation].page).replace(r"\{x\}", head).replace(r"\{y\}", r"(\w+)")
    found = re.search(stated.replace(r"\ ", r"\s+"), text)
    return found[1] if found else UNKNOWN


def one_by_one(speaker: Speaker, facts: Sequence[Fact], text: str, turn: int) -> str:
    """Follow a chain, each search about what the one before has found."""
    head = facts[0].head
    for fact in facts[:turn]:
        head = read(head, fact.relation, text)
    if turn < len(facts) and head != UNKNOWN:
        noun = RELATIONS[facts[turn].relation].nouns[1]
        return speaker.call("Next.", "search", [f"{noun} of {head}"])
    return speaker.answer("Done.", head)


def at_once(most: int) -> Reply:
    """Look up independent facts, up to so many in one search."""

    def reply(speaker: Speaker, facts: Sequence[Fact], text: str, turn: int) -> str:
        asked = facts[turn * most : (turn + 1) * most]
        if asked:
            return speaker.call("Next.", "search", [query(fact) for fact in asked])
        return speaker.answer("Done.", joined([read(f.head, f.relation, text) for f in facts]))

    return reply


def query(fact: Fact) -> str:
    """What is looked up for a fact."""
    return f"{RELATIONS[fact.relation].nouns[1]} of {fact.head}"


def with_pages(opens: int) -> Reply:
    """Search for the page of a fact, open what was found up to so many times, and answer."""

    def reply(speaker: Speaker, facts: Sequence[Fact], text: str, turn: int) -> str:
        [fact] = facts
        if not turn:
            return speaker.call("Next.", "search", [query(fact)])
        answer = read(fact.head, fact.relation, text)
        seen = re.search(rf"{re.escape(ADDRESS)}{fact.head}\b", text)
        if answer == UNKNOWN and seen and turn <= opens:
            return speaker.call("Next.", "open", [seen[0]])
        return speaker.answer("Done.", answer)

    return reply


def again_and_again(times: int) -> Reply:
    """Open the page of a fact so many times, whatever it says, and answer."""

    def reply(speaker: Speaker, facts: Sequence[Fact], text: str, turn: int) -> str:
        [fact] = facts
        if not turn:
            return speaker.call("Next.", "search", [query(fact)])
        if turn <= times:
            return speaker.call("Next.", "open", [ADDRESS + fact.head])
        return speaker.answer("Done.", read(fact.head, fact.relation, text))

    return reply


def play(
    recipe: Recipe,
    reply: Reply,
    questions: Sequence[Question],
    around: Callable[[Engine], Engine] = lambda engine: engine,
) -> list[Trajectory]:
    """The trajectories of an agent in the environment of a recipe; `around` goes around its engine."""
    recipe = resolved(recipe)
    tokenizer, world = _tokenizer(recipe.model), Encyclopedia.generate()
    speaker = Speaker(grammar_of(recipe.rollout.grammar), world, random.Random(0))
    by_id = {question.id: [_fact(world, name) for name in _named(question)] for question in questions}
    prompts = encode_prompts(tokenizer, recipe, questions, tokenizer.model_max_length)
    lengths = dict(zip(by_id, map(len, prompts), strict=True))

    def write(request: Request) -> str:
        group, _, *turn = request.stream
        text = tokenizer.decode(list(request.prompt_ids[lengths[str(group)] :]))
        return reply(speaker, by_id[str(group)], text, int(turn[0]) if turn else 0)

    policy = ScriptedPolicy(tokenizer, write, context=tokenizer.model_max_length)
    tasks = [Task(question, ids, question.id) for question, ids in zip(questions, prompts, strict=True)]
    search = open_search(recipe.search)
    if search.engine is not None:
        search = SearchTool(around(search.engine), search.router, search.settings)
    with rollout_of(recipe, policy, tokenizer, search) as rollout:
        return rollout.run(tasks)


def rounds(trajectory: Trajectory) -> int:
    """Turns in which something was asked for."""
    return len({call.turn for call in trajectory.calls})


def waited_s(trajectory: Trajectory) -> float:
    """Seconds of waiting: what is asked for in one turn is asked for at once."""
    longest: dict[int, float] = {}
    for call in trajectory.calls:
        longest[call.turn] = max(longest.get(call.turn, 0.0), call.latency_s)
    return sum(longest.values())


def read_tokens(trajectory: Trajectory, tool: str = "open") -> int:
    """Tokens of what a tool returned, with all that is around it."""
    ids = {call.id for call in trajectory.calls if call.tool == tool}
    return sum(
        span.end - span.start
        for segment in trajectory.segments
        for span in segment.spans
        if span.call_id in ids and span.source is not Source.POLICY
    )


def page_tokens(trajectory: Trajectory) -> int:
    """Tokens of the text that was shown of pages."""
    tokenizer = _tokenizer(trajectory.tokenizer_id)
    texts = (d.text for call in trajectory.calls if call.tool == "open" for d in call.documents)
    return sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)


_tokenizer = cache(load_tokenizer)


def _named(question: Question) -> Sequence[str]:
    documents: Sequence[str] = question.metadata["documents"]
    return documents


def _fact(world: Encyclopedia, identity: str) -> Fact:
    head, _, relation = identity.rpartition(":")
    return world.about[head, relation]
