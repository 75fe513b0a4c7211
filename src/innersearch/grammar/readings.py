"""Readings: how the content of a block becomes actions.

>>> separated("search", by=",", most=2)("Lima, Paris , Rome")
(Action(tool='search', inputs=('Lima', 'Paris'), options={}, dropped=1),)
>>> separated("search", by=",", most=2)('["Paris, Texas"]')[0].inputs
('Paris, Texas',)
>>> separated("search", by=",", most=2)(" , ")
Malformed(reason=<Reason.EMPTY: 'the request is empty'>, detail='')
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from innersearch.grammar.base import Action, Malformed, Reading, Reason

_SHOWN = 80
WHOLE = "*"
"""Stands for an argument where all of them together are one input, as JSON."""


def one(tool: str, *, empty: bool = False) -> Reading:
    """The whole content is one input; nothing is malformed unless it may be `empty`."""
    return partial(_one, tool, empty=empty)


def separated(tool: str, by: str, most: int) -> Reading:
    """Several inputs, `by` between them, or a JSON list of texts, in which they may hold it.

    Blank ones are none. Those beyond `most` are dropped and counted.
    """
    return partial(_separated, tool, by, most)


def json_call(
    tools: Mapping[str, str], most: int = 1, *, inputs: int | Mapping[str, int] = 3
) -> Reading:
    """A call in JSON: an object with the name of a tool and its arguments, or a list of such.

    Args:
        tools: The argument that holds the inputs, a text or a list of texts, by the name of its tool;
            `WHOLE` where all arguments are one input.
        most: Calls that a list may hold; the inputs of others are dropped and counted.
        inputs: Inputs that a call may have, or those of each tool; more are dropped and counted.
    """
    allowed = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(tools, inputs)
    return partial(_json_calls, dict(tools), most, allowed)


def most_inputs(reading: Reading) -> int:
    """Inputs that a block may ask for; a reading of others that takes several says so in `most`."""
    if isinstance(reading, partial) and reading.func is _separated:
        return int(reading.args[-1])
    if isinstance(reading, partial) and reading.func is _json_calls:
        return max(reading.args[-1].values()) * int(reading.args[-2])
    return int(getattr(reading, "most", 1))


def _one(tool: str, content: str, *, empty: bool) -> tuple[Action, ...] | Malformed:
    return (Action(tool, (content,)),) if content or empty else Malformed(Reason.EMPTY)


def _separated(tool: str, by: str, most: int, content: str) -> tuple[Action, ...] | Malformed:
    listed = _listed(content)
    parts = content.split(by) if listed is None else listed
    inputs = [part.strip() for part in parts if part.strip()]
    if not inputs:
        return Malformed(Reason.EMPTY)
    return (Action(tool, tuple(inputs[:most]), dropped=max(0, len(inputs) - most)),)


def _listed(content: str) -> list[str] | None:
    """The texts of a JSON list; None where it is none."""
    if not content.startswith("["):
        return None
    try:
        return texts(json.loads(content))
    except (ValueError, RecursionError):
        return None


def texts(value: Any) -> list[str] | None:
    """A list of texts as it is, and a text as a list of it; None for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return list(value)
    return None


def _json_calls(
    tools: dict[str, str], most: int, inputs: dict[str, int], content: str
) -> tuple[Action, ...] | Malformed:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError) as error:
        return Malformed(Reason.NOT_JSON, str(error)[:_SHOWN])
    calls: list[Action] = []
    for call in read if isinstance(read, list) else [read]:
        asked = _call(tools, inputs, call)
        if isinstance(asked, Malformed):
            return asked
        calls.append(asked)
    if not calls:
        return Malformed(Reason.EMPTY)
    kept, rest = calls[:most], calls[most:]
    surplus = sum(len(call.inputs) + call.dropped for call in rest)
    return (*kept[:-1], replace(kept[-1], dropped=kept[-1].dropped + surplus))


def _call(tools: dict[str, str], allowed: dict[str, int], call: Any) -> Action | Malformed:
    call = _stripped(call)
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return Malformed(Reason.NOT_A_CALL)
    name, arguments = call["name"].strip(), _arguments(call)
    if arguments is None:
        return Malformed(Reason.NOT_A_CALL)
    if name not in tools:
        return Malformed(Reason.UNKNOWN_TOOL, f"{name[:_SHOWN]!r}; there are {', '.join(tools)}")
    if tools[name] == WHOLE:
        return Action(name, (json.dumps(arguments, ensure_ascii=False),))
    options = {key: value for key, value in arguments.items() if key != tools[name]}
    inputs = [text.strip() for text in texts(arguments.get(tools[name])) or () if text.strip()]
    if not inputs:
        return Malformed(Reason.NO_INPUT, f"{tools[name]!r} of {name}")
    most = allowed[name]
    return Action(name, tuple(inputs[:most]), options, max(0, len(inputs) - most))


def _arguments(call: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of a call: `parameters` to Llama, and a text of JSON to some APIs."""
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return _stripped(arguments) if isinstance(arguments, dict) else None


def _stripped(call: Any) -> Any:
    """An object with keys as they are meant: some tokenizers put a space before every word."""
    return {key.strip(): value for key, value in call.items()} if isinstance(call, dict) else call
