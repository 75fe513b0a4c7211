"""Trackers that mirror metrics.jsonl: Weights & Biases, trackio, TensorBoard.

The file stays the record; a tracker is told each step as it is written there. None is imported unless
it is asked for. A package of somebody else adds one under `innersearch.trackers`:

    TRACKER = TrackerKind("mine", lambda begun: MyTracker(begun.folder))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from innersearch.config import Recipe
from innersearch.extensions import Offers
from innersearch.runs import Run
from innersearch.train.start import Watcher


class Tracker(Protocol):
    """Is told the metrics of steps."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One step is done."""

    def finish(self) -> None:
        """No step follows."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that begins."""

    recipe: Recipe
    folder: Path
    """Where the tracker may write; it need not exist."""
    stage: str = ""
    """What is trained, where there are several stages."""

    @property
    def name(self) -> str:
        """Of the run, as a tracker shows it."""
        return f"{self.recipe.name}-{self.stage}" if self.stage else self.recipe.name

    @property
    def identity(self) -> str:
        """The same for a run that is resumed."""
        told = f"{self.folder.absolute()}:{self.stage}"
        return blake2b(told.encode(), digest_size=8).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe, as JSON can hold it."""
        return self.recipe.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class TrackerKind:
    """A tracker that has a name."""

    name: str
    open: Callable[[Begun], Tracker]
    module: str = ""
    """What it imports."""

    def demand(self) -> None:
        """Check that it can be opened, before a run begins.

        Raises:
            ModuleNotFoundError: What it imports is not installed.
        """
        if self.module and find_spec(self.module) is None:
            raise ModuleNotFoundError(f"No module named {self.module!r}", name=self.module)


class _Wandb:
    """Weights & Biases, and trackio, which has its functions; WANDB_MODE=offline sends nothing."""

    def __init__(self, module: Any, **given: Any) -> None:
        self._module = module
        module.init(project=os.environ.get("WANDB_PROJECT", "innersearch"), **given)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._module.log(dict(metrics), step=step)

    def finish(self) -> None:
        """See `Tracker`."""
        self._module.finish()


def _wandb(begun: Begun) -> Tracker:
    import wandb

    begun.folder.mkdir(parents=True, exist_ok=True)
    return _Wandb(
        wandb,
        name=begun.name,
        config=begun.settings,
        dir=str(begun.folder),
        id=begun.identity,
        resume="allow",
    )


def _trackio(begun: Begun) -> Tracker:
    import trackio

    return _Wandb(trackio, name=begun.name, config=begun.settings, resume="allow")


class _TensorBoard:
    """Event files in the directory of the run."""

    def __init__(self, begun: Begun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(begun.folder / (begun.stage or "run")))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        """See `Tracker`."""
        self._writer.close()


TRACKERS: Offers[TrackerKind] = Offers(
    "innersearch.trackers",
    TrackerKind,
    "tracker",
    {
        "wandb": TrackerKind("wandb", _wandb, "wandb"),
        "trackio": TrackerKind("trackio", _trackio, "trackio"),
        "tensorboard": TrackerKind("tensorboard", _TensorBoard, "tensorboard"),
    },
)
"""Every tracker that can be named."""


@dataclass
class Tracked:
    """A watcher that tells another one, and mirrors the metrics of each step."""

    inner: Watcher
    kind: TrackerKind
    folder: Path
    _stages: int = 0
    _begun: Begun | None = None
    _tracker: Tracker | None = field(default=None, repr=False)

    def notice(self, text: str) -> None:
        """See `Watcher`."""
        self.inner.notice(text)

    def begins(self, recipe: Recipe, what: str, steps: int) -> None:
        """See `Watcher`."""
        self.inner.begins(recipe, what, steps)
        self.close()
        self._stages += 1
        stage = "" if what == "training" and self._stages == 1 else f"{self._stages}-{what}"
        self._begun = Begun(recipe, self.folder, stage)

    def step(self, what: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """See `Watcher`."""
        self.inner.step(what, step, steps, metrics)
        # Not before the first step: until then the directory may turn out to be another run's.
        if metrics and self._tracker is None and self._begun is not None:
            self._tracker = self.kind.open(self._begun)
        if metrics and self._tracker is not None:
            self._tracker.log(step, metrics)

    def ends(self, run: Run, what: str) -> None:
        """See `Watcher`."""
        self.close()
        self.inner.ends(run, what)

    def close(self) -> None:
        """End what is tracked, if anything is."""
        if self._tracker is not None:
            self._tracker.finish()
        self._tracker = self._begun = None
