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

A checkpoint counts once it is marked complete, so a kill in the middle of saving costs only that one.
Resuming cuts the records back to the checkpoint; the steps after it are done again, identically.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from innersearch import threads
from innersearch.config import Recipe
from innersearch.errors import RunError
from innersearch.records import begun, keep_lines, read_json, write_json

_MARK = "innersearch.json"
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


class Checkpoint(NamedTuple):
    """A complete checkpoint and its average reward."""

    step: int
    score: float
    path: Path


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
    def start(cls, path: Path, recipe: Recipe, *, resume: bool) -> Run:
        """Open a fresh directory, or with `resume` the one that a run left.

        Raises:
            RunError: The directory is not empty and `resume` is not given, or it was written by
                another recipe.
        """
        run = cls(path)
        if run.goes_on(recipe, resume=resume):
            run._cut_back()
        else:
            environment = {"versions": versions(), "os": platform.platform()}
            write_json(path / "environment.json", environment | {"threads": threads.described()})
            write_json(run.recipe, recipe.model_dump(mode="json"))
        return run

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
        before = dotted(Recipe().model_dump(mode="json")) | dotted(read_json(self.recipe))
        now = dotted(recipe.model_dump(mode="json"))
        changed = sorted(key for key in before | now if before.get(key) != now.get(key))
        if changed:
            details = ", ".join(f"{key} {before.get(key)!r} → {now.get(key)!r}" for key in changed)
            raise RunError(
                f"cannot resume {self.path}: the recipe differs in {details}; resume with the same "
                "settings, or start anew with another --output"
            )

    def _cut_back(self) -> None:
        latest = self.latest()
        step = latest.step if latest else self.verl_step()
        for records in (self.metrics, self.trajectories):
            keep_lines(records, lambda record: record["step"] <= step)
        if self.checkpoints.is_dir():
            complete = {checkpoint.path for checkpoint in self.complete()}
            for path in self.checkpoints.glob("checkpoint-*"):
                if path not in complete:
                    shutil.rmtree(path)

    def verl_step(self) -> int:
        """The step of verl's latest checkpoint, which verl writes down once it is complete; else 0."""
        mark = self.checkpoints / "latest_checkpointed_iteration.txt"
        return int(mark.read_text()) if mark.is_file() else 0

    def complete(self) -> list[Checkpoint]:
        """All complete checkpoints, oldest first."""
        marks = [(path.parent, read_json(path)) for path in self.checkpoints.glob(f"*/{_MARK}")]
        return sorted(Checkpoint(mark["step"], mark["score"], path) for path, mark in marks)

    def latest(self) -> Checkpoint | None:
        """The checkpoint to resume from."""
        return max(self.complete(), default=None)

    def best(self) -> Checkpoint | None:
        """The checkpoint with the highest average reward."""
        return max(self.complete(), key=lambda c: (c.score, c.step), default=None)

    def mark_complete(self, step: int, score: float) -> None:
        """Declare the checkpoint of `step` complete; keep it, the one before it and the best."""
        path = self.checkpoints / f"checkpoint-{step}"
        write_json(path / _MARK, {"step": step, "score": score})
        checkpoints = self.complete()
        kept = {*(c.step for c in checkpoints[-2:]), getattr(self.best(), "step", step)}
        for checkpoint in checkpoints:
            if checkpoint.step not in kept:
                (checkpoint.path / _MARK).unlink()
                shutil.rmtree(checkpoint.path)


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of nested settings."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
