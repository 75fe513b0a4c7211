"""How long a thread that computes waits for the others without letting go of its processor.

Between two products of matrices the threads of OpenMP wait for one another by spinning, libgomp for some
10 ms by default and libiomp for 200 ms. On a quiet machine the others arrive within microseconds. On one
that is shared they have often lost their processor to somebody else, and who spins for them keeps them
from getting it back: a training pass of 1.5 seconds takes a minute. Threads that sleep at once would
cost a quarter of the time of small models on a quiet machine. So they spin for about as long as it
takes to be woken, and then sleep.

The number of threads is left alone: sums of large matrices depend on it in their last bits, and a run
that is resumed beside other work has to give the same weights.

OpenMP reads its settings when it is loaded, so `bound_spinning` comes before torch.
"""

from __future__ import annotations

import os
import sys
from typing import Any

SPINS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""Turns of a loop (libgomp), of 10 to 50 ns each, and milliseconds (libiomp, libomp)."""
_USERS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def bound_spinning() -> None:
    """Limit the spinning of OpenMP's threads, unless the user has said how they are to wait.

    Processes that are started from here inherit it.
    """
    if not any(name in os.environ for name in _USERS) and "torch" not in sys.modules:
        os.environ.update(SPINS)


def _processors() -> int | None:
    """Those that this process may use; macOS knows only those that there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def described() -> dict[str, Any]:
    """How many threads compute and how they wait, for the record of a run."""
    waiting = {name: os.environ[name] for name in _USERS if name in os.environ}
    described: dict[str, Any] = {"processors": _processors(), "waiting": waiting}
    if "torch" in sys.modules:
        described["threads"] = sys.modules["torch"].get_num_threads()
    return described
