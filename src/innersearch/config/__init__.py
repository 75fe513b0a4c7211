"""A recipe: everything that makes one training run, as data.

A recipe is a TOML file; any value can be overridden on the command line by its dotted name
(`--trainer.steps 40`). The defaults are the published SSRL settings where there are any.
"""

from innersearch.config.agent import AgentSettings
from innersearch.config.prompt import PromptSettings
from innersearch.config.recipe import Recipe
from innersearch.config.reward import MaskSettings, TermSettings
from innersearch.config.rollout import RolloutSettings
from innersearch.config.search import NoiseSettings, SearchSettings
from innersearch.config.simulator import SimulatorSettings, TuningSettings
from innersearch.config.trainer import (
    GuardSettings,
    LoraSettings,
    SamplingSettings,
    TrainerSettings,
    VerlSettings,
)

__all__ = [
    "AgentSettings",
    "GuardSettings",
    "LoraSettings",
    "MaskSettings",
    "NoiseSettings",
    "PromptSettings",
    "Recipe",
    "RolloutSettings",
    "SamplingSettings",
    "SearchSettings",
    "SimulatorSettings",
    "TermSettings",
    "TrainerSettings",
    "TuningSettings",
    "VerlSettings",
]
