"""An agent that gathers the people of a company by rules: it reads its prompt as a model would, and has
nothing else.

It searches, chooses what names the company and takes back what does not, until its turns are used up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from innersearch.grammar.harness import HARNESS
from innersearch.policy.base import Request
from innersearch.types import Kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ASKED = re.compile(r"Which people work for\s+(\w+)\s*\?")
_SHOWN = re.compile(r"\[\s*([^\]\n]+?)\s*\]([^\[<]*)")
_QUERIES = ("Who became {x}?", "{x} became the company of", "the employer is the company {x}")


def gatherer(tokenizer: PreTrainedTokenizerFast) -> Callable[[Request], str]:
    """The replies of such an agent in the grammar `harness`, for a `ScriptedPolicy`."""

    def reply(request: Request) -> str:
        prompt = str(tokenizer.decode(list(request.prompt_ids), skip_special_tokens=True))
        turn = request.stream[2] if len(request.stream) > 2 else 0
        return next_reply(prompt, int(turn))

    return reply


def next_reply(prompt: str, turn: int) -> str:
    """What it writes under a prompt, in its turn of that number."""
    asked = _ASKED.search(prompt)
    company = asked[1] if asked else ""
    shown = _SHOWN.findall(_last_result(prompt))
    right = [name for name, said in shown if f"{company} became the company of" in said]
    # Where there was no room for a document, it is asked for again.
    cut = [name for name, said in shown if name not in right and not said.strip().endswith(".")]
    wrong = [name for name, _ in shown if name not in (*right, *cut)]
    again = call("review", ids=cut) if cut else ""
    if right or (wrong and turn == 1):
        return call("curate", add=right, importance="high", remove=wrong) + again
    if again:
        return again
    return call("search", query=_QUERIES[turn % len(_QUERIES)].format(x=company))


def call(tool: str, **arguments: Any) -> str:
    """A tool call as the policy writes it."""
    given = {name: value for name, value in arguments.items() if value}
    return HARNESS.render(Kind.CALL, json.dumps({"name": tool, "arguments": given}))


def _last_result(prompt: str) -> str:
    return prompt.rpartition(HARNESS.opening(Kind.INFORMATION))[2]
