"""The agent as a model of OpenAI's API: it thinks and searches by itself, and its answer is the content.

    POST /v1/chat/completions {"messages": […], "search": "always", "budget": 3}

What it writes before its answer is streamed as `reasoning_content`. Documents that contain the answer
are cited in `annotations`, and `usage` counts `searches`. Earlier turns of a conversation stand before
the question as text, as many of the newest as the prompt may hold. All clients share one running policy.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from innersearch import prompts
from innersearch.assemble.agents import Agent, open_agent
from innersearch.assemble.models import model_path, rollout_settings
from innersearch.config import RolloutSettings, SearchSettings
from innersearch.errors import ConfigError, DataError, InnersearchError, RunError
from innersearch.grammar import MaskRule, grammar_of
from innersearch.policy.base import Sampler
from innersearch.policy.stops import StopStrings
from innersearch.rollout.episode import Episode, Task
from innersearch.rollout.rules import Rules
from innersearch.rollout.run import Rollout
from innersearch.routing.gate import gate_router, load_gate
from innersearch.routing.router import Route, Router, parse_router
from innersearch.search.base import Engine
from innersearch.serve.answers import Done, delta_of, usage_of
from innersearch.serve.chat_api import (
    ApiError,
    ChatRequest,
    Chunks,
    Message,
    choice,
    completion_body,
)
from innersearch.serve.listening import Listening, Part
from innersearch.serve.model_url import ModelUrl
from innersearch.serve.serving import Serving
from innersearch.serve.threaded import in_thread
from innersearch.tools.kinds import open_tools, shown
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Sampling, StopReason

if TYPE_CHECKING:
    from innersearch.tools.base import Tool

NAME = "innersearch/agent"
MODES = ("self", "always", "hybrid")
_MOST_BUDGET = 64
_REFUSED = ("functions", "audio", "modalities", "logit_bias")
_NEUTRAL = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
_EARLIER = "Earlier in this conversation:"
_NOW = "The question now:"
_PER_TOKEN = 12
"""Characters of a token at most, in most texts."""


@dataclass
class AgentEndpoint:
    """An agent that answers chat requests.

    Raises:
        ConfigError: There is no such search mode here.
    """

    agent: Agent
    engine: Engine | None = None
    """What it may search; without one it searches its own memory."""
    hybrid: Router | None = None
    """The gate of the mode `hybrid`."""
    search: str = ""
    """The mode where a request names none: always where there is an engine, else self."""
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    """How its model writes."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Values of `SearchSettings`, such as `k`."""
    prompt: str = ""
    """Name of the prompt text; what its model expects by default."""
    max_new_tokens: int = 0
    """Longest response in tokens; what the prompt needs by default."""
    name: str = NAME
    sampler: Sampler | None = None
    """An open session with the policy, at temperature 0."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.search = self.search or ("always" if self.engine is not None else "self")
        self.rules = lru_cache(256)(self._rules)
        self.mode(self.search)

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn where a request does not say it."""
        return Sampling(0.0, self.max_new_tokens or self.agent.conventions.max_new_tokens)

    def mode(self, name: str) -> Router:
        """The router of a search mode.

        Raises:
            ConfigError: There is none.
        """
        if name == "self":
            # It pauses at each query, so that a budget holds here as well.
            return Router("self", lambda query: Route("policy"), asks=False)
        if name not in MODES:
            raise ConfigError(f"search is one of {', '.join(MODES)}, given {name[:40]!r}")
        if self.engine is None:
            raise ConfigError(f"search {name!r} needs an engine, and none is served: take 'self'")
        if name == "always":
            return parse_router("always")
        if self.hybrid is None:
            raise ConfigError("search 'hybrid' needs a gate: calibrate one (innersearch calibrate)")
        return self.hybrid

    @property
    def modes(self) -> list[str]:
        """The search modes that there are here."""
        return ["self", *(["always"] * (self.engine is not None)), *(["hybrid"] * self.has_hybrid)]

    @property
    def has_hybrid(self) -> bool:
        """Whether there is a gate, and an engine behind it."""
        return self.engine is not None and self.hybrid is not None

    @cached_property
    def _stops(self) -> dict[str, StopStrings | None]:
        """What ends a reply, however it is asked for."""
        search = SearchSettings(stop_at_answer=True)
        tool = SearchTool(None, self.mode("self"), search)
        grammar = grammar_of(self.settings.grammar)
        rules = Rules(self.agent.tokenizer, self.sampling, grammar=grammar, search=tool)
        return {name: getattr(rules, name) for name in ("stop", "answer_stop", "block_stop")}

    def _rules(self, name: str, budget: int | None, most: int) -> Rules:
        """What episodes of one kind share; made once, for stop strings read the vocabulary."""
        router = self.mode(name)
        given = {**self.agent.conventions.search, **self.values, "stop_at_answer": True}
        search = SearchSettings.model_validate(given)
        settings = self.settings
        if budget is not None:
            # Below 1 there is no such setting; nothing is asked for then.
            search = search.model_copy(update={"max_searches": budget})
            settings = settings.model_copy(update={"last_turn": "answer"})
        rollout = Rollout(
            self.agent.policy,
            self.agent.tokenizer,
            replace(self.sampling, max_new_tokens=most),
            rule=MaskRule(),
            search=SearchTool(self.engine, router, search),
            tools=self._tools,
            settings=settings,
        )
        rules, shared = rollout.rules, self._stops
        # A running batch keeps a row for each of them.
        for stop in shared:
            rules.__dict__[stop] = shared[stop]
        return rules

    @property
    def _tools(self) -> Sequence[Tool]:
        return open_tools(self.settings.tools)

    async def complete(self, request: ChatRequest) -> dict[str, Any]:
        """The whole answer.

        Raises:
            ApiError: The request cannot be answered.
        """
        asked = _Asked(self, request)
        done = await asyncio.gather(*(asked.run(number) for number in range(request.choices)))
        choices = [choice(i, one.message, one.reason) for i, one in enumerate(done)]
        return completion_body(self.name, choices, usage_of([one.trajectory for one in done]))

    def stream(self, request: ChatRequest) -> AsyncIterator[str]:
        """The answer as it is written, as lines of server-sent events.

        Raises:
            ApiError: The request cannot be answered.
        """
        return self._streamed(_Asked(self, request), request)

    async def _streamed(self, asked: _Asked, request: ChatRequest) -> AsyncIterator[str]:
        chunks = Chunks(self.name)
        parts: asyncio.Queue[tuple[int, Part] | None] = asyncio.Queue()
        running = [
            asyncio.ensure_future(asked.run(n, lambda part, n=n: parts.put_nowait((n, part))))
            for n in range(request.choices)
        ]
        together = asyncio.gather(*running)
        together.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            for n in range(request.choices):
                yield chunks.delta(n, {"role": "assistant", "content": ""})
            while (arrived := await parts.get()) is not None:
                yield chunks.delta(arrived[0], delta_of(arrived[1]))
            done = await together
            for n, one in enumerate(done):
                noted = {"annotations": one.annotations} if one.annotations else {}
                yield chunks.delta(n, {**noted, "innersearch": one.told}, one.reason)
            if request.tells_usage:
                yield chunks.usage(usage_of([one.trajectory for one in done]))
            yield Chunks.DONE
        except ApiError as error:
            yield chunks.error(error.body)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            together.cancelled() or together.exception()


