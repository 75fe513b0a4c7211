"""A program of others that asks the model and searches, in place of our own rollouts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from innersearch.config.base import Settings


class AgentSettings(Settings):
    """A program that is run once per trajectory, with the addresses of its model and its search."""

    command: str = ""
    """How it is run, such as `python agent.py {question}`; nothing where the model is rolled out here.
    Without {question} it reads the question from its standard input."""
    answer: Literal["line", "output", "message"] = "line"
    """What its answer is: the last line it prints, all it prints, or the last message of the model."""
    timeout_s: float = Field(120.0, gt=0)
    """Seconds that it may take; then it is killed, and what the model wrote counts."""
    at_once: int = Field(16, ge=1)
    """How many run at once."""
    max_requests: int = Field(32, ge=0)
    """Requests to the model per run, after which it is refused; 0: no limit."""
