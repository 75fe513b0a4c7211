"""What a stage learns without sampling it: trajectories of a file, or rows of question and response.

    {"question": "Who founded Coltek?", "response": "<think>…</think><answer>…</answer>"}
    {"question": "Who founded Coltek?", "replies": ["<search>…</search>", "<answer>…</answer>"]}

A row becomes the trajectory of a policy that wrote the response to the recipe's prompt, information
included, and then ended; or of one that wrote the replies, turn after turn, to which the engine and the
tools of the recipe answered, so that all that is around them is what reinforcement and evaluation show,
token for token. So it is masked, scored and kept as any other. Rows come from a file in any layout that
questions may have, with gold answers or without, or from a source such as `world:demonstrations`, whose
questions have the response or the replies in their metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from innersearch.assemble.sources import SOURCES
from innersearch.config import Recipe
from innersearch.errors import ConfigError, DataError
from innersearch.grammar import MaskRule, grammar_of, last_answer
from innersearch.policy.base import Completion, Request
from innersearch.policy.scripted import ScriptedPolicy, nth
from innersearch.prompts.templates import turn_end
from innersearch.readers import as_question
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.rollout.segment import SegmentBuilder
from innersearch.rows import read_rows
from innersearch.tools.search import SearchTool
from innersearch.train.tasks import encode_prompts, rollout_of
from innersearch.trajectories import as_trajectory, read_trajectories
from innersearch.types import Finish, Question, Sampling, StopReason, Trajectory

RESPONSE = "response"
"""Where the text of a response stands, in rows and in the metadata of questions."""
REPLIES = "replies"
"""Where the texts of several replies stand."""
_OTHER_NAMES = ("completion",)
_OF_TRAJECTORIES = "segments"


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A question and what somebody wrote in response."""

    question: Question
    response: str
    """Empty where there are replies."""
    place: str
    """Where it stands, for messages."""
    replies: tuple[str, ...] = ()


def demand_source(data: str) -> bool:
    """Refuse what no stage can learn from, as far as its beginning tells; whether an engine answers it.

    Raises:
        DataError: There is no such file or source, or its first row has no response.
    """
    return not is_file_of_trajectories(data) and bool(next(_demonstrations(data)).replies)


def is_file_of_trajectories(data: str) -> bool:
    """Whether data is a file of trajectories, and not one of rows, or a source of them.

    Raises:
        DataError: It is nothing of that.
    """
    if _source(data) is not None:
        return False
    path = Path(data)
    if not data or not path.exists():
        raise DataError(
            f"no file of trajectories at {data or path}, nor one of rows with a question and a "
            "response: give one as data, or let the stage sample"
        )
    first = next(read_rows(path), None)
    if first is None:
        raise DataError(f"{path} is empty: there is nothing to learn in it")
    return not isinstance(first.values, DataError) and _OF_TRAJECTORIES in first.values


def trajectories_of(path: Path) -> list[Trajectory]:
    """The trajectories in a file."""
    lines = read_trajectories(path)
    return [as_trajectory(record, path.parent, place) for record, place in lines]


Searches = Callable[[], SearchTool]
"""Opens what answers."""


def written(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    rubric: Rubric,
    search: Searches | None = None,
) -> list[Trajectory]:
    """The trajectories of rows of `recipe.data`, each as long as a model of `context` tokens takes.

    Args:
        recipe: How they are put, and who answers them.
        tokenizer: Of the model that learns them.
        context: Its tokens.
        rubric: What they are worth.
        search: Opens what answers replies; without it nobody does.

    Raises:
        DataError: A row has no response, or one that is too long.
        ConfigError: The grammar of the recipe reads chat turns, and a row has a single response.
        SearchError: Too many searches failed.
    """
    rows = list(_demonstrations(recipe.data))
    if any(row.replies for row in rows):
        return _answered(recipe, tokenizer, context, rubric, rows, search or SearchTool.itself)
    return _responded(recipe, tokenizer, context, rubric, rows)


