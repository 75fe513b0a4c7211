"""OpenAI's chat completions: how they are asked for, answered, streamed and refused.

What changes the answer and is not done here is refused; other parameters that this server does not know
are passed over, since clients send many.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from innersearch.errors import InnersearchError

MOST_CHOICES = 16


class ApiError(InnersearchError):
    """A request that is answered with an error of the API."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @property
    def body(self) -> dict[str, Any]:
        """As OpenAI writes it."""
        return error_body(self.status, str(self), self.param, self.code)


def error_body(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of an error."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class StreamOptions(BaseModel):
    """What a stream holds beside the answer."""

    include_usage: bool = False


class Message(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Any] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("content")
    @classmethod
    def _is_text(cls, content: Any) -> str:
        if content is None or isinstance(content, str):
            return content or ""
        texts = [part if isinstance(part, str) else _text(part) for part in content]
        return "\n".join(texts)

    @field_validator("tool_calls")
    @classmethod
    def _are_calls(cls, calls: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        for call in calls or ():
            function = call.get("function")
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise ValueError("a tool call has a function with a name")
        return calls

    @property
    def text(self) -> str:
        """Its content."""
        return self.content if isinstance(self.content, str) else ""

    def plain(self) -> dict[str, Any]:
        """As chat templates take it."""
        role = {"developer": "system", "function": "tool"}.get(self.role, self.role)
        found: dict[str, Any] = {"role": role, "content": self.text}
        if self.tool_calls:
            found["tool_calls"] = self.tool_calls
        if self.tool_call_id:
            found["tool_call_id"] = self.tool_call_id
        if self.name:
            found["name"] = self.name
        return found


def _text(part: Any) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise ValueError(f"this model reads text only, and a part is of type {str(kind)[:40]!r}")


class ChatRequest(BaseModel):
    """A request for a chat completion; what is not named here is passed over."""

    model_config = ConfigDict(extra="allow")

    model: str = ""
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("tools")
    @classmethod
    def _are_tools(cls, tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        for tool in tools or ():
            function = tool.get("function")
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise ValueError("a tool is a function with a name")
        return tools

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return self.n or 1

    @property
    def most(self) -> int | None:
        """Longest reply, in tokens."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with what it took."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends a reply."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)


def read_request(body: bytes) -> ChatRequest:
    """A request as it was sent.

    Raises:
        ApiError: It is none.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is no JSON") from None
    if not isinstance(values, dict):
        raise ApiError(400, "the body is no JSON object")
    try:
        request = ChatRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ApiError(400, f"{place}: {said}", param=str(first["loc"][0])) from None
    wanted = (request.response_format or {}).get("type", "text")
    if wanted != "text":
        raise ApiError(
            400, f"response_format {str(wanted)[:40]!r} is not supported", param="response_format"
        )
    return request


def identifier(kind: str) -> str:
    """A fresh id, such as `chatcmpl-…`."""
    return f"{kind}-{uuid.uuid4().hex}"


def completion_body(
    model: str, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, Any]
) -> dict[str, Any]:
    """A whole answer."""
    return {
        "id": identifier("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": list(choices),
        "usage": dict(usage),
    }


def choice(index: int, message: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """One answer."""
    return {
        "index": index,
        "message": {"role": "assistant", "refusal": None, **message},
        "logprobs": None,
        "finish_reason": reason,
    }


class Chunks:
    """The parts of a streamed answer, each a line of server-sent events."""

    DONE = "data: [DONE]\n\n"

    def __init__(self, model: str) -> None:
        self._head = {
            "id": identifier("chatcmpl"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }

    def delta(self, index: int, delta: Mapping[str, Any], reason: str | None = None) -> str:
        """What is added to an answer."""
        part = {"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": reason}
        return self._line({"choices": [part]})

    def usage(self, usage: Mapping[str, Any]) -> str:
        """The last part, where the client wants it."""
        return self._line({"choices": [], "usage": dict(usage)})

    def error(self, error: Mapping[str, Any]) -> str:
        """Instead of whatever would follow."""
        return _event(error)

    def _line(self, values: Mapping[str, Any]) -> str:
        return _event({**self._head, **values})


def _event(values: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


def whole_as_chunks(body: Mapping[str, Any], *, usage: bool) -> Iterator[str]:
    """A whole answer as a stream, for who asked for one."""
    chunks = Chunks(body["model"])
    for one in body["choices"]:
        message = {key: value for key, value in one["message"].items() if value is not None}
        calls = message.pop("tool_calls", None)
        if calls:
            message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
        yield chunks.delta(one["index"], message)
        yield chunks.delta(one["index"], {}, one["finish_reason"])
    if usage:
        yield chunks.usage(body["usage"])
    yield Chunks.DONE


def models_body(names: Sequence[str]) -> dict[str, Any]:
    """The list of models."""
    entries = [
        {"id": name, "object": "model", "created": 0, "owned_by": "innersearch"} for name in names
    ]
    return {"object": "list", "data": entries}
