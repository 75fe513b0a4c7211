"""Labels pairs into a file, by rule or by a language model that judges every page, and goes on there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from innersearch.config import SimulatorSettings
from innersearch.progress import Progress, silent
from innersearch.simulator.origin import demand_same_origin, demand_same_pairs
from innersearch.simulator.pairs import Pair, judge, label, write_pairs, written_pairs

_PART = 256
"""Pairs that are judged between two writes to disk."""


def label_by_rule(found: Sequence[Pair], output: Path) -> None:
    """Write the pairs that `output` does not hold yet, labelled by rule.

    Raises:
        RunError: Another judge, or other pairs, wrote `output`.
    """
    write_pairs(output, islice(label(found), _labelled(output, found, "the rule"), None))


def label_by_model(found: Sequence[Pair], name: str, output: Path, progress: Progress = silent) -> None:
    """The same, labelled by a model: its directory, or URL#NAME of a chat endpoint and its model.

    Raises:
        RunError: Another judge, or other pairs, wrote `output`.
        ConfigError: An address lacks its model.
        ModelError: There is no such model.
        SearchError: The endpoint does not answer.
    """
    asyncio.run(_judge(found, name, output, progress))


async def _judge(found: Sequence[Pair], name: str, output: Path, progress: Progress) -> None:
    # Imported late: the rule needs no torch.
    from innersearch.simulator.loading import open_writer

    writer = open_writer(name, SimulatorSettings(mode="prompted", temperature=0, max_new_tokens=8))
    try:
        pairs = found[_labelled(output, found, getattr(writer, "weights", "") or writer.name) :]
        for start in range(0, len(pairs), _PART):
            part = pairs[start : start + _PART]
            write_pairs(output, await asyncio.gather(*(judge(pair, writer) for pair in part)))
            progress("judging", start + len(part), len(pairs))
    finally:
        await writer.close()


def _labelled(output: Path, found: Sequence[Pair], judge: str) -> int:
    """How many of the pairs are labelled already, by the same judge."""
    demand_same_origin(output, {"judge": judge}, judge)
    labelled = list(written_pairs(output))
    demand_same_pairs(output, labelled, found)
    return len(labelled)
