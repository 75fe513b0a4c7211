"""Tool calls of an agent that gathers documents: several in a reply, each JSON between tags.

    <think>…</think>
    <tool_call>{"name": "search", "arguments": {"query": "who leads Goltek"}}</tool_call>
    <tool_call>{"name": "curate", "arguments": {"add": ["Goltek:1"], "importance": {"Goltek:1": "high"}}}
    </tool_call>

Its prompts are made anew for every reply, so that results are no turns of a chat. What cannot be read is
told; after three such replies in a row the trajectory ends.
"""

from __future__ import annotations

from dataclasses import replace

from innersearch.grammar.base import ANSWER
from innersearch.grammar.readings import WHOLE, json_call, one
from innersearch.grammar.tool_calls import TOOL_CALLS
from innersearch.types import Kind

TOOLS = {
    "search": "query",
    "fan_out": "queries",
    "grep": "pattern",
    "read": "id",
    "review": "ids",
    "curate": WHOLE,
    "verify": WHOLE,
    "end": WHOLE,
}
"""The argument that holds the inputs of each tool; of some it is all of them."""
HARNESS = replace(
    TOOL_CALLS,
    name="harness",
    reads={Kind.CALL: json_call(TOOLS, 8, inputs=5), Kind.ANSWER: one(ANSWER, empty=True)},
    turns=False,
    malformed="tell",
    retries=3,
)
"""Up to eight calls in a block, and as many blocks as it likes."""
