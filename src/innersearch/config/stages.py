"""Stages of a recipe: what is trained first, and on what the next one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from innersearch.config.base import Settings

_OF_SFT = ("samples", "questions", "rounds", "keep", "epochs", "batch")


class StageSettings(Settings):
    """One stage. Any other value that it is given is one of the recipe that differs in it."""

    name: str = ""
    """What it is called, also in the name of its folder."""
    kind: Literal["rl", "sft"] = "rl"
    """rl: from rollouts and their rewards. sft: trajectories are learnt by heart."""
    samples: int = Field(0, ge=0)
    """Of sft: trajectories per question that the policy samples itself and learns from, those that are
    kept (rejection sampling). With 0 they come from `data`: a file of trajectories, whoever wrote them,
    or rows of a question and a response."""
    questions: int = Field(0, ge=0)
    """Of sft: how many questions are asked in a round, in the order of training and epoch after epoch;
    without samples, how many rows are learnt. All with 0."""
    rounds: int = Field(1, ge=1)
    """Of sft with samples: how often the policy samples and learns what is kept. Each round goes on from
    the model of the one before, with the questions that come next."""
    keep: str = ""
    """Of sft: what a trajectory must fulfil, such as em == 1 or 0.1 <= recall; all when empty."""
    epochs: int = Field(1, ge=1)
    """Of sft: passes over the trajectories."""
    batch: int = Field(32, ge=1)
    """Of sft: segments per optimizer step."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Values of the recipe that differ; `steps` stands for trainer.steps."""

    @model_validator(mode="before")
    @classmethod
    def _others_are_of_the_recipe(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        others = {key: value for key, value in values.items() if key not in own}
        if "steps" in others:
            others = merged(others, {"trainer": {"steps": others["steps"]}})
            del others["steps"]
        return own | {"recipe": merged(own.get("recipe") or {}, others)}

    @model_validator(mode="after")
    def _is_asked_for_what_it_does(self) -> StageSettings:
        fields = type(self).model_fields
        given = [name for name in _OF_SFT if getattr(self, name) != fields[name].default]
        if self.kind == "rl" and given:
            raise ValueError(f'{", ".join(sorted(given))}: of stages with kind = "sft" only')
        if self.rounds > 1 and not self.samples:
            raise ValueError("rounds: of a stage with samples only, which each round draws anew")
        if given := sorted(self.recipe.keys() & {"model", "name", "stage"}):
            raise ValueError(
                f"{', '.join(given)}: of the whole recipe only; a stage starts from the model "
                "of the one before"
            )
        return self


def merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with others in their place; tables are merged, all else is replaced.

    >>> merged({"trainer": {"steps": 9, "kl": 0.0}}, {"trainer": {"steps": 5}, "seed": 1})
    {'trainer': {'steps': 5, 'kl': 0.0}, 'seed': 1}
    """
    both = dict(values)
    for key, value in others.items():
        before = both.get(key)
        tables = isinstance(before, Mapping) and isinstance(value, Mapping)
        both[key] = merged(before, value) if tables else value  # type: ignore[arg-type]
    return both
