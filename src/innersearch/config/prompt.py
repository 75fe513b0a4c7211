"""How questions are put to the policy."""

from __future__ import annotations

from pydantic import Field

from innersearch.config.base import Settings


class PromptSettings(Settings):
    """How questions are put to the policy."""

    name: str = "ssrl"
    """Prompt text: ssrl, search-r1, r1-searcher, r1-searcher-chat, rag-r1, rag-r1-single,
    deepresearcher, direct, question (nothing but that), world or world-direct."""
    date: str = Field("", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    """The day that prompts name that name one, as 2026-11-30; that on which the run began by default."""
    max_tokens: int = Field(1024, ge=1)
    """Longest prompt; a longer one is refused before training starts."""
    must_answer: float = Field(0.0, ge=0, le=1)
    """Share of the groups that are asked by the prompt NAME-must-answer, in which the most likely answer
    is demanded; drawn from seed, question and step. The others may turn the question away."""
    skip_long: bool = False
    """Leave out questions whose prompt is longer than that or than the context of the model, and say how
    many."""
