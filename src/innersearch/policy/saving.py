"""Makes configurations savable that were published and cannot be saved: a training run ends with saving.

transformers reads a generation config with contradictions in it (no sampling, but a temperature), and
sampling settings in a model's config.json, and refuses to write either. Nothing here samples by them, so
what stands in the way is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from innersearch.errors import ModelError

_FIRST = ("do_sample", "num_beams", "return_dict_in_generate", "use_cache", "num_return_sequences")
"""What others are held against."""
_TOKENS = ("eos_token_id", "bos_token_id", "pad_token_id")


def make_savable(model: PreTrainedModel, path: str) -> list[str]:
    """Leave out what cannot be saved again, and say what that is, one sentence each.

    Raises:
        ModelError: The configuration cannot be saved even so.
    """
    said = []
    if inside := _sampling_in(model.config):
        for name in inside:
            setattr(model.config, name, None)
        said.append(
            f"the config.json of {path} holds settings of sampling, which cannot be saved there and are "
            f"left out: {', '.join(inside)}"
        )
    generation: Any = getattr(model, "generation_config", None)
    if generation is not None and not _saves(generation):
        mended, left_out = _mended(generation)
        model.generation_config = mended
        said.append(
            f"the generation_config.json of {path} contradicts itself and could not be saved; left out, "
            f"since nothing here samples by it: {', '.join(left_out)}"
        )
    if not _saves(model.config):
        raise ModelError(f"the config.json of {path} cannot be saved again by transformers: correct it")
    return said


def _sampling_in(config: Any) -> list[str]:
    return sorted(config._get_generation_parameters())


def _saves(config: Any) -> bool:
    # A config that is as it was loaded would be saved whatever it says; training changes it.
    if isinstance(config, GenerationConfig):
        config = _copy(config, config.to_dict())
    try:
        with TemporaryDirectory() as folder:
            config.save_pretrained(folder)
    except (ValueError, TypeError, AttributeError):
        return False
    return True


def _copy(config: GenerationConfig, values: dict[str, Any]) -> GenerationConfig:
    made = type(config)()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _mended(config: GenerationConfig) -> tuple[GenerationConfig, list[str]]:
    """As much of a config as can be saved together, and the names of the rest."""
    kept: dict[str, Any] = {}
    left_out = []
    for name, value in _by_weight(config):
        if _saves(_copy(config, kept | {name: value})):
            kept[name] = value
        else:
            left_out.append(name)
    return _copy(config, kept), left_out


def _by_weight(config: GenerationConfig) -> Iterator[tuple[str, Any]]:
    given = config.to_diff_dict()
    order = [*_TOKENS, *_FIRST, *sorted(given)]
    yield from ((name, given[name]) for name in dict.fromkeys(order) if name in given)
