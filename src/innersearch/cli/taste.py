"""`innersearch demo --taste`: scripted agents over three engines of the world, measured in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from innersearch.assemble.agents import Agent
from innersearch.assemble.models import conventions_named
from innersearch.assemble.sources import load_questions
from innersearch.policy.base import Request
from innersearch.policy.plain import plain_tokenizer
from innersearch.progress import Progress
from innersearch.testing import ScriptedPolicy
from innersearch.types import Kind, Question
from innersearch.world.bundled import BUNDLED, NAME
from innersearch.world.questions import GROUPS
from innersearch.world.scripts import SCRIPTS, Script

ENGINES: dict[str, dict[str, Any]] = {
    "encyclopedia": {"engine": "world"},
    "half noise": {"engine": "world", "noise": {"curve": "constant", "end": 0.5}},
    "first lines": {"engine": "world-leads"},
}
"""What answers: the world's encyclopedia, the same with half of its results wrong on purpose, and an
index that holds the first line of each page only."""

PER_GROUP = 20


class Row(NamedTuple):
    """One evaluation: who asks, and what answers; nothing where nothing is asked."""

    name: str
    script: Script
    search: dict[str, Any] | None


def rows() -> list[Row]:
    """Every agent that searches with every engine, and the one that never does."""
    found = [
        Row(f"{agent}, {engine}", SCRIPTS[agent], search)
        for engine, search in ENGINES.items()
        for agent in ("careful", "hasty")
    ]
    return [*found, Row("silent", SCRIPTS["silent"], None)]


def taste(output: Path, progress: Progress) -> dict[str, Any]:
    """Evaluate them all into `output`/eval, and return their summaries by name."""
    from innersearch.public import evaluate_agent

    questions, found = _questions(), {}
    for number, row in enumerate(rows()):
        progress("agents", number, len(rows()))
        agent, search = scripted(row.script, questions), dict(row.search or {})
        engine = search.pop("engine", None)
        folder = output / "eval" / row.name.replace(", ", "-").replace(" ", "-")
        found[row.name] = evaluate_agent(
            agent, questions, folder, engine=engine, search=search, prompt="world"
        )
    progress("agents", len(rows()), len(rows()))
    return found


def _questions() -> list[Question]:
    """Some of each group of the test split, in both wordings."""
    asked = load_questions("world:test")
    return [
        question
        for group in GROUPS
        for question in _spread([q for q in asked if q.group == group], PER_GROUP)
    ]


def _spread(questions: Sequence[Question], number: int) -> Sequence[Question]:
    return questions[:: max(1, len(questions) // number)][:number]


def scripted(script: Script, questions: Sequence[Question]) -> Agent:
    """An agent that a script plays, in the tokens of the world's model."""
    tokenizer = plain_tokenizer(BUNDLED)
    by_id = {question.id: question for question in questions}

    def reply(request: Request) -> str:
        question = next(by_id[part] for part in request.stream if part in by_id)
        read = str(tokenizer.decode(list(request.prompt_ids)))
        return script(question, list(_found(read, request)))

    return Agent(ScriptedPolicy(tokenizer, reply, name="scripted"), tokenizer, conventions_named(NAME))


def _found(text: str, request: Request) -> Iterator[str]:
    """What each search so far returned."""
    from innersearch.grammar import scan

    for block in scan(text, request.grammar):
        if block.kind is Kind.INFORMATION:
            yield block.content(text)
