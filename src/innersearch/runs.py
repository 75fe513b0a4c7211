"""The directory of a training run: what is in it, and how a killed run goes on.

    runs/<name>/
      recipe.json environment.json     written before the first token
      metrics.jsonl                    one record per optimizer step
      trajectories.jsonl               one record per trajectory
      checkpoints/checkpoint-<step>/   model, optimizer, random state, data position
      adapters/                        low-rank adapters, where the recipe trains some
      model/                           the result
  verl/                            on a cluster: questions, configuration, log and metrics of verl
      summary.json report.html         written by the report

Resuming goes on from the newest checkpoint that is complete and undamaged, and cuts the records back to
it; the steps after it are done again, identically.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from innersearch import openmp
from innersearch.checkpoints import Checkpoint, Checkpoints
from innersearch.config import Recipe
from innersearch.config.earlier import of_today
from innersearch.config.reward import written
from innersearch.errors import DataError, RunError
from innersearch.identity import known_by_content
from innersearch.records import begun, keep_lines, write_json
from innersearch.stored import read_json, read_object


class Step(TypedDict):
    """A line of metrics.jsonl or trajectories.jsonl, as far as it is asked of which step it is."""

    step: Annotated[int, Field(ge=0)]


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a step without what is none."""
    found = ((name, value) for name, value in record.items() if name != "step")
    return {name: value for name, value in found if isinstance(value, int | float)}


class Settings(TypedDict):
    """What every recipe.json has."""

    name: str


_HOW_ONLY = frozenset(
    f"search.{name}"
    for name in ("max_calls", "max_usd", "in_flight", "per_second", "deadline_s", "max_error_rate")
)
"""Settings that say how engines are called, and not what is found: a run can go on with others."""
_PACKAGES = (
    *("innersearch", "torch", "transformers", "trl", "accelerate", "tokenizers", "numpy"),
    *("verl", "ray", "vllm"),
)


def versions() -> dict[str, str]:
    """Versions of Python and of what computes here; packages that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Run:
    """Paths and state of one run directory. Open it with `start`."""

    path: Path

    @property
    def metrics(self) -> Path:
        """One record per optimizer step."""
        return self.path / "metrics.jsonl"

    @property
    def trajectories(self) -> Path:
        """One record per trajectory."""
        return self.path / "trajectories.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the trainer."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.path / "model"

    @property
    def adapters(self) -> Path:
        """The trained adapters, apart from the model they are merged into."""
        return self.path / "adapters"

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.json"

    @property
    def questions(self) -> Path:
        """The questions of a run on a cluster, in verl's format."""
        return self.path / "verl" / "questions.parquet"

    @property
    def agent_loop(self) -> Path:
        """What tells verl of our agent loop."""
        return self.path / "verl" / "agent_loop.yaml"

    @property
    def stopped(self) -> Path:
        """Why a worker on a cluster gave up."""
        return self.path / "verl" / "stopped.json"

    @classmethod
    def start(
        cls, path: Path, recipe: Recipe, *, resume: bool, notes: Mapping[str, Any] | None = None
    ) -> Run:
        """Open a fresh directory, or with `resume` the one that a run left; `notes` go into its
        environment.json, where it has none of their names yet.

        Raises:
            RunError: The directory is not empty and `resume` is not given, or it was written by
                another recipe.
            SearchError: The address of an engine must not be recorded.
        """
        run = cls(path)
        recipe.search.demand_addresses()
        if run.goes_on(recipe, resume=resume):
            run._cut_back()
        else:
            environment = {"versions": versions(), "os": platform.platform()}
            write_json(path / "environment.json", environment | {"threads": openmp.described()})
            write_json(run.recipe, recipe.model_dump(mode="json"))
        run._note(notes or {})
        return run

    def _note(self, notes: Mapping[str, Any]) -> None:
        file = self.path / "environment.json"
        known = read_json(file) if notes and file.is_file() else {}
        if isinstance(known, dict) and (new := {k: v for k, v in notes.items() if k not in known}):
            write_json(file, known | new)

    def goes_on(self, recipe: Recipe, *, resume: bool) -> bool:
        """Whether `start` would go on with a run that is there; writes nothing.

        Raises:
            RunError: As `start`.
        """
        if not begun(self.path, resume=resume, what="run"):
            return False
        self._demand_same(recipe)
        return True

    def _demand_same(self, recipe: Recipe) -> None:
        if not self.recipe.is_file():
            raise RunError(f"{self.path} holds no run (no recipe.json): give another --output")
        # Settings that came later had their defaults.
        there = dotted(of_today(read_object(self.recipe, Settings)))
        before = dotted(Recipe().model_dump(mode="json")) | there
        now = dotted(recipe.model_dump(mode="json"))
        # A model that was moved is the same: whoever goes on compares it by its content.
        free = _HOW_ONLY | ({"model"} if known_by_content(self.path) else set())
        changed = sorted(
            key for key in before | now if before.get(key) != now.get(key) and key not in free
        )
        if changed:
            details = ", ".join(f"{k} {_shown(k, before)} → {_shown(k, now)}" for k in changed)
            raise RunError(
                f"cannot resume {self.path}: the recipe differs in {details}; resume with the same "
                "settings, or start anew with another --output"
            )

    def _cut_back(self) -> None:
        latest = self.latest()
        step = latest.step if latest else self.verl_step()
        for records in (self.metrics, self.trajectories):
            keep_lines(records, Step, lambda record: record["step"] <= step)
        self.kept().clear(latest)

    def verl_step(self) -> int:
        """The step of verl's latest checkpoint, which verl writes down once it is complete; else 0.

        Raises:
            DataError: It wrote no number.
        """
        mark = self.checkpoints / "latest_checkpointed_iteration.txt"
        text = mark.read_text(encoding="utf-8", errors="replace").strip() if mark.is_file() else "0"
        if not (text.isascii() and text.isdigit()):
            raise DataError(
                f"{mark} says {text[:20]!r}, which is no step: write there that of the newest complete "
                f"folder global_step_… beside it"
            )
        return int(text)

    def kept(self) -> Checkpoints:
        """The checkpoints, with the records they go with."""
        return Checkpoints(self.checkpoints, (self.metrics, self.trajectories))

    def complete(self) -> list[Checkpoint]:
        """All complete checkpoints, oldest first."""
        return self.kept().complete()

    def latest(self) -> Checkpoint | None:
        """The checkpoint to resume from: the newest that is not damaged.

        Raises:
            RunError: All are.
        """
        return self.kept().latest()

    def best(self) -> Checkpoint | None:
        """The checkpoint with the highest average reward of those that are not damaged."""
        return self.kept().best()

    def demand_same_order(self, steps: int) -> None:
        """Check that what is left to do of `steps` goes on in the order in which it began.

        Raises:
            RunError: The newest checkpoint is of a version that took the questions in another order.
        """
        newest = max(self.complete(), default=None)
        if newest and newest.step < steps and not self.kept().vouched(newest):
            raise RunError(
                f"{newest.path} was written by an earlier version, which took the questions in another "
                "order: end the run with that version, or start anew with another --output"
            )

    def mark_complete(self, step: int, score: float, updates: int | None = None) -> None:
        """Declare the checkpoint of `step` complete; keep it, the one before it and the best.

        It lies in the folder with the number of optimizer `updates` so far, which is that of the step
        where there is one update per step.
        """
        self.kept().mark_complete(step, score, updates)


def _shown(key: str, settings: Mapping[str, Any]) -> str:
    value = settings.get(key)
    return written(value) if key == "reward" and value else repr(value)


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of nested settings."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
