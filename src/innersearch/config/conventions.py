"""What a model expects where nothing is said: its prompts, lengths, and how it searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What models of one family expect; a package offers its own under `innersearch.conventions`."""

    fits: Callable[[PreTrainedTokenizerBase], bool]
    """Whether a model with this tokenizer is one of them."""
    prompt: str = "ssrl"
    """Prompt text where it may play the search engine itself."""
    real: str = "search-r1"
    """Prompt text where an engine answers all its queries."""
    direct: str = "direct"
    """Prompt text that asks for the answer alone."""
    max_new_tokens: int = 4096
    """Longest response in an evaluation."""
    engine: str = ""
    """What it searches where no engine is named."""
    search: Mapping[str, Any] = field(default_factory=lambda: {"stop_at_answer": True})
    """Values of `SearchSettings`."""
    simulator: Mapping[str, Any] = field(default_factory=dict)
    """Values of `SimulatorSettings` where a simulator writes for it."""
    simulator_prompt: str = "simulator"
    """Prompt text where it plays the search engine."""
    page: int = 5
    """Documents of a page where pairs for a simulator are collected."""
    page_tokens: int = 3000
    """Longest response there."""
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """Values of `TuningSettings` where it is tuned to be a simulator."""

    def asks(self, *, direct: bool = False, real: bool = False) -> str:
        """The prompt text that puts a question."""
        return self.direct if direct else self.real if real else self.prompt


USUAL = Conventions(fits=lambda tokenizer: True)
"""Of instruct models: instructions, and no end of their own behind the answer."""
