"""A model trained on its own memory, with its first K searches real and the rest its own.

Without further training, as in SSRL's Sim2Real (arXiv 2508.10874).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innersearch.assemble.choices import cached_in
from innersearch.config import SearchSettings
from innersearch.evaluate.evaluation import Evaluation
from innersearch.progress import Progress, silent
from innersearch.records import write_json

STAGES = {"self": "self", "K = 1": "first:1", "K = 3": "first:3", "all": "always"}
"""The router of each row."""


def sim2real(
    evaluation: Evaluation,
    searches: Mapping[str, SearchSettings | None],
    folder: Path,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """The summaries of all stages, which are written to a directory of their own each.

    Args:
        evaluation: The model with its questions.
        searches: Who answers queries in each of `STAGES`; None: the model itself.
        folder: Directory of the evaluations, which share a cache and a budget.
        progress: Told how far it is.
    """
    budget = folder / "budget.json"
    rows = {
        name: evaluation.run(
            folder / STAGES[name].replace(":", "-"), cached_in(search, folder), progress, name, budget
        )
        for name, search in searches.items()
    }
    write_json(folder / "summary.json", rows)
    return rows
