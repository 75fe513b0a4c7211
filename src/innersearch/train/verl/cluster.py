"""Whether a run can start at all: verl, its configuration, and the machines. All before anything costs.

Ray waits for ever, without a word, for processors that no machine has (verl issues 7155 and 7656).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from innersearch.config import Recipe
from innersearch.errors import ConfigError, RunError, installing
from innersearch.train.verl.settings import cpus_per_node

VERL = "0.9.1"
"""The version whose agent loop and configuration this adapter is written for."""
INSTALL = installing("verl")


class Machine(NamedTuple):
    """What Ray may use of one machine."""

    cpus: float
    gpus: float


def demand_verl() -> None:
    """Refuse to go on without verl, or with another version of it.

    Raises:
        ConfigError: There is none, or it is another one.
    """
    try:
        found = version("verl")
    except PackageNotFoundError as error:
        raise ConfigError(
            f"--trainer verl needs verl {VERL}: {INSTALL}, best in a virtual environment of its own, "
            "since it comes with torch 2.11.0, vllm 0.24.0 and transformers 5.9.0"
        ) from error
    if found != VERL:
        raise ConfigError(f"the adapter is written for verl {VERL}, found {found}: {INSTALL}")


def demand_vllm() -> None:
    """Refuse to go on without vLLM, which verl samples with.

    Raises:
        ConfigError: There is none.
    """
    if find_spec("vllm") is None:
        raise ConfigError(f"verl samples with vLLM, which is not installed: {INSTALL}")


def check_keys(overrides: Sequence[str]) -> None:
    """Compose verl's configuration, which refuses names it does not know.

    Raises:
        ConfigError: It cannot be composed.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    spec = find_spec("verl")
    assert spec  # noqa: S101
    assert spec.origin  # noqa: S101
    folder = Path(spec.origin).parent / "trainer" / "config"
    try:
        with initialize_config_dir(str(folder), version_base=None):
            compose("ppo_trainer", overrides=list(overrides))
    except HydraException as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"verl's configuration refuses the settings: {reason}") from error


def machines() -> list[Machine]:
    """The machines of the Ray cluster that is running here, or this one where none is.

    Raises:
        RunError: RAY_ADDRESS names a cluster that does not answer.
    """
    import ray

    try:
        ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        if address := os.environ.get("RAY_ADDRESS"):
            raise RunError(f"no Ray cluster answers at RAY_ADDRESS = {address}: {error}") from error
        import torch

        return [Machine(os.cpu_count() or 1, torch.cuda.device_count())]
    try:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [Machine(found.get("CPU", 0), found.get("GPU", 0)) for found in alive]
    finally:
        ray.shutdown()


def demand_machines(recipe: Recipe, found: Sequence[Machine]) -> None:
    """Refuse a run that would wait for machines for ever.

    Raises:
        RunError: There are too few, or with too few GPUs or CPUs.
    """
    wanted = recipe.verl
    with_gpus = [machine for machine in found if machine.gpus >= wanted.gpus_per_node]
    seen = "; ".join(f"{machine.gpus:g} GPUs, {machine.cpus:g} CPUs" for machine in found) or "none"
    if len(with_gpus) < wanted.nodes:
        raise RunError(
            f"the run needs {wanted.nodes} machines with {wanted.gpus_per_node} GPUs each, Ray has: "
            f"{seen}; set --verl.nodes and --verl.gpus-per-node, or start Ray on more machines"
        )
    needed = cpus_per_node(recipe)
    if sum(machine.cpus >= needed for machine in with_gpus) < wanted.nodes:
        raise RunError(
            f"verl reserves {needed} CPUs on each machine, 3 for each GPU and 4 beside, and waits for "
            f"ever for them; Ray has: {seen}; start Ray with more (ray start --num-cpus {needed}) or "
            "set --verl.gpus-per-node lower"
        )
