"""What every trainer makes of a recipe: prompts, rewards, rollouts, and enough questions for a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Self

from innersearch import prompts
from innersearch.assemble.pages import tool_kinds_of, tools_of
from innersearch.config import Recipe
from innersearch.errors import DataError, ModelError
from innersearch.grammar import TAGS, MaskRule, grammar_of
from innersearch.grammar.control import demand_tags
from innersearch.grammar.turns import turns_of
from innersearch.policy.base import Policy, demand_room, too_long
from innersearch.policy.loading import configured_context
from innersearch.random_draws import draw
from innersearch.rewards import GroupMeasure, Measure, Rubric
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.tools.kinds import shown
from innersearch.tools.search import SearchTool, demand_one_query
from innersearch.train.order import steps
from innersearch.types import Question, Sampling, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


Measures = Mapping[str, Measure | GroupMeasure]
"""Measures of one's own, under the names by which a recipe calls them."""
NO_MEASURES: Measures = MappingProxyType({})


class Rollouts(Protocol):
    """What rolls out the tasks of a step; a context that closes what it opened."""

    policy: Policy

    def run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        """The trajectories of all tasks, in their order, each with its reward."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class MakeRollouts(Protocol):
    """Makes it for a recipe."""

    def __call__(
        self,
        recipe: Recipe,
        policy: Policy,
        tokenizer: PreTrainedTokenizerFast,
        search: SearchTool,
        rubric: Rubric | None = None,
    ) -> Rollouts:
        """What rolls out under a policy, with a search, and is scored by the rubric."""


WEIGHT_LIMIT = 2.0
"""Largest weight of a token where vLLM and the trainer round its log-probability differently, as in
truncated importance sampling (Yao et al. 2025)."""


def demand_a_full_step(recipe: Recipe, questions: Sequence[Question]) -> None:
    """Refuse questions that are fewer than a step takes.

    Raises:
        DataError: They are.
    """
    needed = recipe.trainer.prompts_per_step
    if len(questions) < needed:
        raise DataError(
            f"{len(questions)} questions cannot fill a step of trainer.prompts_per_step = {needed}: "
            "lower it (trainer.micro_batch must divide prompts_per_step × group_size) or give more"
        )


def demand_writing(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse a model that cannot write as a recipe says, or whose chat template cannot hold results.

    Raises:
        ModelError: Its tokenizer cannot write a tag, or its template changes earlier turns.
        ConfigError: The policy may answer several queries at once itself.
    """
    grammar = grammar_of(recipe.rollout.grammar)
    demand_one_query(recipe.search.rule, grammar)
    if grammar is not TAGS:
        demand_tags(tokenizer, recipe.model, grammar)
    if grammar.turns and recipe.rollout.context == "append":
        turns_of(tokenizer, grammar, shown_tools(recipe))


def demand_weights(model: str) -> None:
    """Refuse a model directory without weights.

    Raises:
        ModelError: It has none.
    """
    folder = Path(model)
    if folder.is_dir() and not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise ModelError(f"{model} holds no weights: it has neither .safetensors nor .bin files")


def encode_prompts(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, questions: Sequence[Question], context: int
) -> list[tuple[int, ...]]:
    """Prompt tokens of every question for a model with a context of so many tokens.

    Raises:
        DataError: A prompt is longer than the recipe allows, or leaves no room in the model's context.
    """
    grammar, tools = grammar_of(recipe.rollout.grammar), shown_tools(recipe)
    texts = [question.question for question in questions]
    if recipe.prompt.must_answer:
        _demand_short(tokenizer, recipe, questions, context)
    name, date = recipe.prompt.name, recipe.prompt.date
    encoded = prompts.encode_all(tokenizer, name, texts, grammar=grammar, tools=tools, date=date)
    by_id = {question.id: ids for question, ids in zip(questions, encoded, strict=True)}
    if long := too_long(by_id, recipe.prompt.max_tokens):
        more = f" ({len(long)} of {len(by_id)} are)" if len(long) > 1 else ""
        raise DataError(
            f"the prompt of question {long[0]!r} has {len(by_id[long[0]])} tokens, more than "
            f"prompt.max_tokens = {recipe.prompt.max_tokens}{more}: raise the limit, or leave such "
            "questions out with --prompt.skip-long"
        )
    demand_room(by_id, context, recipe.model)
    return encoded


MUST_ANSWER = "must_answer"
"""Where the metadata of a question say whether an answer was demanded; prompts that do end on it."""


def message_of(recipe: Recipe, question: Question, prompt: str = "") -> str:
    """The user message that asks a question: prompts that are made anew begin with it."""
    grammar = grammar_of(recipe.rollout.grammar)
    name, date = prompt or recipe.prompt.name, recipe.prompt.date
    return prompts.render(name, question.question, grammar, date=date)


