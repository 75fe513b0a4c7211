"""Low-rank adapters of policies: their configuration, and merging them into the model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from innersearch.config import LoraSettings
from innersearch.errors import ConfigError, ModelError, did_you_mean, installing
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.weights import demand_filled, demand_whole_files, header

ALL = ("all-linear",)
"""Targets that stand for every linear layer but the head."""
_FILE = "adapter_config.json"


def adapters(settings: LoraSettings) -> Any:
    """PEFT's configuration for some settings.

    Raises:
        ConfigError: PEFT is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ConfigError(f"low-rank adapters need peft: {installing('lora')}") from error
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or 2 * settings.rank,
        lora_dropout=settings.dropout,
        target_modules="all-linear" if settings.targets == ALL else list(settings.targets),
        task_type="CAUSAL_LM",
    )


def demand_targets(model: PreTrainedModel, settings: LoraSettings) -> None:
    """Check that every target ends the name of a linear layer of the model other than its head.

    Raises:
        ConfigError: One is not: PEFT would leave it out without a word, and TRL computes
            log-probabilities from the head's own weight, so that an adapter on it would never train.
    """
    head = model.get_output_embeddings()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    layers = [name for name, module in linear.items() if module is not head]
    for target in () if settings.targets == ALL else settings.targets:
        if any(_ends(name, target) for name in layers):
            continue
        known = did_you_mean(target, {name.rpartition(".")[2] for name in layers})
        if any(_ends(name, target) for name in linear):
            raise ConfigError(
                f"trainer.lora.targets: {target!r} is the head, which takes no adapter; {known}"
            )
        raise ConfigError(f"trainer.lora.targets: the model has no linear layer {target!r}; {known}")


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def are_in(folder: Path) -> bool:
    """Whether a checkpoint holds adapters instead of a whole model."""
    return (folder / _FILE).is_file()


def merge(base: str, folder: Path, output: Path) -> None:
    """Write the model `base` with the adapters in `folder` merged into its weights, in float32.

    Raises:
        ModelError: There is no model at `base`, or the adapters belong to another one.
    """
    from peft import PeftModel

    demand_whole_files(folder)
    model = load_model(base)
    try:
        with warnings.catch_warnings():
            # What is missing is refused below.
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            adapted = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"the adapters in {folder} do not fit {base}: {error}") from error
    _demand_all(adapted, base, folder)
    merged: Any = adapted.merge_and_unload()
    merged.save_pretrained(output)
    load_tokenizer(base).save_pretrained(output)


def _demand_all(adapted: Any, base: str, folder: Path) -> None:
    """Refuse adapters of another model, and such as lack some: PEFT fills those up and goes on."""
    from peft import get_peft_model_state_dict

    files = sorted(folder.glob("adapter_model*.safetensors"))
    found = {name for file in files for name in header(file)[1]}
    wanted = set(get_peft_model_state_dict(adapted))
    if files and (left := sorted(found - wanted)):
        raise ModelError(
            f"the adapters in {folder} do not fit {base}: it has no place for {left[0]}; give the model "
            "that they were trained on"
        )
    if files:
        report = {"missing_keys": sorted(wanted - found), "mismatched_keys": (), "unexpected_keys": ()}
        demand_filled(report, folder)
