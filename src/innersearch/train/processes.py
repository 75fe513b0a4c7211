"""Several processes that train one model: who they are, and how they stay together.

Launchers (`accelerate launch`, `torchrun`) tell each process its rank by environment variables. Every
rank rolls out its own questions' whole groups; the first one keeps the records. What fails on one rank
is raised on all of them, for a rank that left alone would leave the others waiting for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import distributed

from innersearch.config import Recipe, SearchSettings
from innersearch.errors import ConfigError, ModelError
from innersearch.locks import held

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: one may have a slow search engine, with outages."""
_NUMBERS = {"RANK": "0", "LOCAL_RANK": "-1", "WORLD_SIZE": "1"}
"""Variables that launchers set, and what they are where there is no launcher."""
_MEETING = ("MASTER_ADDR", "MASTER_PORT")
_LAUNCHERS = "`accelerate launch` and torchrun set all of these: use one, or unset them"


def join() -> None:
    """Meet the other processes, if a launcher started several: over NCCL with GPUs, else over gloo.

    Raises:
        ConfigError: The variables that launchers set do not fit together.
    """
    if _launched() > 1:
        PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)


def _launched() -> int:
    """How many processes a launcher started, by the variables that it sets for each of them."""
    names = (*_NUMBERS, *_MEETING)
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    said = " ".join(f"{name}={text}" for name, text in given.items())
    try:
        rank, here, total = (int(given.get(name, lacking)) for name, lacking in _NUMBERS.items())
    except ValueError:
        raise ConfigError(f"{said}: {', '.join(_NUMBERS)} are whole numbers; {_LAUNCHERS}") from None
    if total < 2 and here < 0:
        return 1
    if lacking := [name for name in names if name not in given]:
        raise ConfigError(f"{said} without {', '.join(lacking)}; {_LAUNCHERS}")
    if not (0 <= rank < total and 0 <= here < total):
        raise ConfigError(f"{said}: RANK and LOCAL_RANK must be below WORLD_SIZE; {_LAUNCHERS}")
    return total


def missing() -> str:
    """What a user should know who asked accelerate for several processes and got one; else empty."""
    asked = "MASTER_ADDR" in os.environ and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    if not asked or "WORLD_SIZE" in os.environ:
        return ""
    return (
        "accelerate launch --cpu starts one process only, unless it has MPI: for several, use torchrun "
        "or --config_file recipes/accelerate/cpu.yaml"
    )


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this process keeps the records."""
    return rank() == 0


def wait() -> None:
    """Go on when every process is here."""
    if count() > 1:
        distributed.barrier()


def together(work: Callable[[], T]) -> T:
    """What `work` returns here, once it has returned everywhere; an error is raised everywhere."""
    if count() == 1:
        return work()
    result: Any = None
    error: Exception | None = None
    try:
        result = work()
    except Exception as raised:
        error = raised
    errors: list[Any] = [None] * count()
    distributed.all_gather_object(errors, error)
    # Its own error first, for that one has a traceback.
    for failed in (error, *errors):
        if failed is not None:
            raise failed
    return result


def by_first(work: Callable[[], T]) -> T:
    """What `work` returns in the first process, which alone does it; its error is raised everywhere."""
    if count() == 1:
        return work()
    box: list[Any] = [together(work if is_first() else lambda: None)]
    distributed.broadcast_object_list(box)
    return box[0]


@contextmanager
def first_holds(folder: Path, what: str) -> Iterator[None]:
    """During the block no other training writes the folder; the first process holds it for all.

    Raises:
        RunError: Another one does, which is named, or the folder cannot be written to.
    """
    with ExitStack() as stack:
        by_first(lambda: stack.enter_context(held(folder, what)))
        yield


def to_first(values: list[T]) -> list[T]:
    """The values of all processes in the order of their ranks, in the first one; nothing elsewhere."""
    if count() == 1:
        return values
    parts: list[Any] | None = [None] * count() if is_first() else None
    distributed.gather_object(values, parts)
    return [value for part in parts or [] for value in part]


def demand_same_weights(model: torch.nn.Module) -> None:
    """Check that every process holds the same weights, by the sum of each tensor.

    Raises:
        ModelError: They do not; what trained them apart is a fault to be reported.
    """
    if count() == 1 or are_sharded():
        return
    sums = torch.stack([p.detach().double().sum() for p in model.parameters()]).tolist()
    everybodys: list[Any] = [None] * count()
    distributed.all_gather_object(everybodys, sums)
    # Written out, for two numbers that are none are not equal.
    if any(repr(others) != repr(everybodys[0]) for others in everybodys):
        raise ModelError("the processes hold different weights, so their training has gone apart")


def are_sharded() -> bool:
    """Whether accelerate was told to spread weights or optimizer states over the processes."""
    return any(
        os.environ.get(f"ACCELERATE_USE_{kind}", "false").lower() == "true"
        for kind in ("FSDP", "DEEPSPEED")
    )


def demand_equal_shares(recipe: Recipe) -> None:
    """Check that a step's questions can be dealt to the processes in whole groups.

    Raises:
        ConfigError: They cannot, or the share of a process is no multiple of its micro-batch, or the
            optimizer needs whole matrices and they are spread.
    """
    plan, processes = recipe.trainer, count()
    share, left = divmod(plan.prompts_per_step, processes)
    if left:
        raise ConfigError(
            f"trainer.prompts_per_step = {plan.prompts_per_step} cannot be dealt to {processes} "
            "processes: choose a multiple of their number"
        )
    if share * plan.group_size % plan.micro_batch:
        raise ConfigError(
            f"trainer.micro_batch = {plan.micro_batch} does not divide the {share} × {plan.group_size} "
            f"trajectories of each of {processes} processes: choose a divisor of "
            f"{share * plan.group_size}"
        )
    if are_sharded() and plan.optimizer == "muon":
        raise ConfigError(
            "muon needs whole matrices: with FSDP or DeepSpeed take trainer.optimizer adamw"
        )


def sequences_at_once(recipe: Recipe) -> int:
    """Sequences that rollouts have in flight here at most: no more than a step has for this process.

    A gate on consistency samples its information several times for each of them.
    """
    plan, search = recipe.trainer, recipe.search
    each = 1 + search.samples if "consistency" in search.router else 1
    mine = -(-plan.prompts_per_step * plan.group_size // count())
    return min(recipe.sampling.max_batch, mine * each)


def budget_share(settings: SearchSettings) -> SearchSettings:
    """The settings with this process's equal part of what calls may cost: each counts on its own."""
    limits = {"max_calls": settings.max_calls // count(), "max_usd": settings.max_usd / count()}
    if settings.max_calls and not limits["max_calls"]:
        raise ConfigError(
            f"search.max_calls = {settings.max_calls} leaves no call to each of {count()} processes: "
            "raise it"
        )
    return settings.model_copy(update=limits)


def own_name(name: str) -> str:
    """The name of a file that every process has one of; the first one's is plain.

    >>> own_name("budget.json")
    'budget.json'
    """
    path = Path(name)
    return f"{path.stem}-{rank()}{path.suffix}" if rank() else name
