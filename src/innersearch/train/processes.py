"""Several processes that train one model: who they are, and how they stay together.

Launchers (`accelerate launch`, `torchrun`) tell each process its rank by environment variables. Every
rank rolls out its own questions' whole groups; the first one keeps the records. What fails on one rank
is raised on all of them, for a rank that left alone would leave the others waiting for ever. What they
tell each other is JSON.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from pydantic import TypeAdapter
from torch import distributed
from torch.distributed.tensor import DTensor

from innersearch import errors
from innersearch.config import Recipe, SearchSettings
from innersearch.errors import ConfigError, InnersearchError, ModelError, RunError
from innersearch.locks import held
from innersearch.routing.signals import SAMPLED

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


def largest(number: int) -> int:
    """The largest of the numbers of all processes."""
    return number if count() == 1 else max(_unpacked(data) for data in _to_all(_packed(number)))


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
    said = [type(error).__name__, str(error)] if error else None
    everybodys = [_unpacked(data) for data in _to_all(_packed(said))]
    # Its own error, for that one has a traceback.
    if error is not None:
        raise error
    for number, failed in enumerate(everybodys):
        if failed is not None:
            raise _error_of(number, *failed)
    return result


def _error_of(number: int, name: str, text: str) -> Exception:
    """The error of another process: as it is if it is one of ours, else told of."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, InnersearchError):
        return kind(text)
    return RunError(f"process {number} failed: {name}: {text}")


def by_first(work: Callable[[], T], kind: Any = Any) -> T:
    """What `work` returns in the first process, which alone does it; its error is raised everywhere.

    `kind` is the type of what it returns, which the others get as JSON.
    """
    if count() == 1:
        return work()
    result: Any = together(work if is_first() else lambda: None)
    data = _from_first(_packed(result, kind) if is_first() else b"")
    return result if is_first() else _unpacked(data, kind)


@contextmanager
def first_holds(folder: Path, what: str) -> Iterator[None]:
    """During the block no other training writes the folder; the first process holds it for all.

    Raises:
        RunError: Another one does, which is named, or the folder cannot be written to.
    """
    with ExitStack() as stack:
        by_first(lambda: _enter(stack, folder, what))
        yield


def _enter(stack: ExitStack, folder: Path, what: str) -> None:
    stack.enter_context(held(folder, what))


def to_first(values: list[T], kind: Any = Any) -> list[T]:
    """The values of all processes in the order of their ranks, in the first one; nothing elsewhere.

    `kind` is their type; they are sent as JSON.
    """
    if count() == 1:
        return values
    parts = _gathered(_packed(values, list[kind]))
    return [value for part in parts for value in _unpacked(part, list[kind])]


def _packed(value: Any, kind: Any = Any) -> bytes:
    """A value as JSON. Its numbers are whole: neither is a float rounded, nor one that is none lost."""
    plain = TypeAdapter(kind).dump_python(value, mode="json")
    return zlib.compress(json.dumps(plain).encode(), 1)


def _unpacked(data: bytes, kind: Any = Any) -> Any:
    return TypeAdapter(kind).validate_python(json.loads(zlib.decompress(data)))


def _device() -> torch.device:
    return PartialState().device


def _padded(data: bytes) -> tuple[torch.Tensor, list[int]]:
    """Bytes as a tensor as long as the longest of all processes, and how many each has."""
    size = torch.tensor([len(data)], device=_device())
    sizes = [torch.zeros_like(size) for _ in range(count())]
    distributed.all_gather(sizes, size)
    padded = torch.zeros(max(map(int, sizes)), dtype=torch.uint8)
    padded[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return padded.to(_device()), [int(size) for size in sizes]


def _cut(parts: Sequence[torch.Tensor], sizes: Sequence[int]) -> list[bytes]:
    return [part[:size].cpu().numpy().tobytes() for part, size in zip(parts, sizes, strict=True)]


def _to_all(data: bytes) -> list[bytes]:
    padded, sizes = _padded(data)
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return _cut(parts, sizes)


def _gathered(data: bytes) -> list[bytes]:
    """What every process sends, in the first one."""
    padded, sizes = _padded(data)
    parts = [torch.empty_like(padded) for _ in sizes] if is_first() else None
    distributed.gather(padded, parts)
    return _cut(parts, sizes) if parts else []


def _from_first(data: bytes) -> bytes:
    size = torch.tensor([len(data)], device=_device())
    distributed.broadcast(size, 0)
    sent = bytearray(data) if is_first() else bytearray(int(size))
    whole = torch.frombuffer(sent, dtype=torch.uint8).to(_device())
    distributed.broadcast(whole, 0)
    return whole.cpu().numpy().tobytes()


def demand_same_weights(model: torch.nn.Module) -> None:
    """Check that every process holds the same weights, by the sum of each tensor.

    Raises:
        ModelError: They do not; what trained them apart is a fault to be reported.
    """
    if count() == 1 or are_sharded():
        return
    sums = torch.stack([p.detach().double().sum() for p in model.parameters()]).to(_device())
    everybodys = [torch.empty_like(sums) for _ in range(count())]
    distributed.all_gather(everybodys, sums)
    # As bits, for two numbers that are none are not equal.
    bits = [others.view(torch.int64) for others in everybodys]
    if any(not torch.equal(others, bits[0]) for others in bits):
        raise ModelError("the processes hold different weights, so their training has gone apart")


def _local(weights: torch.Tensor) -> torch.Tensor:
    """What this process holds of some weights."""
    return weights.to_local() if isinstance(weights, DTensor) else weights


def are_finite(model: torch.nn.Module) -> bool:
    """Whether every weight of a model is a number, in all processes."""
    here = all(bool(torch.isfinite(p.detach()).all()) for p in map(_local, model.parameters()))
    return here if count() == 1 else all(_unpacked(data) for data in _to_all(_packed(here)))


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
    if share * plan.group_size // plan.micro_batch % plan.updates:
        raise ConfigError(
            f"trainer.updates = {plan.updates} does not divide the "
            f"{share * plan.group_size // plan.micro_batch} micro-batches of each of {processes} "
            "processes: choose a divisor, or a smaller trainer.micro_batch"
        )
    if are_sharded() and plan.optimizer == "muon":
        raise ConfigError(
            "muon needs whole matrices: with FSDP or DeepSpeed take trainer.optimizer adamw"
        )


def sequences_at_once(recipe: Recipe) -> int:
    """Sequences that rollouts have in flight here at most: no more than the steps that may be under way
    have for this process.

    A gate on consistency samples its information several times for each of them.
    """
    plan, search = recipe.trainer, recipe.search
    each = 1 + search.samples if search.rule.signal in SAMPLED else 1
    mine = -(-plan.prompts_per_step * plan.group_size // count())
    return min(recipe.sampling.max_batch, mine * each * (plan.ahead + 1))


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
