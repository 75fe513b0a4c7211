"""Chat APIs in the style of OpenAI's `/chat/completions`: what they are asked, and what they answer.

APIs differ in the parameters they take: what one refuses by name is sent under its other name, or left
out from then on, and said once, since it changes what is sampled. They differ as well in where they put
thoughts, refusals and failures; all of it is told apart from what was said.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from innersearch.net.calls import PermanentError, TransientError
from innersearch.net.complaints import complaint, refusal
from innersearch.net.keys import Key

Body = dict[str, Any]

_log = logging.getLogger(__name__)

_OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
_WITHOUT = {
    "max_completion_tokens": "replies have its own longest length",
    "temperature": "it samples at a temperature of its own",
    "seed": "the same run gives other texts the next time",
    "stop": "replies are cut here, after they are written and paid for",
    "add_generation_prompt": "it may begin a new reply in place of the one that is begun",
    "continue_final_message": "it may begin a new reply in place of the one that is begun",
}
"""What it means that a parameter is left out. No other one is: it would change what is asked."""
_UNSUPPORTED = re.compile(
    r"unsupported|not (?:be )?(?:supported|allowed|permitted|recogni[sz]ed|accepted|available)|"
    r"unrecogni[sz]ed|unknown|unexpected|extra[_ ](?:fields|inputs|forbidden)|cannot find|"
    r"additional propert|"
    r"do(?:es)?(?: not|n['’]t) (?:support|accept|allow|recogni[sz]e)|only the default|deprecated|"
    r"no longer|not a valid|invalid (?:parameter|field|argument|property|name)|instead",
    re.IGNORECASE,
)
_OUT_OF_RANGE = re.compile(
    r"too (?:large|long|many|high|small|low|big)|at most|maximum|less than|greater than|between|exceed|"
    r"context[ _](?:length|window)",
    re.IGNORECASE,
)
"""A value that is refused, not the parameter."""
_REFUSED = ("http 400", "http 404", "http 422")
_SAYS = ("text", "output_text", "input_text")
_THINKS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a chat API answered."""

    text: str
    """What was said; thoughts that the API keeps apart are no part of it."""
    finish: str
    """Why it ended, in the API's word: `stop`, `length` and others; empty if it does not say."""
    withheld: str = ""
    """Why there is no text, in our words; empty if there is one, or if it ended at its length limit."""


class Parameters:
    """Which parameters one server takes, as far as it has said."""

    def __init__(self, name: str) -> None:
        self.refused: set[str] = set()
        """Those that it refused."""
        self._name = name

    @property
    def left_out(self) -> list[str]:
        """Those that are not sent under any name."""
        return sorted(self.refused - _OTHER_NAMES.keys())

    def adapted(self, body: Mapping[str, Any]) -> Body:
        """A body as the server takes it."""
        sent: Body = {}
        for name, value in body.items():
            while name in self.refused and name in _OTHER_NAMES:
                name = _OTHER_NAMES[name]
            if name not in self.refused:
                sent[name] = value
        return sent

    def learn(self, sent: Mapping[str, Any], error: PermanentError) -> bool:
        """Whether an error refuses a parameter that was sent, so that asking without it may succeed."""
        name = refused_parameter(sent, error.said) if error.reason in _REFUSED else None
        if name is None:
            return False
        if name not in self.refused:
            self.refused.add(name)
            if name in _WITHOUT:
                _log.warning("%s does not take %r: left out, so %s", self._name, name, _WITHOUT[name])
        return True


def refused_parameter(sent: Mapping[str, Any], said: str) -> str | None:
    """The name of a parameter that a server does not take, by what it said.

    >>> refused_parameter({"max_tokens": 9}, "Unsupported parameter: 'max_tokens'. Use … instead.")
    'max_tokens'
    >>> refused_parameter({"max_tokens": 9}, "max_tokens is too large: this model supports at most 8")
    """
    if not _UNSUPPORTED.search(said):
        return None
    optional = [name for name in (*_OTHER_NAMES, *_WITHOUT) if name in sent]
    parameter = re.search(r"""["']param["']\s*:\s*["'](\w+)["']""", said)
    if parameter is not None and parameter[1] in sent:
        return parameter[1] if parameter[1] in optional else None
    if _OUT_OF_RANGE.search(said) and not re.search("unsupported|extra", said, re.IGNORECASE):
        return None
    found = {name: re.search(rf"(?<![\w-]){name}(?![\w-])", said) for name in optional}
    places = {name: match.start() for name, match in found.items() if match}
    return min(places, key=places.__getitem__, default=None)


