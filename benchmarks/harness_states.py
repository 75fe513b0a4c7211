"""Random states of an agent that gathers documents, and what their prompts lack."""

from __future__ import annotations

import random
from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from innersearch.config.harness import HarnessSettings
from innersearch.grammar import HARNESS, MaskRule
from innersearch.memory import Answer, Memory, Verdict, curate, discover, verdict
from innersearch.rollout.context import History, Turn, render
from innersearch.rollout.segment import SegmentBuilder
from innersearch.tools.base import State
from innersearch.tools.harness import _Desk, note
from innersearch.types import Document
from innersearch.world.gatherer import call


def history(
    tokenizer: PreTrainedTokenizerFast, state: State, turns: Sequence[Turn], room: int
) -> History:
    return History(tokenizer, HARNESS, "Who rules Lim?", (1, 2), turns, state, room)


def turn(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Turn:
    """A call with a result as long as it may be."""
    builder = SegmentBuilder(tokenizer, (1, 2), MaskRule(), HARNESS)
    content = f"head{rng.randint(0, 99)} " + "word " * rng.choice([3, 40, 400, 4000])
    shown = builder.observation(content)
    shorter = lambda most: shown.around(builder.observation(content[:most]))  # noqa: E731
    return Turn(
        (), call("search", query="x " * rng.choice([1, 30])), shown.token_ids, shown.text, shorter
    )


def some_memory(rng: random.Random, settings: HarnessSettings) -> Memory:
    names = [f"n{n}" for n in range(rng.randint(1, 60))]
    memory = Memory()
    for start in range(0, len(names), 6):
        some = [
            Document(name, "Title", "Some text. " * rng.randint(1, 30))
            for name in names[start : start + 6]
        ]
        memory = discover(memory, "a query", some, settings)
    add = rng.sample(names, min(len(names), rng.randint(0, 30)))
    memory, _ = curate(memory, add, [], {name: rng.choice(["high", "low"]) for name in add}, settings)
    said = rng.sample(names, min(len(names), rng.randint(0, 12)))
    return verdict(
        memory, [Verdict(name, "it rules", rng.choice(list(Answer)), "since") for name in said]
    )


def lost(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> list[str]:
    """What a prompt of a random state lacks and must never lack, or how much too long it is."""
    settings = HarnessSettings(dedup=0, auto_seed=rng.choice([0, 8]))
    state, memory = State(), some_memory(rng, settings)
    note(state, _Desk(memory), settings)
    turns = [turn(tokenizer, rng) for _ in range(rng.randint(1, 9))]
    room = rng.choice([420, 600, 1200, 4000])
    made = render(recent=5).prompt(history(tokenizer, state, turns, room))
    if made is None or len(made.token_ids) > room:
        return [f"more than {room} tokens"]
    text = " ".join(tokenizer.decode(made.token_ids).split())
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").replace("(", " ").split()
    needed = [*memory.curated, *(one.document for one in memory.verdicts)]
    missing = [name for name in needed if name not in words]
    head = turns[-1].shown.split()[1]
    return missing + ([] if head in text else [head])
