"""Simulators by name, measured against the real engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from innersearch.assemble.models import conventions_named, model_path
from innersearch.config import SimulatorSettings
from innersearch.progress import Progress, silent
from innersearch.simulator.loading import open_simulator
from innersearch.simulator.measure import Imitation, fidelity, imitate
from innersearch.simulator.pairs import HELD_OUT, read_pairs, useful_pages


def measure_simulator(
    name: str,
    settings: SimulatorSettings,
    pairs: Path | None = None,
    max_queries: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """How true a simulator is to the real engine; see `fidelity`.

    Args:
        name: Its directory, or URL#NAME of a chat endpoint and its model; `world` is the bundled model.
        settings: How it writes; without a prompt, in the words that it expects.
        pairs: File of labelled pairs; those held out when it was trained, by default.
        max_queries: Queries at most; 0 takes all.
        progress: Told how many queries are done.

    Raises:
        InnersearchError: It cannot be opened, or there are no pairs.
    """
    path = model_path(name)
    prompt = settings.prompt or conventions_named(name).simulator_prompt
    simulator = open_simulator(path, settings.model_copy(update={"prompt": prompt}))
    found = useful_pages(read_pairs(pairs or Path(path) / HELD_OUT), max_queries)

    async def run() -> list[Imitation]:
        try:
            return await imitate(simulator, found, lambda n: progress("writing", n, len(found)))
        finally:
            await simulator.close()

    return fidelity(asyncio.run(run()))
