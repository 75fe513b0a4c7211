"""What all episodes of a rollout share: how the policy writes, what it may use, and what ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from innersearch.config import RolloutSettings
from innersearch.grammar import TAGS, Grammar, MaskRule
from innersearch.grammar.injection import encode_markup
from innersearch.grammar.turns import Turns, turns_of
from innersearch.policy.stops import StopStrings
from innersearch.rollout.context import Context, append
from innersearch.rollout.tally import Tally
from innersearch.tools.base import ListeningTool, State, Tool
from innersearch.tools.search import SearchTool
from innersearch.types import Kind, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass
class Rules:
    """What does not change from one episode of a rollout to the next."""

    tokenizer: PreTrainedTokenizerFast
    sampling: Sampling
    rule: MaskRule = field(default_factory=MaskRule)
    grammar: Grammar = TAGS
    context: Context = field(default_factory=append)
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    search: SearchTool = field(default_factory=SearchTool.itself)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    """All of them, search included, by the name under which the policy asks for them."""
    tally: Tally = field(default_factory=Tally)

    def listens(self, state: State) -> bool:
        """Whether any tool would answer what is asked for next."""
        return self._always_listens or any(tool.listens(state) for tool in self._listening)

    @cached_property
    def _listening(self) -> list[ListeningTool]:
        return [tool for tool in self.tools.values() if isinstance(tool, ListeningTool)]

    @cached_property
    def _always_listens(self) -> bool:
        return len(self._listening) < len(self.tools)

    @cached_property
    def heading(self) -> int:
        """Tokens with which the framework begins a reply."""
        begins = self.grammar.begins
        return len(encode_markup(self.tokenizer, begins).token_ids) if begins else 0

    @property
    def acts_at_end(self) -> bool:
        """Whether a reply that ended by itself is read for what it asks."""
        return self.grammar.turns or self.grammar.several or self.grammar.demands

    @cached_property
    def stop(self) -> StopStrings:
        """Ends a reply where it asks for something, and at an answer where nothing is to follow."""
        # Reads the whole vocabulary, which is too much for every episode.
        return StopStrings(self.tokenizer, self.grammar.stops, last=self._answer)

    @cached_property
    def answer_stop(self) -> StopStrings | None:
        """Ends the last reply, in which nothing is asked for."""
        return StopStrings(self.tokenizer, (), last=self._answer) if self._answer else None

    @cached_property
    def thought_stop(self) -> StopStrings:
        """Ends a reply that is only a thought about what came back."""
        return StopStrings(self.tokenizer, [self.grammar.closing(Kind.THINK)])

    @cached_property
    def block_stop(self) -> StopStrings:
        """Ends a reply at whatever block comes next."""
        kinds = (Kind.INFORMATION, *self.grammar.reads)
        return StopStrings(self.tokenizer, [self.grammar.closing(kind) for kind in kinds])

    @cached_property
    def turns(self) -> Turns | None:
        """What the chat template puts around a result; None where results are no turns.

        Raises:
            ModelError: There is no chat template, or it cannot hold results.
        """
        if not self.grammar.turns:
            return None
        schemas = [tool.schema.function for tool in self.tools.values()]
        return turns_of(self.tokenizer, self.grammar, schemas)

    @property
    def _answer(self) -> list[str]:
        answers = self.search.settings.stop_at_answer and Kind.ANSWER in self.grammar.tags
        return [self.grammar.closing(Kind.ANSWER)] if answers else []
