"""Messages of a chat API in a model's own chat template, with the tools and calls that they hold.

What stands in a message cannot act as a control token. A message that the template passes over, a tool
that it does not show, or whatever its program raises is one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from innersearch.errors import DataError, ModelError
from innersearch.prompts.templates import rendered, squeezed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHOWN = 120
_HARMLESS = str.maketrans("<>[]", "[]()")
_NAMES = ("arguments", "parameters")
"""Under which models write the arguments of a call."""


def encode_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The text of a conversation, up to where the next reply begins.

    Args:
        tokenizer: Whose template it is; without one the contents follow each other, line by line.
        messages: Each with `role` and `content`, replies also with `tool_calls`, whose arguments are
            JSON as text or as an object.
        tools: Schemas, as `{"type": "function", "function": {"name": …}}`.

    Raises:
        DataError: The template cannot render these messages.
        ModelError: It does not show tools, or there is none.
    """
    control = _control(tokenizer, len(tokenizer))
    harmless = [_harmless(message, control) for message in messages]
    if not tokenizer.chat_template:
        if tools:
            raise ModelError("the model's tokenizer has no chat template to show tools in")
        return "".join(f"{message['content']}\n" for message in harmless)
    try:
        text = rendered(tokenizer, harmless, reply=True, tools=tools)
    except Exception as error:
        reason = squeezed(f"{error}")[:_SHOWN] or type(error).__name__
        raise DataError(f"the model's chat template cannot render these messages: {reason}") from error
    if tools and any(str(tool["function"]["name"]) not in text for tool in tools):
        raise ModelError(
            "the model's chat template does not show tools: describe them in a message, or take a model "
            "that is made for tools"
        )
    return text


def _harmless(message: Mapping[str, Any], control: Sequence[str]) -> dict[str, Any]:
    found = dict(message)
    content = found.get("content") or ""
    if found["role"] != "assistant":
        for token in control:
            if token in content:
                spoiled = token.translate(_HARMLESS)
                content = content.replace(
                    token, spoiled if spoiled != token else f"{token[0]} {token[1:]}"
                )
    found["content"] = content
    if calls := found.get("tool_calls"):
        found["tool_calls"] = [_opened(call) for call in calls]
    return found


def _opened(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as an object, which is what templates expect."""
    function = dict(call["function"])
    given = function.get("arguments") or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = {"arguments": given}
    function["arguments"] = given if isinstance(given, dict) else {"arguments": given}
    return {"id": str(call.get("id") or ""), "type": "function", "function": function}


@lru_cache(maxsize=8)
def _control(tokenizer: PreTrainedTokenizerBase, size: int) -> tuple[str, ...]:
    """The control tokens of a tokenizer of so many entries, longest first."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted({*special, *tokenizer.all_special_tokens} - {""}, key=len, reverse=True))


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that a model wrote."""

    name: str
    arguments: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a model writes a tool call: JSON between two texts.

    >>> CallForm().read('Well. <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>')
    ('Well.', [Call(name='f', arguments='{"x": 1}')])
    """

    opens: str = "<tool_call>"
    closes: str = "</tool_call>"

    def read(self, text: str) -> tuple[str, list[Call]]:
        """What a reply says beside its calls, and these; a call that cannot be read is text.

        A reply without calls is said as it is, to the last space.
        """
        said: list[str] = []
        calls: list[Call] = []
        rest = text
        while self.opens in rest if self.opens else not calls and rest.lstrip()[:1] == "{":
            before, _, behind = rest.partition(self.opens) if self.opens else ("", "", rest)
            found, length = _calls(behind)
            if not found:
                said.append(before + self.opens)
                rest = behind
                if not self.opens:
                    break
                continue
            said.append(before)
            calls += found
            rest = behind[length:]
            if self.closes and rest.lstrip().startswith(self.closes):
                rest = rest.lstrip()[len(self.closes) :]
        said.append(rest)
        whole = "".join(said)
        return (whole.strip(), calls) if calls else (text, [])


def _calls(text: str) -> tuple[list[Call], int]:
    """The calls at the beginning of a text, and how many characters they take."""
    lead = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, lead)
    except (ValueError, RecursionError):
        return [], 0
    found = [_call(one) for one in (value if isinstance(value, list) else [value])]
    return ([call for call in found if call], end) if found and all(found) else ([], 0)


def _call(value: Any) -> Call | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    given: Any = next((value[name] for name in _NAMES if name in value), {})
    if isinstance(given, str):
        return Call(value["name"], given)
    return Call(value["name"], json.dumps(given, ensure_ascii=False))


def call_form(tokenizer: PreTrainedTokenizerBase) -> CallForm:
    """How the chat template of a tokenizer writes a call, which is how its model was taught to."""
    return _call_form(tokenizer, str(tokenizer.chat_template or ""))


@lru_cache(maxsize=8)
def _call_form(tokenizer: PreTrainedTokenizerBase, template: str) -> CallForm:
    """Measured by rendering a call; where the template has none, that of most models."""
    user = {"role": "user", "content": "Question"}
    call = {"type": "function", "id": "call00000", "function": {"name": "Name", "arguments": {"a": "b"}}}
    try:
        begun = rendered(tokenizer, [user], reply=True)
        replies = [
            rendered(tokenizer, [user, {"role": "assistant", **reply}], reply=False)
            for reply in ({"content": "", "tool_calls": [call]}, {"content": "Said"})
        ]
    except Exception:  # Templates are programs of others.
        return CallForm()
    if not all(text.startswith(begun) for text in replies):
        return CallForm()
    called, said = (text[len(begun) :] for text in replies)
    end = said.partition("Said")[2]
    called = called.removesuffix(end) if end else called
    before, brace, behind = called.partition("{")
    if not brace or '"Name"' not in behind:
        return CallForm()
    found, length = _calls(brace + behind)
    return (
        CallForm(before.rstrip("[ \n").lstrip(), behind[length - 1 :].strip("] \n"))
        if found
        else CallForm()
    )
