"""Trajectories under the settings of the recipes for real models, of policies with a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from innersearch.assemble.recipes import open_recipe
from innersearch.config import Recipe
from innersearch.grammar import grammar_of
from innersearch.rewards import Rubric
from innersearch.tools.base import Tool
from innersearch.types import Trajectory
from tests.rollout.scripts import Found, Script, roll

_GIVEN = {"tools", "pages", "reader", "only_seen", "grammar", "context"}


def stage(name: str, number: int = -1) -> Recipe:
    """The recipe of a stage, the last one by default."""
    return open_recipe(f"{name}.toml").stages()[number]


def rolled(
    name: str,
    texts: Sequence[str],
    *,
    engine: Found | None = None,
    tools: Sequence[Tool] = (),
    grammar: str = "",
    context: int = 40_000,
    **search: Any,
) -> Trajectory:
    """A trajectory of the last stage of a recipe; `search` changes values of its searches.

    The tokenizer has no chat template, so DeepResearcher's calls are written without chat turns.
    """
    recipe = stage(name)
    plain = {"deepresearcher": "deepresearcher-plain"}
    grammar = grammar or plain.get(recipe.rollout.grammar, recipe.rollout.grammar)
    return roll(
        Script(texts, context=context),
        grammar,
        engine=engine,
        tools=tools,
        search=recipe.search.model_dump() | search,
        tokens=recipe.sampling.max_new_tokens,
        **recipe.rollout.model_dump(exclude=_GIVEN),
    )


def reward(name: str, trajectory: Trajectory, number: int = -1) -> float:
    """What a trajectory is worth in a stage of a recipe."""
    recipe = stage(name, number)
    return Rubric.of(recipe.reward, grammar_of(recipe.rollout.grammar)).score(trajectory)[0]


def shown(trajectory: Trajectory) -> str:
    """All that others wrote."""
    return "".join(
        span.text
        for segment in trajectory.segments
        for span in segment.spans
        if span.source.value not in ("policy", "template")
    )
