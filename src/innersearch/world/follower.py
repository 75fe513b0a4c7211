"""An agent that follows a line of teachers by rules: it reads its prompt as a model would.

After each search it notes whom it has found, in a thought of its own, and asks for that one's teacher,
until somebody had none. It has nothing but its prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from innersearch.grammar.asearcher import ASEARCHER
from innersearch.policy.base import Request
from innersearch.types import Kind
from innersearch.world.further import FIRST, LINEAGE
from innersearch.world.relations import RELATIONS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_TAUGHT = RELATIONS["teacher"].page


def _pattern(text: str) -> re.Pattern[str]:
    """What finds a text with names in the place of its slots."""
    found = re.escape(text).replace(r"\{x\}", r"(?P<x>\w+)").replace(r"\{y\}", r"(?P<y>\w+)")
    return re.compile(found.replace(r"\ ", r"\s+"))


_ASKED, _NEXT, _ENDS = _pattern(LINEAGE), _pattern(_TAUGHT), _pattern(FIRST)


def follower(tokenizer: PreTrainedTokenizerFast) -> Callable[[Request], str]:
    """The replies of such an agent in the grammar `asearcher`, for a `ScriptedPolicy`."""

    def reply(request: Request) -> str:
        return next_reply(str(tokenizer.decode(list(request.prompt_ids), skip_special_tokens=True)))

    return reply


def next_reply(prompt: str) -> str:
    """What it writes under a prompt, behind the tag that begins a thought where there is one."""
    name, is_first, turns_back = _state(prompt)
    begun = prompt.rstrip().endswith(ASEARCHER.begins)
    if begun and _rest(prompt):
        return f"{name}{ASEARCHER.closing(Kind.THINK)}"
    lead = ASEARCHER.closing(Kind.THINK) if begun else ""
    if is_first:
        return lead + ASEARCHER.render(Kind.ANSWER, name)
    query = FIRST.format(x=name) if turns_back else _TAUGHT.format(x=name, y="")
    return lead + ASEARCHER.render(Kind.SEARCH, " ".join(query.split()))


def _rest(prompt: str) -> bool:
    """Whether the prompt ends with something that came back, to be read."""
    before = prompt.rstrip().removesuffix(ASEARCHER.begins).rstrip()
    return before.endswith(ASEARCHER.closing(Kind.INFORMATION))


def _state(prompt: str) -> tuple[str, bool, bool]:
    """Who was found last, whether they are the first of the line, and whether the last search told
    nothing about them.
    """
    asked = _ASKED.search(prompt)
    name, is_first, nothing = asked["x"] if asked else "", False, False
    for result in prompt.split(ASEARCHER.opening(Kind.INFORMATION))[1:]:
        said = result.partition(ASEARCHER.closing(Kind.INFORMATION))[0]
        taught = [found["y"] for found in _NEXT.finditer(said) if found["x"] == name]
        nothing = not taught
        name = taught[0] if taught else name
        is_first = any(found["x"] == name for found in _ENDS.finditer(said))
    return name, is_first, nothing
