"""What a trajectory is worth."""

from innersearch.rewards.outcome import FORMATS, graded_format, outcome_reward, strict_format

__all__ = ["FORMATS", "graded_format", "outcome_reward", "strict_format"]
