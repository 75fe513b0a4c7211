"""What the names of models stand for, and what those models expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict

from innersearch.config import RolloutSettings
from innersearch.config.conventions import USUAL, Conventions
from innersearch.errors import ConfigError
from innersearch.extensions import Offers
from innersearch.policy.gguf import model_directory
from innersearch.stored import read_object
from innersearch.world.bundled import BUNDLED, NAME
from innersearch.world_1 import bundled as world_1

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODELS: Offers[Path] = Offers(
    "innersearch.models", Path, "model", {NAME: BUNDLED, world_1.NAME: world_1.BUNDLED}
)
"""Models that have a name besides their directory."""
CONVENTIONS: Offers[Conventions] = Offers(
    "innersearch.conventions",
    Conventions,
    "set of conventions",
    {
        NAME: "innersearch.world.conventions:WORLD",
        world_1.NAME: "innersearch.world_1.conventions:WORLD",
    },
)
"""What is expected by models that do not expect the usual."""


def model_path(name: str) -> str:
    """A model directory or hub id; `world` is the bundled model, and a GGUF file is converted once.

    Raises:
        ConfigError: No model is given.
        ModelError: A GGUF file cannot be converted.
    """
    if not name:
        raise ConfigError("no model given: add --model DIR, a Hugging Face model directory")
    return model_directory(str(MODELS.find(name) or name))


def conventions_of(tokenizer: PreTrainedTokenizerBase | None) -> Conventions:
    """What a model with that tokenizer expects; the usual where there is none."""
    if tokenizer is None:
        return USUAL
    return next((known for known in _known() if known.fits(tokenizer)), USUAL)


def conventions_named(model: str) -> Conventions:
    """What a model expects that is given by a name of `MODELS`; the usual for every other."""
    return CONVENTIONS.find(model) or USUAL


def usual_length(prompt: str) -> int:
    """Longest response in an evaluation with that prompt text, in tokens."""
    asking = (known for known in _known() if prompt in (known.prompt, known.real, known.direct))
    return next(asking, USUAL).max_new_tokens


def rollout_settings(
    model: str,
    given: Mapping[str, Any],
    otherwise: Mapping[str, Any] = MappingProxyType({}),
    *,
    direct: bool = False,
) -> RolloutSettings:
    """How a model writes and what it sees next: as it is given, for the rest as the run trained it in
    whose directory it lies, and where there is none as told otherwise or as always. A direct answer
    calls for nothing.

    Raises:
        RunError: The recipe of that run is damaged.
        ConfigError: There is no such grammar, or a package that offers it is not installed.
        ValidationError: A value is impossible.
    """
    trained = {} if direct else _trained(Path(model).absolute()) or dict(otherwise)
    return RolloutSettings.model_validate({**trained, **given})


class _Written(TypedDict):
    """A recipe.json, no more of it than is asked for, so that one of an earlier version can be read."""

    rollout: NotRequired[dict[str, Any]]
    stage: NotRequired[list[_Stage]]


class _Stage(TypedDict):
    recipe: NotRequired[_Written]


def _trained(model: Path) -> dict[str, Any]:
    recipe = model.parent / "recipe.json"
    if model.name != "model" or not recipe.is_file():
        return {}
    values = read_object(recipe, _Written)
    stages = [stage["recipe"] for stage in values.get("stage", ()) if "recipe" in stage]
    return {**values.get("rollout", {}), **(stages[-1].get("rollout", {}) if stages else {})}


def _known() -> Iterator[Conventions]:
    for name in CONVENTIONS.names():
        if (found := CONVENTIONS.find(name)) is not None:
            yield found
