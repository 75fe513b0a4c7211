"""`innersearch play`: a person is the policy."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt

from innersearch.assemble.sources import load_questions
from innersearch.cli.console import stderr
from innersearch.cli.results import AsJson, show
from innersearch.errors import DataError
from innersearch.types import Kind, Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from innersearch.grammar import Grammar
    from innersearch.policy.base import Request
    from innersearch.types import Trajectory

app = App(name="play", help_format="plaintext")

KEYS = {"?": Kind.SEARCH, "=": Kind.ANSWER}
"""What a line begins with that is no thought."""


@app.default
def play(
    question: str = "",
    *,
    data: str = "world:test",
    engine: str = "world",
    k: Annotated[PositiveInt, Parameter(alias="-k")] = 1,
    grammar: str = "tags",
    reward: str = "0.9*em + 0.1*format:strict",
    gold: tuple[str, ...] = (),
    seed: int | None = None,
    output: Path | None = None,
    as_json: AsJson = False,
) -> None:
    r"""Be the policy: type thoughts, queries and an answer; an engine answers, and the reward is shown.

    A line is a thought; `? QUERY` searches; `= ANSWER` answers. A line that begins with a tag is taken
    as it is, so that also what no format allows can be tried. Needs no torch. Examples:

        innersearch play
        innersearch play --seed 3 --engine world-leads
        innersearch play "Who wrote Dune?" --gold "Frank Herbert" --engine bm25:runs/wiki -k 3
        printf '? teacher of Zerorn\n= Lintek\n' | innersearch play

    Args:
        question: The question to be answered; one of the data by default.
        data: Questions, one of which is drawn: a file, a fetched benchmark, or world:test.
        engine: Engine that is searched, as for search.
        k: Documents per search.
        grammar: How thoughts, queries and answers are written; see innersearch ls grammars.
        reward: What the trajectory is worth, in the words of a recipe.
        gold: Gold answer of a question of your own; several are possible.
        seed: Number that draws the question; another one each time by default.
        output: File that the trajectory is added to, as JSON lines.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.records import LineWriter
    from innersearch.trajectories import to_line

    asked = _asked(question, gold, data, seed)
    game = Game(asked, grammar)
    trajectory = game.played(engine, k, reward)
    if output is not None:
        LineWriter(output).write(to_line(trajectory))
    show(_result(trajectory), _verdict(trajectory), as_json=as_json)


def _asked(question: str, gold: tuple[str, ...], data: str, seed: int | None) -> Question:
    if question:
        return Question("play", question, gold)
    rows = load_questions(data)
    return random.Random(seed).choice(rows)


@dataclass
class Game:
    """One question, and what the person who answers it has seen of the trajectory."""

    question: Question
    grammar: str
    read: Callable[[], str] = field(default_factory=lambda: _read_line)
    _seen: int = 0

    def played(self, engine: str, k: int, reward: str) -> Trajectory:
        """The trajectory that comes of it."""
        from innersearch.assemble.agents import Agent
        from innersearch.grammar import grammar_of
        from innersearch.policy.plain import plain_tokenizer
        from innersearch.testing import ScriptedPolicy
        from innersearch.world.bundled import BUNDLED

        tokenizer, written = plain_tokenizer(BUNDLED), grammar_of(self.grammar)
        stderr.print(f"question  {self.question.question}")
        stderr.print("type a thought, ? QUERY or = ANSWER; Ctrl-D ends", style="dim")
        replies = ScriptedPolicy(tokenizer, lambda request: self._reply(tokenizer, written, request))
        agent = Agent(replies, tokenizer)
        rolled = agent.roll_out(
            self.question,
            engine=engine,
            grammar=written,
            reward=reward if self.question.golden_answers else None,
            prompt="world",
            max_new_tokens=2048,
            k=k,
            max_searches=20,
        )
        [trajectory] = rolled
        return trajectory

    def _reply(self, tokenizer: PreTrainedTokenizerFast, grammar: Grammar, request: Request) -> str:
        """What the person writes next, up to a query or an answer."""
        ids = request.prompt_ids
        if self._seen:
            stderr.print(str(tokenizer.decode(list(ids[self._seen :]))).strip(), style="green")
        text = "".join(_typed(self.read, grammar))
        self._seen = len(ids) + len(tokenizer.encode(text, add_special_tokens=False))
        return text


def _typed(read: Callable[[], str], grammar: Grammar) -> list[str]:
    """Blocks as they are typed; the last one asks for something, or the person wants to end."""
    blocks: list[str] = []
    while True:
        try:
            line = read().strip()
        except EOFError:
            return blocks
        block, ends = written(line, grammar)
        blocks.append(block)
        if ends:
            return blocks


def written(line: str, grammar: Grammar) -> tuple[str, bool]:
    """A line in the markup of a grammar, and whether something is to happen now.

    >>> from innersearch.grammar import TAGS
    >>> written("? capital of Peru", TAGS), written("hm", TAGS)
    (('<search>capital of Peru</search>', True), ('<think>hm</think>', False))
    """
    asking = {kind: grammar.tags[kind] for kind in grammar.reads}
    if any(line.startswith(tag.opens) for tag in grammar.tags.values()):
        return line, any(line.endswith(tag.closes) for tag in asking.values())
    kind = KEYS.get(line[:1], Kind.THINK)
    if kind is Kind.SEARCH and kind not in grammar.tags:
        raise DataError(f"the grammar {grammar.name} has no tag for a query: type its call as it is")
    text = line if kind is Kind.THINK else line[1:].strip()
    opens, closes = grammar.tags[kind]
    return f"{opens}{text}{closes}", kind in asking


def _read_line() -> str:
    if sys.stdin.isatty():
        return input("> ")
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _result(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "question": trajectory.question.question,
        "golden_answers": trajectory.question.golden_answers,
        "answer": trajectory.answer,
        "queries": [call.input for call in trajectory.calls],
        "reward": trajectory.reward,
        "components": trajectory.components,
        "stop_reason": trajectory.stop_reason,
    }


def _verdict(trajectory: Trajectory) -> str:
    parts = [f"answer    {trajectory.answer or 'none'}"]
    if trajectory.question.golden_answers:
        parts.append(f"gold      {', '.join(trajectory.question.golden_answers)}")
    if trajectory.reward is not None:
        shown = ", ".join(f"{name} {value:g}" for name, value in trajectory.components.items())
        parts.append(f"reward    {trajectory.reward:g}  ({shown})")
    return "\n".join([*parts, f"searches  {len(trajectory.calls)}"])