def task_of(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    question: Question,
    prompt_ids: tuple[int, ...],
    *,
    row: int,
    step: int,
    repetition: int,
) -> Task:
    """A rollout of training.

    Where some groups must answer, which of them depends on the seed, the question and the step; it
    stands in the metadata of the question.

    Args:
        recipe: Of the run.
        tokenizer: Of the policy.
        question: Row `row` of the questions.
        prompt_ids: Its prompt where no answer is demanded.
        row: Its number.
        step: The step of training, from 1 on.
        repetition: Which of its group.
    """
    name, share = recipe.prompt.name, recipe.prompt.must_answer
    if share:
        must = draw(recipe.seed, MUST_ANSWER, question.id, step) < share
        question = replace(question, metadata=question.metadata | {MUST_ANSWER: must})
        if must:
            name = demanding(recipe)
            grammar, tools = grammar_of(recipe.rollout.grammar), shown_tools(recipe)
            prompt_ids = prompts.encode(tokenizer, name, question.question, grammar=grammar, tools=tools)
    message = message_of(recipe, question, name)
    system = prompts.system(name, date=recipe.prompt.date)
    return Task(question, prompt_ids, f"{step}/{row}", repetition, step, message, system)


def tasks_of_groups(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    prompts: Sequence[tuple[int, ...]],
) -> Callable[[int], list[Task]]:
    """The tasks of each group of a training, by its number in the order of questions, from 0 on.

    Those of the first `prompts_per_step` groups are those of the first step, and so on.
    """
    plan = recipe.trainer
    coming = steps(recipe.seed, len(questions), plan.prompts_per_step)
    known: list[list[int]] = []

    def tasks(number: int) -> list[Task]:
        before, place = divmod(number, plan.prompts_per_step)
        while len(known) <= before:
            known.append(next(coming))
        row = known[before][place]
        named = {"row": row, "step": before + 1}
        make = partial(task_of, recipe, tokenizer, questions[row], prompts[row], **named)
        return [make(repetition=repetition) for repetition in range(plan.group_size)]

    return tasks


def demanding(recipe: Recipe) -> str:
    """The name of the prompt that demands an answer."""
    return f"{recipe.prompt.name}-{MUST_ANSWER.replace('_', '-')}"


def _demand_short(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, questions: Sequence[Question], context: int
) -> None:
    """Check the prompts that demand an answer as the others are checked."""
    prompt = recipe.prompt.model_copy(update={"name": demanding(recipe), MUST_ANSWER: 0.0})
    encode_prompts(tokenizer, recipe.model_copy(update={"prompt": prompt}), questions, context)


def fitting(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, questions: Sequence[Question]
) -> list[Question]:
    """The questions without those that are too long, if the recipe leaves such questions out.

    Raises:
        DataError: None is left.
    """
    if not recipe.prompt.skip_long:
        return list(questions)
    limit = min(recipe.prompt.max_tokens, configured_context(recipe.model) - 1)
    encode = partial(prompts.encode, tokenizer, recipe.prompt.name, date=recipe.prompt.date)
    grammar, tools = grammar_of(recipe.rollout.grammar), shown_tools(recipe)
    kept = [q for q in questions if len(encode(q.question, grammar=grammar, tools=tools)) <= limit]
    if not kept:
        raise DataError(f"no prompt of {len(questions)} questions has at most {limit} tokens")
    return kept


def shown_tools(recipe: Recipe) -> list[dict[str, Any]]:
    """The schemas of the tools that a recipe's prompts show, where calls are turns of a chat.

    Raises:
        ConfigError: There is no tool of a name in it.
    """
    return shown(grammar_of(recipe.rollout.grammar), tool_kinds_of(recipe.rollout))


def rubric_of(recipe: Recipe, measures: Measures = NO_MEASURES) -> Rubric:
    """What trajectories of a recipe are worth.

    Raises:
        ConfigError: There is no measure of some name, neither given nor installed.
    """
    return Rubric.of(recipe.reward, grammar_of(recipe.rollout.grammar), measures)


def rollout_of(
    recipe: Recipe,
    policy: Policy,
    tokenizer: PreTrainedTokenizerFast,
    search: SearchTool,
    rubric: Rubric | None = None,
) -> Rollout:
    """The rollouts that a recipe asks for, scored by its rewards."""
    sampling = recipe.sampling
    return Rollout(
        policy,
        tokenizer,
        Sampling(sampling.temperature, sampling.max_new_tokens, recipe.seed),
        (rubric or rubric_of(recipe)).score,
        MaskRule(information=recipe.mask.information, opening_tag=recipe.mask.opening_tag),
        tokenizer_id=recipe.model,
        search=search,
        tools=tools_of(recipe.rollout, recipe.search, search.engine),
        settings=recipe.rollout,
        in_flight=2 * sampling.max_batch,
    )
