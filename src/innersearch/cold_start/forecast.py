"""How long a start, and reinforcement behind it, are going to take at the speed that was measured.

The lengths are those of short questions: what a line, a trajectory and its prompt have in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from innersearch.cold_start.settings import StartSettings
from innersearch.config import Recipe
from innersearch.policy.speed import Speed

LINE = 8
"""Tokens of a line behind examples, its label included."""
TRAJECTORY, PROMPT = 80, 45
"""Tokens of a trajectory, and of the prompt before it."""


def start_seconds(settings: StartSettings, asked: int, speed: Speed) -> dict[str, float]:
    """The seconds of the parts of a start that is measured on so many questions."""
    sizes = range(settings.searches + 1)
    lines = sum(3 * searches + 2 for searches in sizes)
    mean = lines / len(sizes)
    shots = LINE * (settings.questions * mean + asked * lines)
    learnt = settings.questions * settings.epochs * (TRAJECTORY + PROMPT)
    answers = TRAJECTORY * (asked + settings.sampled * (settings.samples + 1))
    return {
        "writing": shots / speed.written,
        "tuning": learnt / speed.trained,
        "measuring": answers / speed.written,
    }


def training_seconds(recipe: Recipe, speed: Speed) -> float:
    """The seconds of reinforcement: rollouts, and a forward and a backward pass over them."""
    plan = recipe.trainer
    trajectories = plan.steps * plan.prompts_per_step * plan.group_size
    each = TRAJECTORY / speed.written + (TRAJECTORY + PROMPT) / speed.trained
    return trajectories * each


def evaluation_seconds(trajectories: int, speed: Speed) -> float:
    """The seconds of so many trajectories."""
    return trajectories * TRAJECTORY / speed.written


def told(parts: Mapping[str, float], speed: Speed) -> str:
    """A forecast in one line."""
    each = ", ".join(f"{name} {minutes(seconds)}" for name, seconds in parts.items())
    return (
        f"about {minutes(sum(parts.values()))} ({each}), at {speed.read:.0f} tokens/s read and "
        f"{speed.written:.0f} written, as measured now"
    )


def minutes(seconds: float) -> str:
    """Seconds as people say them.

    >>> minutes(20), minutes(150), minutes(5400)
    ('1 min', '3 min', '1.5 h')
    """
    return f"{max(1, round(seconds / 60 + 0.01))} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
