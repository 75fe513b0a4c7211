"""How a trajectory goes: what the policy writes, what it sees next, and when it ends."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from innersearch.config.base import Settings
from innersearch.config.harness import HarnessSettings
from innersearch.config.names import demand_reader_name
from innersearch.grammar import grammar_of

_CONTEXTS = ("shorten", "shorten-pages", "render")


class RolloutSettings(Settings):
    """What the policy writes, what it sees next, and when a trajectory ends."""

    grammar: str = "tags"
    """How a policy writes: tags, r1-searcher, rag-r1, rag-r1-single, tool-call, tool-calls,
    deepresearcher, deepresearcher-plain, asearcher, or harness, which gathers documents; or direct,
    which answers without tags and can ask for nothing."""
    tools: tuple[str, ...] = ()
    """What the policy can use beside search, by names that installed packages offer."""
    pages: str = ""
    """Pages that the policy may open: corpus (the documents of the engine, joined by address),
    corpus:PATH, web, remote:URL, jina, firecrawl, tavily or exa; none by default, see
    innersearch.assemble.pages."""
    reader: str = "whole"
    """What it sees of a page: whole:TOKENS, parts:CHARACTERS:MOST, passages:NUMBER or model:MODEL; see
    innersearch.pages.readers."""
    only_seen: bool | Literal["last"] = True
    """Addresses that are opened: true takes those that a search of the trajectory returned, last those
    of its last search, false all."""
    context: str = "append"
    """What the policy sees next: append (all of it), shorten:CHARACTERS (what was returned in full once,
    and then only its beginning), shorten-pages:CHARACTERS (only pages so) or render:TURNS (the question,
    the notes of its tools and the last few turns, written anew)."""
    budget: int = Field(0, ge=0)
    """Longest prompt of a context that is not append, in tokens; 0: what the model's context takes."""
    reads_first: bool = False
    """When something came back, the policy first writes a thought about it alone, a reply of its own,
    and acts in the next one; a page is shown part by part then, each with a thought (ASearcher)."""
    max_turns: int = Field(0, ge=0)
    """Replies per trajectory, thoughts about what came back included; 0: no limit."""
    max_tokens_per_turn: int = Field(0, ge=0)
    """Longest reply, in tokens; 0: whatever is left of sampling.max_new_tokens."""
    last_turn: Literal["end", "answer"] = "end"
    """What happens when there are no turns or calls left: the trajectory ends, or the policy may write
    one more reply, in which nothing is asked for."""

    harness: HarnessSettings = HarnessSettings()
    """What the grammar harness keeps of what it finds."""

    @field_validator("grammar")
    @classmethod
    def _is_a_grammar(cls, text: str) -> str:
        grammar_of(text)
        return text

    @field_validator("reader")
    @classmethod
    def _is_a_reader(cls, text: str) -> str:
        demand_reader_name(text)
        return text

    @field_validator("context")
    @classmethod
    def _is_a_context(cls, text: str) -> str:
        name, _, number = text.partition(":")
        if text != "append" and not (name in _CONTEXTS and number.isdecimal()):
            raise ValueError(
                f"no context {text!r}: write append, shorten:CHARACTERS, shorten-pages:CHARACTERS or "
                "render:TURNS"
            )
        return text
