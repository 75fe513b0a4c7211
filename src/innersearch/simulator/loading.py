"""Opens the directory of a simulator.

    <directory>/           Hugging Face model directory
    <directory>/simulator.json   prompt, words and gold that it was trained with

Any other model directory can play the engine in prompted mode.
"""

from __future__ import annotations

import asyncio

from innersearch.config import SimulatorSettings
from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, ModelError
from innersearch.identity import snapshot
from innersearch.net.patience import CallSettings
from innersearch.policy.gguf import model_directory
from innersearch.rows.files import directory
from innersearch.search.base import Engine
from innersearch.search.curriculum import Curriculum
from innersearch.search.kinds import EngineKind, Opening
from innersearch.simulator.engine import SimulatedEngine
from innersearch.simulator.writers import ChatWriter, LocalWriter, Writer
from innersearch.stored import read_json
from innersearch.weights import fingerprint

_WRITING_S = 180.0
"""Longest call of an endpoint: hundreds of tokens, from a server that writes hundreds at once."""

TRAINED = "simulator.json"
"""The file with what a simulator was trained with."""


def open_simulator(
    name: str,
    settings: SimulatorSettings,
    curriculum: Curriculum | None = None,
    calls: CallSettings | None = None,
) -> SimulatedEngine:
    """The engine that a model plays.

    Args:
        name: Model directory or hub id, or a chat endpoint and its model, written URL#NAME.
        settings: How it writes; a tuned simulator knows its own prompt.
        curriculum: When it writes noise; never by default.
        calls: How patiently an endpoint is called.

    Raises:
        ConfigError: The mode is tuned and the model was not trained as a simulator.
        ModelError: There is no such model.
    """
    if not name:
        raise ConfigError("no simulator given: write simulated:DIR, or simulated:URL#NAME")
    settings = as_trained(name, settings)
    return SimulatedEngine(open_writer(name, settings, calls), settings, curriculum)


def demand_simulator(path: str, settings: SimulatorSettings) -> None:
    """Check a simulator's directory without reading its weights.

    Raises:
        ConfigError: As `open_simulator`.
        ModelError: There is no such model.
    """
    # Late: an endpoint is asked where transformers is not installed, too.
    from innersearch.policy.loading import demand_loadable, load_tokenizer

    as_trained(path, settings)
    path = model_directory(path)
    demand_loadable(path, load_tokenizer(path))


def open_writer(name: str, settings: SimulatorSettings, calls: CallSettings | None = None) -> Writer:
    """The language model of a name as for `open_simulator`.

    Raises:
        ConfigError: An address lacks its model.
        ModelError: There is no such model.
    """
    if not is_address(name):
        from innersearch.policy.loading import load_model, load_tokenizer
        from innersearch.policy.transformers import TransformersPolicy

        name = model_directory(name)
        model, tokenizer = load_model(name), load_tokenizer(name)
        policy = TransformersPolicy.of(model, tokenizer, settings.max_batch)
        folder = snapshot(name)
        return LocalWriter(name, policy, tokenizer, settings, fingerprint(folder) if folder else "")
    url, _, model_name = name.partition("#")
    if not model_name:
        raise ConfigError("the address of the simulator lacks its model: write URL#NAME")
    return ChatWriter(url, model_name, settings, calls)


def as_trained(path: str, settings: SimulatorSettings) -> SimulatorSettings:
    """The settings with what a tuned simulator was trained with."""
    if settings.mode == "prompted" or is_address(path):
        return settings
    folder = directory(path)
    if not folder.is_dir():
        raise ModelError(
            f"no simulator at {path}; make one with `innersearch simulator collect`, `label` and `train`"
        )
    if not (folder / TRAINED).is_file():
        raise ConfigError(
            f"{path} was not trained as a simulator (no {TRAINED}): train one with `innersearch "
            "simulator train`, or take it as it is with simulator.mode prompted"
        )
    try:
        trained = read_json(folder / TRAINED)["settings"]
        return SimulatorSettings.model_validate(settings.model_dump() | trained)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder / TRAINED} is damaged: {error}; train the simulator again") from error


def is_address(name: str) -> bool:
    """Whether a name is the address of an endpoint."""
    return name.startswith(("http://", "https://"))


def _open(name: EngineName, opening: Opening) -> Engine:
    settings, calls = opening.settings, opening.calls(deadline_s=_WRITING_S)
    writing = settings.simulator
    if settings.in_flight and is_address(name.place):
        writing = writing.model_copy(update={"max_batch": settings.in_flight})
    return open_simulator(name.place, writing, opening.curriculum, calls)


def _check(name: EngineName, opening: Opening) -> None:
    if not name.place or is_address(name.place):
        asyncio.run(_open(name, opening).close())
    else:
        demand_simulator(name.place, opening.settings.simulator)


KIND = EngineKind(
    "simulated",
    "simulated",
    _open,
    network=True,
    alone=True,
    check=_check,
    summary="a language model that plays the search engine: simulated:MODEL",
)
