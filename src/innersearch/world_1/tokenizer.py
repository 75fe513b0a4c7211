"""How a model of the first world is told from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
)
"""Renders a user message exactly as its corpus wrote a question."""


def is_world(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model with this tokenizer expects the world's bare questions instead of instructions."""
    return tokenizer.chat_template == CHAT_TEMPLATE