def serve_model(
    serving: Serving, model: str, *, policy: str = "transformers", search: str = ""
) -> AgentEndpoint:
    """Serve the agent of a model, as its run trained it to write, with the gate calibrated for it.

    Args:
        serving: What is served.
        model: Model directory or hub id; `world` is the bundled model.
        policy: Who runs it: transformers, vllm, http:URL,URL or chat:URL#NAME.
        search: The search mode where a request names none.

    Raises:
        ConfigError: There is no such policy or search mode.
        ModelError: There is no such model.
        PolicyError: No server of the policy answers.
    """
    path, hybrid = model_path(model), None
    with suppress(RunError):
        hybrid = parse_router(gate_router(load_gate(Path(path))))
    written = rollout_settings(path, {})
    return serve_agent(serving, open_agent(path, policy), hybrid=hybrid, settings=written, search=search)


def serve_agent(
    serving: Serving,
    agent: Agent,
    *,
    hybrid: Router | None = None,
    search: str = "",
    settings: RolloutSettings | None = None,
    values: Mapping[str, Any] = MappingProxyType({}),
    temperature: float = 1.0,
    max_new_tokens: int = 0,
) -> AgentEndpoint:
    """Serve an agent beside an engine, which it searches, and its model to sessions.

    Args:
        serving: What is served.
        agent: The agent. Sessions have a model URL where its policy tells tokens and log-probabilities.
        hybrid: The gate of the search mode `hybrid`.
        search: The search mode where a request names none.
        settings: How its model writes.
        values: Values of `SearchSettings`.
        temperature: Of the model in sessions; the agent takes the most likely token.
        max_new_tokens: Longest response in tokens, also of a whole session.

    Raises:
        ConfigError: There is no such search mode.
    """
    settings = settings or RolloutSettings()
    endpoint = AgentEndpoint(
        agent, serving.engine, hybrid, search, settings, values, max_new_tokens=max_new_tokens
    )
    most = endpoint.sampling.max_new_tokens
    serving.parts["agent"] = endpoint
    model = None
    if {"tokens", "logprobs"} <= agent.policy.provides:
        drawn = Sampling(temperature, most)
        model = ModelUrl(agent.tokenizer, drawn, grammar=grammar_of(settings.grammar))
        serving.parts["model"] = model

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with in_thread(agent.policy, endpoint.sampling) as sampler:
            endpoint.sampler = sampler
            if model is not None:
                model.sampler = sampler
            yield

    serving.during.append(running)
    return endpoint


