"""Collects pairs for simulators: a policy searches a real engine, and its queries are looked up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innersearch import prompts
from innersearch.errors import ConfigError
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.simulator.pairs import Pair, label
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Sampling, Trajectory

_PART = 256
"""Trajectories between two writes to disk."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What is collected of every question."""

    pages: int = 8
    """Pages per query, the one that the policy reads included."""
    samples: int = 2
    """Trajectories per question, at temperature 1."""
    max_new_tokens: int = 3000
    seed: int = 0


def collect(
    model: str,
    prompt: str,
    search: SearchTool,
    questions: Sequence[Question],
    collection: Collection,
    write: Callable[[list[Pair]], None],
    progress: Callable[[int], None],
) -> None:
    """Roll questions out with real search, and write every different query with its pages, labelled by
    rule.

    Args:
        model: Model directory or hub id of the policy.
        prompt: Name of its prompt.
        search: The engine, and documents per page.
        questions: The questions.
        collection: How much.
        write: Called with the pairs of some questions at a time.
        progress: Called with the number of questions that are done.
    """
    tokenizer, policy_model = load_tokenizer(model), load_model(model)
    policy = TransformersPolicy.of(policy_model, tokenizer)
    sampling = Sampling(1.0, collection.max_new_tokens, collection.seed)
    size = max(1, _PART // collection.samples)
    with Rollout(policy, tokenizer, sampling, search=search) as rollout:
        for start in range(0, len(questions), size):
            part = questions[start : start + size]
            tasks = [
                Task(q, prompts.encode(tokenizer, prompt, q.question), q.id, repetition)
                for q in part
                for repetition in range(collection.samples)
            ]
            found = rollout.wait(_look_up(rollout.run(tasks), search, collection.pages))
            write(list(label(found)))
            progress(start + len(part))


async def _look_up(trajectories: Sequence[Trajectory], search: SearchTool, pages: int) -> list[Pair]:
    asked = {
        (trajectory.question.id, call.input): trajectory.question
        for trajectory in trajectories
        for call in trajectory.calls
        if call.documents
    }
    k = search.settings.k
    if search.engine is None:
        raise ConfigError("pairs are collected with an engine: give one, and the router always")
    results = await search.engine.search([query for _, query in asked], k * pages)
    return [
        Pair(question, query, result.documents[page * k : (page + 1) * k], page)
        for ((_, query), question), result in zip(asked.items(), results, strict=True)
        for page in range(len(result.documents) // k)
    ]
