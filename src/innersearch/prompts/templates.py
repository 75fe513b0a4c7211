"""Chat templates: what they make of messages, on which day, and how they end a turn.

A template is a program that came with a model. Whatever it raises is one line, and what it was given
must stand in what it renders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from innersearch.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MEND = "correct chat_template in its directory, or remove it to put questions as plain text"
_SHOWN = 120
_REPLY = "Yes, it is."
_days: list[date] = []
"""The day of this process, once it is known."""


def day() -> date:
    """The day that templates see which ask for one: that of `fix_day`, or that of the first call."""
    if not _days:
        _days.append(datetime.now().astimezone().date())
    return _days[0]


def fix_day(fixed: date) -> None:
    """Let templates see this day from now on, so that a run that goes on later has the same prompts."""
    _days[:] = [fixed]


def sees_day(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the prompts of a tokenizer depend on the day.

    Raises:
        ModelError: The chat template cannot render a single user message.
    """
    if not tokenizer.chat_template:
        return False
    before = day()
    rendered = set()
    try:
        # Every part of one differs from that of another.
        for other in (date(2001, 2, 3), date(1987, 11, 26)):
            fix_day(other)
            rendered.add(ask(tokenizer, "Who?"))
    finally:
        fix_day(before)
    return len(rendered) > 1


def ask(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    tools: Sequence[Mapping[str, Any]] = (),
    system: str = "",
) -> str:
    """A single user message in the chat template, up to where the reply begins.

    Args:
        tokenizer: Whose template it is.
        text: The message.
        tools: Schemas of tools, as `{"type": "function", "function": {"name": …}}`.
        system: A system message; the user's begins with it where the template has no such role.

    Raises:
        ModelError: The template cannot render it, the message does not stand in what it renders, or it
            passes over the tools.
    """
    try:
        turns = _turns(tokenizer, system, text)
        shown = _render(tokenizer, turns, reply=True, tools=tools)
    except Exception as error:
        reason = squeezed(f"{error}")[:_SHOWN] or type(error).__name__
        raise ModelError(
            f"the tokenizer's chat template cannot render a single user message: {reason}; {_MEND}"
        ) from error
    if squeezed(text) not in squeezed(shown):
        raise ModelError(
            "the tokenizer's chat template loses or changes the user message with the question: it does "
            f"not stand in what the template renders; {_MEND}"
        )
    if tools and shown == _render(tokenizer, turns, reply=True):
        names = ", ".join(str(tool["function"]["name"]) for tool in tools)
        raise ModelError(
            f"the tokenizer's chat template does not show the tools it is given ({names}): describe "
            "them in the prompt, or take a model that is made for tools"
        )
    return shown


def _turns(tokenizer: PreTrainedTokenizerBase, system: str, text: str) -> list[tuple[str, str]]:
    """A system message and one of the user, or both in one where the template has no role for it."""
    if not system:
        return [("user", text)]
    turns = [("system", system), ("user", text)]
    try:
        shown = _render(tokenizer, turns, reply=True)
    except Exception:  # Some refuse the role.
        shown = ""
    if squeezed(system) in squeezed(shown):
        return turns
    return [("user", f"{system}\n\n{text}")]


def conversation(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]]) -> str:
    """Roles and contents in the chat template, up to where the reply begins; plain without one.

    Raises:
        ModelError: The template cannot render them.
    """
    if not tokenizer.chat_template:
        return "\n".join(content for _, content in turns) + "\n"
    try:
        return _render(tokenizer, turns, reply=True)
    except Exception as error:
        reason = squeezed(f"{error}")[:_SHOWN] or type(error).__name__
        raise ModelError(
            f"the tokenizer's chat template cannot render a conversation: {reason}; {_MEND}"
        ) from error


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token with which the chat template ends a reply; None without one, or without a template."""
    if not tokenizer.chat_template:
        return None
    turns = [("user", "Is it so?"), ("assistant", _REPLY), ("user", "And now?")]
    try:
        rendered = _render(tokenizer, turns, reply=False)
    except Exception:  # Some take a single message only; `ask` finds out whether it takes that.
        return None
    _, found, rest = rendered.rpartition(_REPLY)
    for token_id in tokenizer.encode(rest, add_special_tokens=False) if found else ():
        if str(tokenizer.decode([token_id])).strip():
            known = token_id in tokenizer.added_tokens_decoder
            return token_id if known and token_id not in _unknown(tokenizer) else None
    return None


def _unknown(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What text outside the vocabulary becomes."""
    return tokenizer.encode("\U0003fffd", add_special_tokens=False)


def begins_reply(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template puts anything where a reply is to follow."""
    asked = [("user", "Is it so?")]
    return _render(tokenizer, asked, reply=True) != _render(tokenizer, asked, reply=False)


def squeezed(text: str) -> str:
    """Text with single spaces for all white space, which templates and tokenizers treat as they like."""
    return " ".join(text.split())


def _render(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[tuple[str, str]],
    *,
    reply: bool,
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return rendered(tokenizer, messages, reply=reply, tools=tools)


def rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    *,
    reply: bool,
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What a chat template makes of messages; whatever it raises comes through.

    Args:
        tokenizer: Whose template it is.
        messages: As chat APIs have them, arguments of calls as objects.
        reply: Whether a reply is to follow.
        tools: Schemas of tools.
    """
    # Transformers takes no functions as arguments of templates, and keeps what it compiled.
    from transformers.utils.chat_template_utils import _compile_jinja_template

    compiled = _compile_jinja_template(tokenizer.get_chat_template())
    compiled.globals["strftime_now"] = _strftime_now
    shown: list[Any] | None = [dict(tool) for tool in tools] or None
    given: list[Any] = [dict(message) for message in messages]
    text = tokenizer.apply_chat_template(given, tools=shown, add_generation_prompt=reply, tokenize=False)
    return str(text)


def _strftime_now(form: str) -> str:
    return datetime.combine(day(), time()).strftime(form)