class _Asked:
    """A request that can be answered.

    Raises:
        ApiError: It cannot.
    """

    def __init__(self, endpoint: AgentEndpoint, request: ChatRequest) -> None:
        self._endpoint, self._request = endpoint, request
        extra = request.model_extra or {}
        demand_possible(request, extra)
        most = min(endpoint.sampling.max_new_tokens, request.most or endpoint.sampling.max_new_tokens)
        mode, budget = extra.get("search"), extra.get("budget")
        whole = isinstance(budget, int) and not isinstance(budget, bool) and 0 <= budget <= _MOST_BUDGET
        if budget is not None and not whole:
            said = f"budget is a number of searches from 0 to {_MOST_BUDGET}"
            raise ApiError(400, said, param="budget")
        try:
            mode = endpoint.search if mode is None else mode
            self._rules = endpoint.rules(str(mode), budget, most)
            router = self._rules.search.router
            self._name = endpoint.agent.prompt(endpoint.prompt, self._rules.search)
            assert router is not None  # noqa: S101
        except ConfigError as error:
            raise ApiError(400, str(error), param="search") from error
        self._question, self._text, self._ids = self._put()
        seed = request.seed
        group = hashlib.blake2b(
            json.dumps([self._text, str(mode), budget, seed]).encode("utf-8", "replace"), digest_size=12
        ).hexdigest()
        # Without a seed two equal requests draw differently, where anything is drawn.
        self._group = group if seed is not None else f"{group}-{next(endpoint._numbers)}"
        self._unique = str(next(endpoint._numbers))

    def _put(self) -> tuple[str, str, tuple[int, ...]]:
        """The question, what is put to the model, and its tokens."""
        messages = self._request.messages
        if messages[-1].role != "user" or not messages[-1].text.strip():
            raise ApiError(400, "the last message is the user's question", param="messages")
        question = messages[-1].text
        endpoint = self._endpoint
        context = endpoint.agent.policy.context
        room = context - min(endpoint.sampling.max_new_tokens, context // 2)
        earlier = [line for message in messages[:-1] if (line := _line(message))]
        # No more of it could fit, and to look is not free.
        lengths = itertools.accumulate(len(line) for line in reversed(earlier))
        most = sum(length <= room * _PER_TOKEN for length in lengths)
        kept, ids = 0, self._encode(question)
        if len(ids) > room:
            raise ApiError(
                400,
                f"the question has {len(ids)} tokens, and {room} fit",
                param="messages",
                code="context_length_exceeded",
            )
        while kept < most:
            tried = (kept + most + 1) // 2
            found = self._encode(_together(earlier[-tried:], question))
            if len(found) > room:
                most = tried - 1
            else:
                kept, ids = tried, found
        return question, _together(earlier[len(earlier) - kept :], question), ids

    def _encode(self, text: str) -> tuple[int, ...]:
        grammar = self._rules.grammar
        tools = shown(grammar, self._endpoint._tools)
        try:
            return prompts.encode(
                self._endpoint.agent.tokenizer, self._name, text, grammar=grammar, tools=tools
            )
        except DataError as error:
            raise ApiError(400, str(error), param="messages") from error

    async def run(self, number: int, hear: Any = None) -> Done:
        """One answer."""
        endpoint, rules = self._endpoint, self._rules
        if endpoint.sampler is None:
            raise ApiError(503, "the model is not ready yet")
        message = prompts.render(self._name, self._text, rules.grammar)
        question = Question(self._group, self._question, ())
        told = prompts.system(self._name)
        task = Task(question, self._ids, self._group, number, message=message, system=told)
        heard = Listening(
            endpoint.sampler,
            rules,
            self._ids,
            hear,
            temperature=self._request.temperature,
            seed=self._request.seed,
            unique=f"{self._unique}/{number}",
        )
        try:
            trajectory = await Episode(task, heard, rules).run()
        except DataError as error:
            raise ApiError(400, str(error)) from error
        except InnersearchError as error:
            raise ApiError(503, str(error)) from error
        heard.end([token for segment in trajectory.segments[-1:] for token in segment.token_ids])
        if trajectory.stop_reason is StopReason.ERROR:
            raise ApiError(503, trajectory.error or "the model could not be asked")
        return Done(trajectory, heard.content.strip(), heard.reasoning)


def demand_possible(request: ChatRequest, extra: Mapping[str, Any]) -> None:
    """Refuse what would change the answer and is not done.

    Raises:
        ApiError: Something would.
    """
    if request.tools:
        raise ApiError(
            400, "this agent uses its own tools: leave tools out", param="tools", code="unsupported"
        )
    for name in _REFUSED:
        if extra.get(name):
            raise ApiError(400, f"{name} is not supported", param=name, code="unsupported")
    for name, neutral in _NEUTRAL.items():
        if extra.get(name) not in (None, neutral):
            raise ApiError(400, f"{name} is not supported: leave it out", param=name, code="unsupported")
    if request.stops:
        raise ApiError(400, "stop is not supported: leave it out", param="stop", code="unsupported")
    if request.logprobs:
        raise ApiError(400, "logprobs are not supported", param="logprobs", code="unsupported")


def _together(earlier: Sequence[str], question: str) -> str:
    """A question with what was said before it."""
    return "\n".join([_EARLIER, *earlier, "", _NOW, question]) if earlier else question


def _line(message: Message) -> str:
    """An earlier message as a line of text."""
    said = " ".join(message.text.split())
    who = {"assistant": "Assistant", "user": "User"}.get(message.role, "System")
    return f"{who}: {said}" if said else ""
