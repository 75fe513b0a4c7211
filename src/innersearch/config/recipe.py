"""One training run, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from innersearch.config.agent import AgentSettings
from innersearch.config.base import Settings
from innersearch.config.earlier import demand_todays_keys, of_today
from innersearch.config.prompt import PromptSettings
from innersearch.config.reward import SSRL, MaskSettings, Reward
from innersearch.config.rollout import RolloutSettings
from innersearch.config.search import SearchSettings
from innersearch.config.stages import StageSettings, merged
from innersearch.config.trainer import GuardSettings, SamplingSettings, TrainerSettings, VerlSettings


class Recipe(Settings):
    """One training run."""

    name: str = "ssrl"
    """Name of the recipe and default name of the run."""
    model: str = ""
    """A Hugging Face model directory or hub id, or `world` for the bundled model."""
    data: str = ""
    """A file of questions (.jsonl, .csv, .parquet and more), a directory of parts, or `world:train`."""
    groups: tuple[str, ...] = ()
    """Only questions of these groups; all when empty."""
    balance_groups: bool = False
    """Repeat the questions of smaller groups, so that every group has about the same share."""
    shuffle_gold: bool = False
    """Give every question the gold answers of another one, drawn by the seed: a control, in which the
    reward knows nothing of what is right."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Every random number follows from it."""
    prompt: PromptSettings = PromptSettings()
    search: SearchSettings = SearchSettings()
    reward: Reward = SSRL
    """What a trajectory is worth: [[reward]] tables, or a line such as 0.9*em + 0.1*format:strict."""
    mask: MaskSettings = MaskSettings()
    rollout: RolloutSettings = RolloutSettings()
    agent: AgentSettings = AgentSettings()
    """A program that asks the model and searches, in place of rollouts."""
    sampling: SamplingSettings = SamplingSettings()
    trainer: TrainerSettings = TrainerSettings()
    verl: VerlSettings = VerlSettings()
    guard: GuardSettings = GuardSettings()
    stage: tuple[StageSettings, ...] = ()
    """[[stage]] tables, trained one after another, each from the model of the one before."""

    @classmethod
    def recorded(cls, values: Any) -> Self:
        """The recipe of a recipe.json, also of an earlier version."""
        return cls.model_validate(of_today(values) if isinstance(values, Mapping) else values)

    def stages(self) -> list[Recipe]:
        """The recipe of every stage; that of a recipe without stages is itself.

        Raises:
            ValueError: A stage has a value that no recipe can have.
        """
        if not self.stage:
            return [self]
        shared = self.model_dump(exclude={"stage"})
        return [self._staged(number, shared) for number in range(len(self.stage))]

    def _staged(self, number: int, shared: Mapping[str, Any]) -> Recipe:
        stage = self.stage[number]
        try:
            return Recipe.model_validate(merged(shared, stage.recipe))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            said = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"stage {number + 1} {stage.name!r}, {place}: {said}") from error

    @model_validator(mode="before")
    @classmethod
    def _has_todays_names(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            demand_todays_keys(values)
        return values

    @model_validator(mode="after")
    def _stages_are_recipes(self) -> Self:
        if len({stage.name for stage in self.stage} - {""}) < len(self.stage):
            raise ValueError("every [[stage]] needs a name of its own")
        self.stages()
        return self

    @model_validator(mode="after")
    def _learns_by_gradients(self) -> Self:
        if self.search.rule.learning is not None:
            raise ValueError(
                f"search.router {self.search.router} learns in use, and checkpoints hold nothing of "
                "that: train with a gate or another router, and use this one in eval and ask"
            )
        return self

    @field_validator("name")
    @classmethod
    def _names_one_folder(cls, name: str) -> str:
        if not name.strip(" .") or not name.isprintable() or "/" in name or "\\" in name:
            raise ValueError(
                "the name is that of a folder below runs/: give some letters or digits and no slashes; "
                "any directory can be given by --output"
            )
        return name