def _answered(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    rubric: Rubric,
    rows: Sequence[Demonstration],
    search: Searches,
) -> list[Trajectory]:
    """Trajectories in which replies are answered as those of a policy are."""
    prompts = encode_prompts(tokenizer, recipe, [row.question for row in rows], context)
    texts = {str(number): row.replies or (row.response,) for number, row in enumerate(rows)}

    def reply(request: Request) -> str:
        return nth(texts[str(request.stream[0])], request)

    policy = ScriptedPolicy(tokenizer, reply, context=context, provides=frozenset({"tokens"}))
    tasks = [
        Task(row.question, ids, str(n)) for n, (row, ids) in enumerate(zip(rows, prompts, strict=True))
    ]
    with rollout_of(recipe, policy, tokenizer, search(), rubric) as rollout:
        found = rollout.run(tasks)
    for row, trajectory in zip(rows, found, strict=True):
        if trajectory.stop_reason not in (StopReason.EOS, StopReason.ANSWER):
            raise DataError(
                f"{row.place}: its replies end with {trajectory.stop_reason.value} and not with an "
                "answer: mend them, or raise the limits of the recipe"
            )
    # How long a search took is none of what is learnt.
    return [replace(t, calls=[replace(call, latency_s=0.0) for call in t.calls]) for t in found]


def _responded(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    rubric: Rubric,
    rows: Sequence[Demonstration],
) -> list[Trajectory]:
    """Trajectories of single responses."""
    grammar = grammar_of(recipe.rollout.grammar)
    if grammar.turns:
        raise ConfigError(
            f"the grammar {grammar.name} has results in turns of a chat, which a response is not cut "
            "into: give a file of trajectories, or rows of replies"
        )
    prompts = encode_prompts(tokenizer, recipe, [row.question for row in rows], context)
    builds = _Builds(recipe, tokenizer, turn_end(tokenizer) or tokenizer.eos_token_id, context)
    made = (
        builds.trajectory(n, row, ids) for n, (row, ids) in enumerate(zip(rows, prompts, strict=True))
    )
    scored = ((trajectory, *rubric.score(trajectory)) for trajectory in made)
    return [replace(one, reward=reward, components=parts) for one, reward, parts in scored]


@dataclass(frozen=True)
class _Builds:
    recipe: Recipe
    tokenizer: PreTrainedTokenizerFast
    end_id: int
    context: int

    def trajectory(self, number: int, row: Demonstration, prompt_ids: Sequence[int]) -> Trajectory:
        recipe, grammar = self.recipe, grammar_of(self.recipe.rollout.grammar)
        rule = MaskRule(information=recipe.mask.information, opening_tag=recipe.mask.opening_tag)
        builder = SegmentBuilder(self.tokenizer, prompt_ids, rule, grammar)
        builder.begin_reply()
        text = row.response.removeprefix(grammar.begins)
        ids = [*self.tokenizer.encode(text, add_special_tokens=False), self.end_id]
        builder.add_sampled(Completion(ids, [], [], Finish.EOS))
        if len(builder) > self.context:
            raise DataError(
                f"{row.place}: prompt and response have {len(builder)} tokens, and the model takes "
                f"{self.context}: leave the row out, or take a model with a longer context"
            )
        segment, calls = builder.build(Finish.EOS)
        return Trajectory(
            uid=f"{number}/0",
            group_id=str(number),
            repetition=0,
            question=row.question,
            segments=[segment],
            calls=calls,
            sampling=Sampling(recipe.sampling.temperature, len(ids), recipe.seed),
            stop_reason=StopReason.EOS,
            answer=last_answer(text, grammar),
            tokenizer_id=recipe.model,
        )


def _source(data: str) -> Any:
    prefix, colon, _ = data.partition(":")
    return SOURCES.find(prefix) if colon and not Path(data).exists() else None


def _demonstrations(data: str) -> Iterator[Demonstration]:
    source = _source(data)
    if source is not None:
        for question in source.read(data.partition(":")[2]):
            place = f"question {question.id!r} of {data}"
            yield _demonstration(question, question.metadata, place)
        return
    for place, number, row in read_rows(Path(data)):
        if isinstance(row, DataError):
            raise DataError(f"{place} {row}") from row
        question = as_question(row, place, number, labelled=False)
        yield _demonstration(question, row, place)


def _demonstration(question: Question, row: Mapping[str, Any], place: str) -> Demonstration:
    replies = row.get(REPLIES)
    if replies is None:
        return Demonstration(question, _response(row, place), place)
    if not isinstance(replies, list) or not replies or not all(isinstance(r, str) for r in replies):
        raise DataError(f"{place}: {REPLIES!r} is a list of texts, what is written turn after turn")
    return Demonstration(question, "", place, tuple(replies))


def _response(row: Any, place: str) -> str:
    for name in (RESPONSE, *_OTHER_NAMES):
        text = row.get(name)
        if isinstance(text, str) and text.strip():
            return text
    raise DataError(
        f"{place} has no text under {RESPONSE!r}: a stage without samples learns trajectories, or rows "
        f"of a question and a {RESPONSE}; to ask the questions instead, give it samples"
    )
