"""An agent: a policy, the tokenizer that it writes in, and what it expects where nothing is said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from innersearch import prompts
from innersearch.assemble.anywhere import streams_anywhere
from innersearch.assemble.engines import open_engine
from innersearch.assemble.given import demand_engine, demand_questions, settings
from innersearch.assemble.models import conventions_of, model_path, usual_length
from innersearch.assemble.pages import tools_of
from innersearch.assemble.policies import parse_policy
from innersearch.config import RolloutSettings, SamplingSettings, SearchSettings
from innersearch.config.conventions import USUAL, Conventions
from innersearch.errors import ConfigError
from innersearch.grammar import Grammar, grammar_of
from innersearch.policy.base import Policy
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.routing.router import Router, parse_router
from innersearch.search.base import Engine
from innersearch.tools.base import Tool
from innersearch.tools.kinds import shown
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Sampling, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Agent:
    """A policy that answers questions, with its tokenizer."""

    policy: Policy
    tokenizer: PreTrainedTokenizerFast
    conventions: Conventions = field(default=USUAL)
    """What its model expects."""

    @streams_anywhere
    def roll_out(
        self,
        questions: Iterable[Question | str] | Question | str,
        *,
        engine: Engine | str | None = None,
        router: Router | str = "",
        tools: Sequence[Tool | str] = (),
        grammar: Grammar | str = "tags",
        context: str = "append",
        rollout: Mapping[str, Any] = MappingProxyType({}),
        repetitions: int = 1,
        temperature: float = 1.0,
        max_new_tokens: int = 0,
        seed: int = 0,
        reward: Rubric | str | None = None,
        prompt: str = "",
        **search: Any,
    ) -> Iterator[Trajectory]:
        """Let it answer questions, and yield the trajectories in their order as they end.

        Args:
            questions: Questions, or their texts; or one alone.
            engine: Who answers its queries: an engine or the name of one; by default it does itself.
            router: Which queries the engine answers; all of them by default.
            tools: What else it can use: tools, or names that installed packages offer.
            grammar: How it writes.
            context: What it sees next; see `RolloutSettings`.
            rollout: Other values of `RolloutSettings`, such as `pages`.
            repetitions: Trajectories per question.
            temperature: 0 takes the most likely token.
            max_new_tokens: Longest trajectory without what is put in; what the prompt needs by default.
            seed: The same seed samples the same tokens.
            reward: What trajectories are worth, read by `grammar`; they have no reward without it.
            prompt: Name of the prompt text; what the model expects by default.
            search: Values of `SearchSettings`, such as `k`.

        Raises:
            ConfigError: Something has no such name or value.
            DataError: Two questions have the same id, or one leaves no room in the model's context.
            SearchError: Too many searches failed.
        """
        _demand_numbers(repetitions, temperature, max_new_tokens)
        tool, written = self.search(engine, router, **search), grammar_of(grammar)
        writes = _writes(grammar, context, rollout)
        others = tools_of(writes, tool.settings, tool.engine, tools)
        reward, text = _rubric(reward, written), self.prompt(prompt, tool)
        tasks = self._tasks(questions, text, written, shown(written, others), repetitions)
        rolling = Rollout(
            self.policy,
            self.tokenizer,
            Sampling(temperature, max_new_tokens or usual_length(text), seed),
            reward.score if reward else None,
            search=tool,
            tools=others,
            settings=writes,
            written_in=written,
        )
        with rolling:
            yield from _settled(rolling.stream(tasks), reward, repetitions)

    def _tasks(
        self,
        questions: Iterable[Question | str] | Question | str,
        prompt: str,
        grammar: Grammar,
        tools: Sequence[dict[str, Any]],
        repetitions: int,
    ) -> list[Task]:
        given = [questions] if isinstance(questions, str | Question) else list(questions)
        asked = [Question(str(i), q, ()) if isinstance(q, str) else q for i, q in enumerate(given)]
        asked = demand_questions(asked) if asked else []
        texts = [question.question for question in asked]
        encoded = prompts.encode_all(self.tokenizer, prompt, texts, grammar=grammar, tools=tools)
        messages = [prompts.render(prompt, text, grammar) for text in texts]
        told = prompts.system(prompt)
        return [
            Task(question, ids, question.id, repetition, message=message, system=told)
            for question, ids, message in zip(asked, encoded, messages, strict=True)
            for repetition in range(repetitions)
        ]

    def search(
        self, engine: Engine | str | None = None, router: Router | str = "", **given: Any
    ) -> SearchTool:
        """Who answers its queries; arguments as for `roll_out`."""
        text = str(router) or ("self" if engine is None else "always")
        rule = parse_router(text) if isinstance(router, str) else router
        chosen = {**self.conventions.search, **given, "router": text}
        chosen |= {"engine": engine} if isinstance(engine, str) else {}
        values = settings(SearchSettings, **chosen)
        if rule.asks and isinstance(engine, str):
            engine = open_engine(values)
        if engine is None or isinstance(engine, str):
            return SearchTool(None, rule, values)
        return SearchTool(demand_engine(engine), rule, values)

    def prompt(self, name: str, search: SearchTool) -> str:
        """The prompt text of a name; what the model expects where there is none."""
        return name or self.conventions.asks(real=search.router.every)


def _rubric(reward: Rubric | str | None, grammar: Grammar) -> Rubric | None:
    if isinstance(reward, str):
        return Rubric.read(reward, grammar)
    return reward.written_in(grammar) if reward else None


def _writes(grammar: Grammar | str, context: str, given: Mapping[str, Any]) -> RolloutSettings:
    named = {"grammar": grammar} if isinstance(grammar, str) else {}
    return settings(RolloutSettings, **{"context": context, **named, **given})


def _demand_numbers(repetitions: int, temperature: float, max_new_tokens: int) -> None:
    for name, value, least in (
        ("repetitions", repetitions, 1),
        ("temperature", temperature, 0),
        ("max_new_tokens", max_new_tokens, 0),
    ):
        kinds = (int, float) if name == "temperature" else (int,)
        if not isinstance(value, kinds) or not least <= value < math.inf:
            raise ConfigError(f"{name} is a number of at least {least}, given {value!r}")


def open_agent(
    model: str = "world",
    policy: str = "transformers",
    *,
    max_batch: int = 256,
    dtype: str = "float32",
    logit_bias: Mapping[str, float] | Sequence[str] | str = (),
) -> Agent:
    """The agent of a model.

    Args:
        model: A model directory or hub id; `world` is the bundled model.
        policy: Who runs it: transformers, vllm, http:URL,URL or chat:URL#NAME.
        max_batch: Sequences in flight at most.
        dtype: What a model in this process computes in: float32, bfloat16, float16, auto (bfloat16
            where this CPU is faster with it) or stored (as its weights are).
        logit_bias: Constants on the logits of single tokens, such as `{" answer": -0.8}`.

    Raises:
        ConfigError: There is no such policy, or a bias is none.
        ModelError: There is no such model.
        PolicyError: No server answers.
    """
    from innersearch.policy.loading import load_tokenizer

    path, chosen = model_path(model), parse_policy(policy)
    tokenizer = load_tokenizer(path)
    biases = settings(SamplingSettings, logit_bias=logit_bias).logit_bias
    opened = chosen.open(path, tokenizer, max_batch=max_batch, dtype=dtype, logit_bias=biases)
    return Agent(opened, tokenizer, conventions_of(tokenizer if chosen.own else None))


def _settled(
    trajectories: Iterator[Trajectory], reward: Rubric | None, group: int
) -> Iterator[Trajectory]:
    """The same, with rewards that depend on whole groups."""
    if reward is None or not reward.needs_groups:
        yield from trajectories
        return
    members: list[Trajectory] = []
    for trajectory in trajectories:
        members.append(trajectory)
        if len(members) == group:
            yield from reward.settle(members)
            members = []
