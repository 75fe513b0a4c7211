"""World 1 after its memory was made: an engine and questions that know of changes the weights do not.

Half of the employers, mayors and home cities of companies are others by now, and one in fifty of all
other facts. Files of questions and a BM25 index of the new encyclopedia go into a directory; questions
have the new gold answers, and in their metadata `changed` (whether a fact of theirs is new), `cluster`
(the changed fact, else the head), `frequency` and `mentions` (about how often pre-training states the
least known of their facts).

    python benchmarks/changed_world.py runs/changed-world
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from innersearch.random_draws import draw, number
from innersearch.search.index.bm25 import BM25Engine, BM25Parameters
from innersearch.types import Question
from innersearch.world_1.encyclopedia import Encyclopedia, Fact, Split, Tier
from innersearch.world_1.questions import questions
from innersearch.world_1.relations import RELATIONS

VOLATILE = {"works_for": 0.5, "mayor": 0.5, "based_in": 0.5}
STABLE = 0.02
"""Share of the facts of each relation that change."""
MENTIONS = {Tier.COMMON: 176, Tier.RARE: 4, Tier.UNSEEN: 0}
FREQUENCY = {Tier.COMMON: "often", Tier.RARE: "seldom", Tier.UNSEEN: "never"}


def changed_world(old: Encyclopedia) -> tuple[Encyclopedia, set[str]]:
    """The world after the changes, and the ids of the facts that are new."""
    facts, new = [], set()
    for fact in old.facts:
        if draw("changes", fact.id) < VOLATILE.get(fact.relation, STABLE) and (
            tail := _other(old, fact)
        ):
            facts.append(replace(fact, tail=tail))
            new.add(fact.id)
        else:
            facts.append(fact)
    return replace(old, facts=tuple(facts)), new


def _other(world: Encyclopedia, fact: Fact) -> str:
    """Another tail, one that pre-training knows well; empty if there is none."""
    split = world.by_name[fact.head].split
    names = [
        entity.name
        for entity in world.entities
        if entity.kind is RELATIONS[fact.relation].tail
        and (entity.split, entity.tier) == (split, Tier.COMMON)
        and entity.name not in (fact.head, fact.tail)
    ]
    return names[number("tail", fact.id) % len(names)] if names else ""


def row(question: Question, new: set[str]) -> dict[str, Any]:
    """A question as a line of a file."""
    known = question.metadata
    changes = [fact for fact in known["documents"] if fact in new]
    tier = Tier(known["tier"])
    return {
        "id": question.id,
        "question": question.question,
        "golden_answers": list(question.golden_answers),
        "metadata": known
        | {
            "changed": bool(changes),
            "cluster": changes[0] if changes else known["chain"][0],
            "mentions": MENTIONS[tier],
            "frequency": FREQUENCY[tier],
        },
    }


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    world, new = changed_world(Encyclopedia.generate(0))
    for split in Split:
        rows = [row(question, new) for question in questions(world, split)]
        lines = "".join(json.dumps(found) + "\n" for found in rows)
        (output / f"{split.value}.jsonl").write_text(lines)
        print(
            split.value, len(rows), "questions,", sum(r["metadata"]["changed"] for r in rows), "changed"
        )
    BM25Engine.build(world.documents(), output / "index", BM25Parameters(spelling=True))


if __name__ == "__main__":
    main()
