"""What a checkpoint holds of the trainer, without pickle, and random numbers that need no saving.

transformers pickles the optimizer, the schedule, the state of four random generators and all of its
arguments, paths of this machine included. Here optimizer and schedule are one safetensors file, and the
arguments are left out: they follow from the recipe. Random numbers of training, as of the dropout of
adapters, are named by seed, step and process. FSDP and DeepSpeed keep files of their own.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINING_ARGS_NAME

from innersearch.policy.base import stream_key
from innersearch.train import processes

# On every resume it reports the tied language-model head as missing.
logging.getLogger("transformers.trainer").setLevel(logging.ERROR)

STATE = "optimizer.safetensors"
"""Optimizer and schedule of a checkpoint."""
_TREE = "tree"


class SavesPlainly(Trainer):
    """A trainer whose checkpoints hold no pickle; to be inherited from beside one of TRL's."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        (Path(output_dir or str(self.args.output_dir)) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: TRL's names where the model lay on this machine."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if processes.are_sharded():
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.args.should_save:
            states = {name: part.state_dict() for name, part in self._parts().items()}
            save_tree(Path(output_dir) / STATE, states)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if processes.are_sharded():
            super()._load_optimizer_and_scheduler(checkpoint)
        elif checkpoint is not None:
            states = load_tree(Path(checkpoint) / STATE)
            for name, part in self._parts().items():
                part.load_state_dict(states[name])

    def _parts(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, "schedule": self.lr_scheduler}

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing: see `NamedDraws`."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: see `NamedDraws`."""


class NamedDraws(TrainerCallback):
    """Starts the random numbers of each step anew, from seed, step and process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Before the first pass of a step."""
        stream = ("training", state.global_step + 1, processes.rank())
        set_seed(stream_key(self.seed, stream) % 2**32)


def save_tree(path: Path, tree: Any) -> None:
    """Write nested dicts, lists and tuples of tensors, numbers, text, booleans and None."""
    tensors: dict[str, torch.Tensor] = {}
    outline = json.dumps(_outline(tree, tensors))
    save_file(tensors, path, metadata={_TREE: outline})


def load_tree(path: Path) -> Any:
    """What `save_tree` wrote; tensors are on the CPU."""
    with safe_open(path, framework="pt") as file:
        outline = json.loads(file.metadata()[_TREE])
        return _filled(outline, file.get_tensor)


def _outline(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A value as JSON: containers are lists that begin with their kind, since keys may be numbers."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous()
        return ["tensor", name]
    if isinstance(value, dict):
        items = [[_outline(key, tensors), _outline(item, tensors)] for key, item in value.items()]
        return ["dict", *items]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(_outline(item, tensors) for item in value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"an optimizer's state holds a {type(value).__name__}, which is not written")


def _filled(outline: Any, tensor: Any) -> Any:
    if not isinstance(outline, list):
        return outline
    kind, *items = outline
    if kind == "tensor":
        return tensor(*items)
    if kind == "dict":
        return {_filled(key, tensor): _filled(item, tensor) for key, item in items}
    values = [_filled(item, tensor) for item in items]
    return tuple(values) if kind == "tuple" else values
