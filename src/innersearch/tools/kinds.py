"""Tools by name, so that recipes can give a policy more than search.

A package offers one under `innersearch.tools`, and a recipe names it in `rollout.tools`:

    KIND = ToolKind(ToolSchema("clock", "Tell the time of a town."), Clock)

How the policy asks for it is up to the grammar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from innersearch.errors import ConfigError
from innersearch.extensions import Offers
from innersearch.grammar import Grammar
from innersearch.tools.base import Tool, ToolSchema
from innersearch.tools.search import NAME, SCHEMA


@dataclass(frozen=True, slots=True)
class ToolKind:
    """A tool that has a name, and what opens it."""

    schema: ToolSchema
    """What a policy is told about it, before it is open."""
    open: Callable[[], Tool]
    """Called once for each rollout, which closes it."""


TOOLS: Offers[ToolKind] = Offers("innersearch.tools", ToolKind, "tool")


def tool_kinds(names: Sequence[str]) -> list[ToolKind]:
    """The kinds of the tools with these names.

    Raises:
        ConfigError: There is no such tool, or two of them would go by one name.
    """
    kinds = [TOOLS.get(name) for name in names]
    known = [NAME, *(kind.schema.name for kind in kinds)]
    if twice := sorted({name for name in known if known.count(name) > 1}):
        raise ConfigError(f"two tools are called {', '.join(twice)}: leave one out of rollout.tools")
    return kinds


def open_tools(tools: Sequence[Tool | str]) -> tuple[Tool, ...]:
    """Tools, those that are given by name opened; errors as `tool_kinds`."""
    kinds = iter(tool_kinds([tool for tool in tools if isinstance(tool, str)]))
    return tuple(next(kinds).open() if isinstance(tool, str) else tool for tool in tools)


def shown(grammar: Grammar, tools: Sequence[Tool | ToolKind] = ()) -> list[dict[str, Any]]:
    """The schemas of search and of what else there is, as prompts show them where calls are turns of a
    chat; nothing elsewhere.
    """
    schemas = (SCHEMA, *(tool.schema for tool in tools))
    return [schema.function for schema in schemas] if grammar.turns else []
