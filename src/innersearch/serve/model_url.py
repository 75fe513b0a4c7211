"""The model of a session: chat completions whose tokens are kept for a trajectory.

An agent of others asks `/s/{id}/v1/chat/completions` as it would ask OpenAI. Its messages are rendered
by the model's own chat template, and what the policy samples is kept with its tokens and their
log-probabilities. How tokens are drawn is up to whoever opened the session, so that they come from the
distribution that is trained: of a request's parameters only `max_tokens`, `stop`, `n` and `tools` count.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from innersearch.errors import ConfigError, DataError, InnersearchError, ModelError, PolicyError, Refusal
from innersearch.grammar import TAGS, Grammar, MaskRule, last_answer
from innersearch.policy.base import Completion, Policy, Request, Sampler
from innersearch.policy.stops import StopStrings
from innersearch.prompts.messages import call_form, encode_chat
from innersearch.search.base import Engine, SearchResult
from innersearch.serve.capture import Capture, Exchange
from innersearch.serve.chat_api import ApiError, ChatRequest, choice, completion_body, identifier
from innersearch.serve.sessions import Session
from innersearch.thoughts import spoken
from innersearch.token_text import pieces
from innersearch.types import AgentRun, Call, Finish, Kind, Question, Sampling, StopReason, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NAME = "innersearch/policy"
HELD = "capture"
"""Under which name a session holds what it captured."""
_MOST_STOPS = 256
_LIMITS = {
    "context_length_exceeded": StopReason.CONTEXT_FULL,
    "too_many_requests_in_session": StopReason.TURN_LIMIT,
    "too_many_tokens_in_session": StopReason.TOKEN_BUDGET,
}
"""What it means for a trajectory that a request was refused."""


@dataclass
class ModelUrl:
    """A policy behind the model URLs of sessions."""

    tokenizer: PreTrainedTokenizerFast
    sampling: Sampling
    sampler: Sampler | None = None
    """An open session with the policy."""
    rule: MaskRule = field(default_factory=MaskRule)
    grammar: Grammar = TAGS
    """How replies are read for masks and rewards."""
    most_tokens: int = 0
    """Longest reply, in tokens; 0: whatever is left of the sampling's."""
    most_requests: int = 0
    """Requests per session; 0: no limit."""
    failure: InnersearchError | None = None
    """Why the policy cannot be asked any more."""
    _stops: dict[tuple[str, ...], StopStrings] = field(default_factory=dict, repr=False)

    def _stop(self, strings: tuple[str, ...]) -> StopStrings | None:
        """Stop strings, made once: a running batch keeps a row for each, and each reads the vocabulary.

        Raises:
            ApiError: There were too many others.
        """
        if not strings:
            return None
        if strings not in self._stops:
            if len(self._stops) >= _MOST_STOPS:
                said = f"this server has seen {_MOST_STOPS} different lists of stop strings, no more fit"
                raise ApiError(400, said, param="stop")
            self._stops[strings] = StopStrings(self.tokenizer, strings)
        return self._stops[strings]

    def capture(self, session: Session) -> Capture:
        """What a session captured."""
        found = session.held.get(HELD)
        if found is None:
            found = session.held[HELD] = Capture(self.tokenizer)
            session.listeners.append(partial(_heard, found))
        return found

    def listen(self, session: Session) -> None:
        """Hear of the searches of a session from its beginning."""
        self.capture(session)

    async def complete(self, session: Session, request: ChatRequest) -> dict[str, Any]:
        """The answer to a request, kept in its session.

        Raises:
            ApiError: It cannot be answered, or not any more.
        """
        capture = self.capture(session)
        try:
            text = self._prompt(request)
            self._demand_requests_left(capture, request.choices)
            asked = [capture.ask(text) for _ in range(request.choices)]
            made = await asyncio.gather(*(self._sample(session, one, request) for one in asked))
        except ApiError as error:
            capture.refuse(_LIMITS.get(error.code or ""))
            raise
        except asyncio.CancelledError:
            capture.abandoned += 1
            raise
        choices = [
            self._choice(index, capture.answer(one, completion), completion, request)
            for index, (one, completion) in enumerate(zip(asked, made, strict=True))
        ]
        written = sum(len(completion.token_ids) for completion in made)
        read = len(asked[0].prompt_ids)
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return completion_body(request.model or NAME, choices, usage)

    def trajectory(self, session: Session) -> Trajectory:
        """What a session is so far; its answer is that of the last reply."""
        capture = self.capture(session)
        segments, calls = capture.segments(self.rule, self.grammar)
        question = session.question or Question(session.id, "", ())
        return Trajectory(
            uid=f"{session.group}/{session.repetition}",
            group_id=session.group,
            repetition=session.repetition,
            question=question,
            segments=segments,
            calls=calls,
            sampling=self.sampling,
            stop_reason=capture.limit or StopReason.EOS,
            step=session.step,
            answer=self._answer(capture),
            agent=AgentRun(len(capture.exchanges), capture.refused, capture.abandoned),
        )

    def _answer(self, capture: Capture) -> str | None:
        """What the last reply says: its answer, or all that follows its thoughts."""
        if not capture.exchanges:
            return None
        last = max(capture.exchanges, key=lambda one: one.number)
        assert last.completion is not None  # noqa: S101
        text = "".join(
            pieces(self.tokenizer, last.completion.token_ids, ended=last.completion.finish is Finish.EOS)
        )
        tagged = last_answer(text, self.grammar) if Kind.ANSWER in self.grammar.tags else None
        return tagged or spoken(text).last or None

    def _prompt(self, request: ChatRequest) -> str:
        messages = [message.plain() for message in request.messages]
        tools = request.tools if request.tools and request.tool_choice != "none" else []
        try:
            return encode_chat(self.tokenizer, messages, tools)
        except (DataError, ModelError) as error:
            param = "messages" if isinstance(error, DataError) else "tools"
            raise ApiError(400, str(error), param=param) from error

    def _demand_requests_left(self, capture: Capture, wanted: int) -> None:
        if self.most_requests and len(capture.exchanges) + wanted > self.most_requests:
            raise ApiError(
                400,
                f"this session has made its {self.most_requests} requests",
                code="too_many_requests_in_session",
            )

    async def _sample(self, session: Session, asked: Exchange, request: ChatRequest) -> Completion:
        assert self.sampler is not None  # noqa: S101
        room = self.sampler.context - len(asked.prompt_ids)
        if room < 1:
            raise ApiError(
                400,
                f"the messages have {len(asked.prompt_ids)} tokens and the model's context takes "
                f"{self.sampler.context - 1}",
                param="messages",
                code="context_length_exceeded",
            )
        left = self.sampling.max_new_tokens - self.capture(session).sampled
        if left < 1:
            raise ApiError(
                400,
                f"this session has written its {self.sampling.max_new_tokens} tokens",
                code="too_many_tokens_in_session",
            )
        limits = (left, room, self.most_tokens or left, request.most or left)
        prompt = hashlib.blake2b(asked.text.encode("utf-8", "replace"), digest_size=12).hexdigest()
        root = asked
        while root.parent is not None:
            root = root.parent
        try:
            return await self.sampler.generate(
                Request(
                    asked.prompt_ids,
                    # Not by order of arrival: requests that are sent at once arrive in any.
                    (session.group, session.repetition, prompt, asked.again),
                    stop=self._stop(request.stops),
                    max_new_tokens=min(limits),
                    temperature=self.sampling.temperature,
                    sequence=f"{session.id}/{root.number}",
                )
            )
        except DataError as error:
            raise ApiError(400, str(error), param="messages") from error
        except PolicyError as error:
            self.failure = self.failure or (None if isinstance(error, Refusal) else error)
            raise ApiError(503, str(error)) from error
        except ModelError as error:
            self.failure = error
            raise ApiError(500, str(error)) from error

    def _choice(
        self, index: int, spelled: str, completion: Completion, request: ChatRequest
    ) -> dict[str, Any]:
        text = _said(spelled, completion, self.tokenizer, request.stops)
        reason = "length" if completion.finish is Finish.LENGTH else "stop"
        if not request.tools or request.tool_choice == "none":
            return choice(index, {"content": text}, reason)
        content, calls = call_form(self.tokenizer).read(text)
        if not calls:
            return choice(index, {"content": text}, reason)
        listed = [
            {
                "id": identifier("call"),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls
        ]
        return choice(index, {"content": content or None, "tool_calls": listed}, "tool_calls")


def _said(
    spelled: str, completion: Completion, tokenizer: PreTrainedTokenizerFast, stops: Sequence[str]
) -> str:
    """A reply without what ended it."""
    if completion.finish is Finish.EOS:
        return "".join(pieces(tokenizer, completion.token_ids, ended=True))
    if completion.finish is Finish.STOP:
        places = [at for stop in stops if (at := spelled.find(stop)) >= 0]
        return spelled[: min(places)] if places else spelled
    return spelled


def _heard(capture: Capture, engine: Engine, query: str, result: SearchResult) -> None:
    capture.search(
        Call(
            len(capture.calls),
            query,
            engine.source,
            list(result.documents),
            result.error,
            result.latency_s,
            engine.name,
            label=result.label,
            faults=result.faults,
            partial=result.partial,
        )
    )


def demand_capturable(policy: Policy) -> None:
    """Refuse a policy whose tokens nobody could train on.

    Raises:
        ConfigError: It does not tell its tokens and their log-probabilities.
    """
    if not {"tokens", "logprobs"} <= policy.provides:
        raise ConfigError(
            f"the policy {policy.name} tells no token ids with log-probabilities, so that nothing could "
            "be trained on what it writes: take transformers, vllm or http:URL"
        )
