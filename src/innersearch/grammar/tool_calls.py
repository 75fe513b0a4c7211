"""Tool calls in JSON, in turns of a chat, as Hermes and Qwen write them.

    <think>…</think>
    <tool_call>{"name": "search", "arguments": {"query": ["one", "another"]}}</tool_call>

What a thought or a call mentions is text: it neither calls nor answers. What stands between a call and
its result is that of the model's chat template; see `innersearch.grammar.turns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from innersearch.grammar.base import ANSWER, Grammar
from innersearch.grammar.readings import json_call, one
from innersearch.grammar.tags import tag
from innersearch.types import Kind


def tool_calls(
    name: str,
    tools: Mapping[str, str],
    *,
    most: int | Mapping[str, int] = 3,
    several: bool = False,
    turns: bool = True,
    begins: str = "",
    malformed: Literal["end", "tell", "retry"] = "end",
    retries: int = 0,
) -> Grammar:
    """A grammar of tool calls.

    Args:
        name: Its name.
        tools: The argument that holds the inputs of each tool, by the name of the tool.
        most: Inputs that a call may have, or those of each tool; more are dropped and counted.
        several: Whether a reply may hold several calls; it ends where the policy ends its turn.
        turns: Whether results are chat turns; else they stand between their tags, as base models and
            models whose chat template knows no tools read them.
        begins: What the framework writes first in every reply.
        malformed: What happens to a reply that cannot be read.
        retries: How often it is sampled again.
    """
    return Grammar(
        name,
        {
            Kind.THINK: tag("think"),
            Kind.CALL: tag("tool_call"),
            Kind.INFORMATION: tag("tool_response"),
            Kind.ANSWER: tag("answer"),
        },
        {Kind.CALL: json_call(tools, inputs=most), Kind.ANSWER: one(ANSWER, empty=True)},
        begins=begins,
        opaque=frozenset({Kind.THINK, Kind.CALL}),
        turns=turns,
        several=several,
        demands=True,
        malformed=malformed,
        retries=retries,
    )


_TOOLS = {"search": "query", "open": "url"}
TOOL_CALL = tool_calls("tool-call", _TOOLS)
"""One call or an answer in each reply; anything else ends the trajectory."""
TOOL_CALLS = tool_calls("tool-calls", _TOOLS, several=True, malformed="retry", retries=3)
"""Several calls in a reply."""
_DEEP = {"search": 3, "open": 100}
DEEP_RESEARCHER = tool_calls("deepresearcher", _TOOLS, most=_DEEP, begins="<think>")
"""The same as `TOOL_CALL` with a thought begun in every reply, three queries a search, and as many pages
at once as the released code reads (DeepResearcher)."""
DEEP_RESEARCHER_PLAIN = tool_calls(
    "deepresearcher-plain", _TOOLS, most=_DEEP, begins="<think>", turns=False
)
"""The same without chat turns, for base models."""
