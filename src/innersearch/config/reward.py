"""What trajectories are worth, and which of their tokens are trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from innersearch.config.base import Settings


class RewardSettings(Settings):
    """R = (1 − weight)·A + weight·F − penalties, A the answer's exact match or F1."""

    answer: Literal["em", "f1", "majority"] = "em"
    """What answers are scored by: exact match, F1, or agreement with the majority of their group, which
    needs no gold answers (test-time RL)."""
    no_search_penalty: float = Field(0.0, ge=0, le=1)
    """Taken from trajectories without a search; with F1 alone some policies stop searching."""
    no_answer_penalty: float = Field(0.0, ge=0, le=1)
    """Taken from trajectories without an answer (0.1 each in arXiv 2602.19526)."""
    format: Literal["strict", "graded"] = "strict"
    """Format reward F: strict state machine, or graded as in the released code."""
    format_weight: float = Field(0.1, ge=0, le=1)
    """Weight of F."""


class MaskSettings(Settings):
    """Which tokens carry no loss."""

    information: bool = True
    """Mask the content and the closing tag of self-written information."""
    opening_tag: bool = False
    """Mask the opening tag too, as the released code does."""
