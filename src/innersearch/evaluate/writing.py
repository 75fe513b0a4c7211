"""What a policy that is evaluated may ask for, and how it writes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from innersearch import prompts
from innersearch.assemble.pages import demand_tools, tool_kinds_of, tools_of
from innersearch.config import RolloutSettings
from innersearch.grammar import GRAMMARS, Grammar
from innersearch.tools.base import Tool
from innersearch.tools.harness import HarnessTool
from innersearch.tools.kinds import ToolKind, shown
from innersearch.tools.opening import OpenTool
from innersearch.tools.search import SearchTool
from innersearch.types import Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Writing:
    """What a policy may ask for, and how."""

    grammar: Grammar
    tools: Sequence[Tool] = ()
    """What it can use besides search, where that has no name."""
    used: Sequence[Tool | ToolKind] = ()
    """All that it can use besides search, as prompts show it."""
    open: Sequence[Tool] = ()
    """The same, to be used."""

    def using(self, settings: RolloutSettings) -> Writing:
        """The same with the tools that settings name.

        Raises:
            ConfigError: There is no such tool.
        """
        return replace(self, used=(*tool_kinds_of(settings), *self.tools))

    def opened(self, settings: RolloutSettings, search: SearchTool) -> Writing:
        """The same with all tools open.

        Raises:
            ConfigError: The grammar opens pages and there are none, or they need what is not there.
            SearchError: Pages cannot be opened.
        """
        given, chosen, engine = self.tools, search.settings, search.engine
        demand_tools(settings, chosen, given, grammar=self.grammar, engine=engine)
        named = tools_of(settings, chosen, engine)
        # What a policy finds depends on what the pages hold, and no setting says it.
        pages = [tool for tool in named if isinstance(tool, OpenTool)]
        return replace(self, tools=(*given, *pages), open=(*named, *given))

    def prompts(
        self, tokenizer: PreTrainedTokenizerFast, prompt: str, questions: Sequence[Question]
    ) -> dict[str, tuple[int, ...]]:
        """The prompt tokens of questions, by id."""
        texts, tools = [question.question for question in questions], shown(self.grammar, self.used)
        encoded = prompts.encode_all(tokenizer, prompt, texts, grammar=self.grammar, tools=tools)
        return {q.id: ids for q, ids in zip(questions, encoded, strict=True)}

    @property
    def identity(self) -> dict[str, Any]:
        """What the settings do not say of it: a grammar that has no name, and tools."""
        found: dict[str, Any] = {}
        if GRAMMARS.get(self.grammar.name) is not self.grammar:
            tags = {str(kind): list(tag) for kind, tag in self.grammar.tags.items()}
            found["grammar"] = {"name": self.grammar.name, "tags": tags}
        if gathers := [tool for tool in self.open if isinstance(tool, HarnessTool)]:
            found["harness"] = gathers[0].identity
        if self.tools:
            found["tools"] = [_of_tool(tool) for tool in self.tools]
        return found


def _of_tool(tool: Tool) -> dict[str, Any]:
    """A tool as records name it, with what its results depend on, where it says."""
    return {"name": tool.schema.name, **getattr(tool, "identity", {})}
