"""In which type a model computes here: bfloat16 where the CPU is measured to be faster with it.

Rounding moves log-probabilities, and now and then another token is the most likely one. So small models,
which gain nothing, keep float32, and with it every token that was recorded.

    >>> choose("float32").reason
    'as asked'
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

AUTO, STORED = "auto", "stored"
FLOAT32, BFLOAT16 = "float32", "bfloat16"
SMALL = 50_000_000
"""Parameters below which a model always computes in float32."""
GAIN = 1.2
"""How many times as fast bfloat16 must be."""
_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""What CPUs with instructions for bfloat16 are said to have, on Linux."""
_CPUS = Path("/proc/cpuinfo")
_ROWS = (32, 512)
"""Tokens of a pass while sampling, and of one over prompts."""
_TRIES = 5


class Choice(NamedTuple):
    """A type, and why."""

    dtype: str
    reason: str


def choose(asked: str, path: str = "") -> Choice:
    """What is asked, or where that is auto, the type for the model of a directory or hub id.

    Raises:
        ModelError: The model has no configuration that can be read.
    """
    if asked != AUTO:
        return Choice(asked, "as asked")
    import torch

    if torch.cuda.is_available():
        return Choice(FLOAT32, "on a GPU, unless asked")
    shape = _shape(path)
    if shape.parameters < SMALL:
        return Choice(FLOAT32, f"about {shape.parameters / 1e6:.0f} million parameters gain nothing")
    if not has_bfloat16():
        return Choice(FLOAT32, "this CPU has no instructions for bfloat16")
    gain = measured_gain(shape.hidden, shape.intermediate)
    dtype = BFLOAT16 if gain >= GAIN else FLOAT32
    return Choice(dtype, f"this CPU multiplies {gain:.1f} times as fast in bfloat16")


def has_bfloat16(cpus: Path = _CPUS) -> bool:
    """Whether the CPU is said to have instructions for bfloat16; nothing says so but on Linux."""
    try:
        lines = cpus.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return not _FLAGS.isdisjoint(next(flags, "").split())


@cache
def measured_gain(hidden: int, intermediate: int) -> float:
    """How many times as fast bfloat16 multiplies activations by a weight matrix, float32 being 1.

    The smaller of two ratios, for few tokens and for many; each from the processor time of the fastest
    of some tries, so that other processes do not decide.
    """
    return min(
        _seconds(rows, hidden, intermediate, FLOAT32) / _seconds(rows, hidden, intermediate, BFLOAT16)
        for rows in _ROWS
    )


def _seconds(rows: int, hidden: int, intermediate: int, dtype: str) -> float:
    import torch

    kind: torch.dtype = getattr(torch, dtype)
    given, weight = torch.ones(rows, hidden, dtype=kind), torch.ones(intermediate, hidden, dtype=kind)
    taken = []
    with torch.inference_mode():
        for _ in range(_TRIES):
            began = time.process_time()
            torch.nn.functional.linear(given, weight)
            taken.append(time.process_time() - began)
    # The first try fetches what the others find there.
    return max(min(taken[1:]), 1e-6)


class _Shape(NamedTuple):
    hidden: int
    intermediate: int
    parameters: int


def _shape(path: str) -> _Shape:
    """The shape of a model by its configuration, and about how many parameters that makes."""
    from innersearch.policy.loading import configuration

    config: Any = configuration(path).get_text_config()
    hidden = int(getattr(config, "hidden_size", 0) or 0)
    layers = int(getattr(config, "num_hidden_layers", 0) or 0)
    intermediate = int(getattr(config, "intermediate_size", 0) or 4 * hidden)
    layer = 3 * hidden * intermediate + 3 * hidden * hidden
    return _Shape(hidden, intermediate, layers * layer + config.vocab_size * hidden)
