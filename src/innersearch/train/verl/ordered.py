"""verl's data set in our order: it asks for rows 0, 1, 2 … and gets those of each step in turn.

verl shuffles with a generator of its own, whose state it keeps in a checkpoint; it drops what does not
fill the last step of an epoch. Here the whole run is one epoch of its own, in the order that TRL is
given, too.
"""

from __future__ import annotations

from typing import Any

from verl.utils.dataset.rl_dataset import RLHFDataset

from innersearch.train.order import rows_of


class OrderedQuestions(RLHFDataset):  # type: ignore[misc]
    """The questions of every step, one step after another; `data.steps` says how many there are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.config
        count, size = len(self.dataframe), settings.train_batch_size
        self.order = rows_of(settings.seed, count, size, settings.steps)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """The row at a position of the run, as verl makes it."""
        return super().__getitem__(self.order[position])
