"""What the agents of rules in `innersearch.world` do in the environments of ASearcher and Harness-1."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from benchmarks.harness_states import lost
from transformers import PreTrainedTokenizerFast

from innersearch.assemble.pages import tools_of
from innersearch.config import Recipe, RolloutSettings, SearchSettings
from innersearch.grammar import ASEARCHER, HARNESS, Grammar
from innersearch.policy.base import Request
from innersearch.policy.loading import load_tokenizer
from innersearch.prompts import encode
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.rollout.journal import Journal
from innersearch.rollout.run import Rollout
from innersearch.testing import ScriptedPolicy
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Sampling, Trajectory
from innersearch.world.bundled import BUNDLED
from innersearch.world.engine import world_engine
from innersearch.world.follower import follower
from innersearch.world.gatherer import gatherer

WINDOW, ROOM, REPLY, TURNS = 512, 392, 112, 40
"""Tokens of a window, of its prompt and of a reply, and turns."""
SHORT = 12
"""Turns of trajectories that are killed."""
STATES, KILLS = int(os.environ.get("STATES", "10000")), int(os.environ.get("KILLS", "100"))

Replies = Callable[[Request], str]


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """That of the bundled model."""
    return load_tokenizer(str(BUNDLED))


def rolled(
    replies: Replies,
    questions: Sequence[Question],
    grammar: Grammar,
    settings: RolloutSettings,
    search: SearchSettings,
    *,
    window: int,
    tokens: int,
    reward: str,
    journal: Journal | None = None,
) -> list[Trajectory]:
    """Trajectories of an agent of rules."""
    engine = world_engine()
    rollout = Rollout(
        ScriptedPolicy(tokenizer(), replies, context=window),
        tokenizer(),
        Sampling(1.0, tokens),
        Rubric.read(reward, grammar).score,
        search=SearchTool(engine, search.rule, search),
        tools=tools_of(settings, search, engine),
        settings=settings,
        journal=journal,
    )
    tasks = [
        Task(q, encode(tokenizer(), "world", q.question), q.id, message=q.question) for q in questions
    ]
    with rollout:
        return rollout.run(tasks)


def followed(recipe: Recipe, questions: Sequence[Question]) -> list[Trajectory]:
    """Lines of teachers, followed in the environment of a recipe, in a window of 4,096 tokens."""
    settings = recipe.rollout.model_copy(update={"max_turns": 0})
    replies = follower(tokenizer())
    given = {"window": 4096, "tokens": 3000, "reward": "em"}
    return rolled(replies, questions, ASEARCHER, settings, recipe.search, **given)


def replies(trajectory: Trajectory) -> int:
    """How often the policy wrote."""
    return max(call.turn for call in trajectory.calls) + 1


def gathered(
    questions: Sequence[Question],
    context: str = "render:5",
    turns: int = TURNS,
    replies: Replies | None = None,
    journal: Journal | None = None,
) -> list[Trajectory]:
    """The people of companies, gathered in a small window."""
    settings = RolloutSettings(
        grammar="harness", context=context, budget=ROOM, max_turns=turns, max_tokens_per_turn=REPLY
    )
    search = SearchSettings(router="always", engine="world", k=3, style="named", max_searches=1000)
    return rolled(
        replies or gatherer(tokenizer()),
        questions,
        HARNESS,
        settings,
        search,
        window=WINDOW,
        tokens=turns * REPLY,
        reward="set_recall + set_precision",
        journal=journal,
    )


def resumes(questions: Sequence[Question], kills: int = KILLS) -> tuple[int, int]:
    """How many trajectories, killed after some turn, end with the same set; and how many there were."""
    whole = {q.id: t.chosen for q, t in zip(questions, gathered(questions, turns=SHORT), strict=True)}
    same = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(kills):
            question = questions[number % len(questions)]
            path = Path(folder) / f"{number}.jsonl"
            _killed(question, path, after=1 + number // len(questions) % (SHORT - 1))
            [found] = gathered([question], turns=SHORT, journal=Journal(path))
            same += found.chosen == whole[question.id]
    return same, kills


def _killed(question: Question, path: Path, after: int) -> None:
    """Roll out in another process, which kills itself in the turn after so many."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"the process ended with {status} and was not killed")
        return
    agent, asked = gatherer(tokenizer()), 0

    def dies(request: Request) -> str:
        nonlocal asked
        if asked == after:
            os.kill(os.getpid(), signal.SIGKILL)
        asked += 1
        return agent(request)

    gathered([question], turns=SHORT, replies=dies, journal=Journal(path))
    os._exit(0)


def states(count: int = STATES) -> tuple[int, int]:
    """Random states, and how many of their prompts are too long or lack something."""
    rng = random.Random(1)
    return count, sum(bool(lost(tokenizer(), rng)) for _ in range(count))
