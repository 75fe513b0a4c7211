"""How questions are put to the policy."""

from __future__ import annotations

from pydantic import Field

from innersearch.config.base import Settings


class PromptSettings(Settings):
    """How questions are put to the policy."""

    name: str = "ssrl"
    """Prompt text: ssrl, search-r1, direct, world or world-direct."""
    max_tokens: int = Field(1024, ge=1)
    """Longest prompt; a longer one is refused before training starts."""
    skip_long: bool = False
    """Leave out questions whose prompt is longer than that or than the context of the model, and say how
    many."""
