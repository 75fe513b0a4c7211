"""Who rolls out for a recipe: the policy by itself, or a program that asks it."""

from __future__ import annotations

from innersearch.config import Recipe
from innersearch.train.tasks import MakeRollouts, rollout_of


def rollouts_of(recipe: Recipe) -> MakeRollouts:
    """What rolls out for a recipe: its agent where it has one, else the policy by itself.

    Raises:
        ConfigError: The agent cannot be trained.
    """
    if not any(values.agent.command for values in recipe.stages()):
        return rollout_of
    # Only who serves needs what a server needs.
    from innersearch.serve.programs import demand_program_recipe, program_rollout

    for values in recipe.stages():
        demand_program_recipe(values)
    return program_rollout