def chat_address(url: str) -> str:
    """The full address of a chat API, from that of its host, from a base, or from itself.

    >>> chat_address("http://127.0.0.1:6001"), chat_address("https://api.example/openai/v2/")
    ('http://127.0.0.1:6001/v1/chat/completions', 'https://api.example/openai/v2/chat/completions')
    """
    url = url.rstrip("/")
    if url.endswith("/chat/completions"):
        return url
    return f"{url}/chat/completions" if url.count("/") > 2 else f"{url}/v1/chat/completions"


def chat_body(
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    stop: Sequence[str] = (),
) -> Body:
    """What is sent for one reply."""
    body: Body = {
        "model": model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    return body | ({"stop": list(stop)} if stop else {})


async def complete(
    send: Callable[[Body], Awaitable[Any]],
    body: Body,
    parameters: Parameters,
    name: str,
    key: Key | None = None,
) -> Any:
    """The answer to a body, without the parameters that the server refuses.

    Raises:
        TransientError: As `send`; or the answer says that something failed.
        PermanentError: As `send`; or the answer says that the key or the plan is refused.
    """
    while True:
        sent = parameters.adapted(body)
        try:
            answer = await send(sent)
            break
        except PermanentError as error:
            if not parameters.learn(sent, error):
                raise
    demand_no_failure(answer, name, key)
    return answer


def demand_no_failure(answer: Any, name: str, key: Key | None) -> None:
    """Tell the failure of what stands behind a gateway, which sends it with status 200, from an answer.

    Raises:
        TransientError: Something failed, or calls come too often.
        PermanentError: The key or the plan is refused.
    """
    if not isinstance(answer, dict):
        return
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    # Other APIs put the reply itself where errors have their text.
    told = {name: value for name, value in answer.items() if not _is_reply(value)}
    if choice is None and (said := complaint(told)) is not None:
        raise refusal(said, name, key)
    if isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error"):
        said = complaint({"error": choice.get("error")})
        if said is not None:
            raise refusal(said, name, key)
        raise TransientError(f"{name} broke off its reply", reason="blocked", down=False)


def _is_reply(value: Any) -> bool:
    return isinstance(value, dict) and "content" in value


def read_reply(answer: Any) -> Reply:
    """What an answer says.

    Raises:
        ValueError: It is no completion; the message holds none of its texts.
    """
    try:
        choice = answer["choices"][0]
        message, finish = choice["message"], str(choice.get("finish_reason") or "")
        content = message.get("content")
    except (LookupError, TypeError, AttributeError):
        raise ValueError(f"no completion, but {outline(answer)}") from None
    if content is not None and not isinstance(content, str | list):
        raise ValueError(f"no text, but {outline(content)}")
    text = content if isinstance(content, str) else "".join(_parts(content or ()))
    if text.strip() or finish == "length":
        return Reply(text, finish)
    return Reply(text, finish, _why_nothing(message, content, finish))


def outline(answer: Any) -> str:
    """What an answer is, without the texts in it, which may be those of a sealed benchmark."""
    if isinstance(answer, dict):
        return f"an object with {', '.join(map(repr, sorted(map(str, answer))[:8])) or 'nothing in it'}"
    return f"a {type(answer).__name__}"


def _parts(content: Sequence[Any]) -> Iterator[str]:
    for part in content:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and part.get("type", "text") in _SAYS:
            text = part.get("text")
            yield text if isinstance(text, str) else ""


def _why_nothing(message: Mapping[str, Any], content: Any, finish: str) -> str:
    parts = content if isinstance(content, list) else ()
    kinds = [str(part.get("type")) for part in parts if isinstance(part, dict)]
    if message.get("refusal") or "refusal" in kinds:
        return "a refusal"
    if finish in ("content_filter", "safety", "SAFETY", "recitation"):
        return f"no text, and {finish!r} as the reason"
    if any(message.get(name) for name in _THINKS) or any("think" in k or "reason" in k for k in kinds):
        return "a thought and no text: is the server's parser of thoughts that of the model?"
    if message.get("tool_calls") or message.get("function_call"):
        return "the call of a tool and no text"
    return f"no text, and {finish!r} as the reason" if content is None else ""
