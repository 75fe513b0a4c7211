"""Starts verl for a recipe, and looks after its records while it runs.

verl logs its metrics and our agent loops write trajectories; both are read as they grow, and each step
becomes one line of metrics.jsonl, as with every other trainer. The collapse guard reads along.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from innersearch.config import Recipe
from innersearch.errors import CollapseError, RunError
from innersearch.identity import demand_same, keep, of_model, use_day
from innersearch.locks import held
from innersearch.policy.loading import configured_context, demand_loadable, load_tokenizer
from innersearch.readers import balanced, fingerprint
from innersearch.records import LineWriter
from innersearch.runs import Run, Step, figures, versions
from innersearch.stored import read_object, read_records
from innersearch.train.guard import Guard
from innersearch.train.monitors import Observer, step_metrics
from innersearch.train.tasks import demand_a_full_step, demand_weights, encode_prompts
from innersearch.train.verl import settings
from innersearch.train.verl.cluster import (
    check_keys,
    demand_machines,
    demand_verl,
    demand_vllm,
    machines,
)
from innersearch.trajectories import as_trajectory
from innersearch.types import Question, Trajectory


class _Stopped(TypedDict):
    """What a worker that gave up says."""

    message: str


_NAMES = {
    "loss": ("actor/loss", "actor/pg_loss"),
    "grad_norm": ("actor/grad_norm",),
    "learning_rate": ("actor/lr",),
    "policy/kl": ("actor/kl_loss",),
    "policy/weights_cut": ("rollout_corr/rollout_is_ratio_fraction_high",),
    "policy/weights_low": ("rollout_corr/rollout_is_ratio_fraction_low",),
    "time/rollout_s": ("timing_s/gen",),
    "time/step_s": ("timing_s/step", "perf/time_per_step"),
}
"""Our names of metrics → verl's."""
_POLL_S = 1.0
_PATIENCE_S = 30.0
"""How long verl may take to end after it was asked to."""
_LAST_LINES = 15


def command(recipe: Recipe, run: Run) -> list[str]:
    """What starts verl."""
    return [
        sys.executable,
        "-m",
        "verl.trainer.main_ppo",
        *overrides(recipe, run),
        # Hydra would write into the working directory.
        f"hydra.run.dir={json.dumps(str((run.path / 'verl' / 'hydra').absolute()))}",
    ]


def overrides(recipe: Recipe, run: Run) -> list[str]:
    """Verl's settings, and where it logs: the process that logs may be on any machine."""
    logged = {
        "+ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH": str(
            _log_of_metrics(run).absolute()
        )
    }
    context = configured_context(recipe.model)
    chosen = settings.configuration(recipe, run, context=context) | logged
    return [*settings.as_overrides(chosen), *recipe.verl.overrides]


def check(
    recipe: Recipe, questions: Sequence[Question], path: Path, *, resume: bool = False
) -> list[Question]:
    """The questions that verl is given, if they and the recipe will do.

    Raises:
        ConfigError: verl cannot do what the recipe asks for.
        ModelError: The tokenizer cannot be used, or there are no weights.
        DataError: There are too few questions, or one does not fit the prompt limit.
        RunError: `path` is in the way, or belongs to another recipe.
    """
    settings.refuse(recipe)
    use_day(path)
    if Run(path).goes_on(recipe, resume=resume):
        _demand_position(Run(path))
    demand_weights(recipe.model)
    tokenizer = load_tokenizer(recipe.model)
    demand_loadable(recipe.model, tokenizer)
    chosen = balanced(questions) if recipe.balance_groups else list(questions)
    demand_a_full_step(recipe, chosen)
    encode_prompts(tokenizer, recipe, chosen, configured_context(recipe.model))
    return chosen


def train(
    recipe: Recipe,
    questions: Sequence[Question],
    path: Path,
    *,
    resume: bool = False,
    observer: Observer = lambda step, metrics: None,
) -> Run:
    """Train with verl and leave the result in `path`/model.

    Raises:
        ConfigError: verl or vLLM is missing, or cannot do what the recipe asks for.
        ModelError: The model or its tokenizer cannot be used.
        DataError: There are too few questions, or one does not fit the prompt limit.
        RunError: The machines do not suffice, `path` is in the way, or verl failed.
        CollapseError: The guard stopped the run.
    """
    demand_verl()
    demand_vllm()
    chosen = check(recipe, questions, path, resume=resume)
    run = Run(path)
    check_keys(overrides(recipe, run))
    demand_machines(recipe, machines())
    tokenizer = load_tokenizer(recipe.model)
    made_of = of_model(recipe.model, tokenizer) | {"questions": fingerprint(chosen)}
    with held(path, "run"):
        demand_same(path, made_of, recipe.model, "run")
        run = Run.start(path, recipe, resume=resume)
        keep(path, made_of, recipe.model, versions())
        write_inputs(recipe, chosen, run)
        _watch(command(recipe, run), run, recipe, observer)
        _keep(run)
    return run


def _demand_position(run: Run) -> None:
    """Check that verl's newest checkpoint says where in the data it is, or verl would begin anew.

    Raises:
        RunError: It does not.
    """
    saved = run.checkpoints / f"global_step_{run.verl_step()}" / "data.pt"
    if run.verl_step() and not (saved.is_file() and saved.stat().st_size):
        raise RunError(
            f"{saved} is missing or empty, so the run cannot go on where it was: write the number of "
            "an older checkpoint into latest_checkpointed_iteration.txt, or start anew with another "
            "--output"
        )


def write_inputs(recipe: Recipe, questions: Sequence[Question], run: Run) -> None:
    """Write what verl reads: the questions, and where our agent loop is."""
    settings.write_questions(recipe, questions, run.questions)
    # A flow of JSON is YAML too.
    loop = {
        "name": "innersearch",
        "_target_": "innersearch.train.verl.agent_loop.SearchAgentLoop",
        "run": str(run.path.absolute()),
        "started_in": str(Path.cwd()),
    }
    run.agent_loop.write_text(json.dumps([loop], indent=2) + "\n", encoding="utf-8")
    run.stopped.unlink(missing_ok=True)


def _log_of_metrics(run: Run) -> Path:
    """A file of its own for every start, since verl empties it."""
    return run.path / "verl" / f"metrics-from-{run.verl_step()}.jsonl"


def _watch(arguments: Sequence[str], run: Run, recipe: Recipe, observer: Observer) -> None:
    """Run verl to its end, or end it where it or the guard gives up."""
    log = run.path / "verl" / "log.txt"
    records = Records(run, recipe, _log_of_metrics(run), observer)
    with log.open("ab") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, start_new_session=True)
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                records.read()
                if run.stopped.is_file():
                    raise RunError(read_object(run.stopped, _Stopped)["message"])
                if records.collapse:
                    raise CollapseError(
                        f"training collapsed: {records.collapse}; checkpoints are in {run.checkpoints}"
                    )
        finally:
            _end(process)
            records.read()
            records.close()
    if run.stopped.is_file():
        raise RunError(read_object(run.stopped, _Stopped)["message"])
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        raise RunError(
            f"verl ended with status {process.returncode}; all it said is in {log}, which ends: "
            f"{' | '.join(last)}"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End verl and what it started on this machine; Ray ends the rest when its driver is gone."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            continue


def _keep(run: Run) -> None:
    """Make verl's last checkpoint, in the Hugging Face format, the result of the run."""
    saved = run.checkpoints / f"global_step_{run.verl_step()}" / "actor" / "huggingface"
    if not (saved / "config.json").is_file():
        raise RunError(f"verl left no model at {saved}; see {run.path / 'verl' / 'log.txt'}")
    shutil.copytree(saved, run.model, dirs_exist_ok=True)


@dataclass
class Records:
    """Reads what verl and its workers write, and makes metrics of it, step by step."""

    run: Run
    recipe: Recipe
    log: Path
    observer: Observer
    collapse: str | None = None
    _read: dict[Path, int] = field(default_factory=dict)
    _trajectories: dict[int, list[Trajectory]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.guard = Guard(self.recipe.guard)
        for record in read_records(self.run.metrics, Step):
            self.guard.check(figures(record))
        self._metrics = LineWriter(self.run.metrics)
        # What is there already belongs to steps that are done.
        if self.run.trajectories.is_file():
            self._read[self.run.trajectories] = self.run.trajectories.stat().st_size

    def read(self) -> None:
        """Take in what was written since the last time."""
        steps = [json.loads(line) for line in self._news(self.log)]
        # A step is logged after its last trajectory was written.
        for line in self._news(self.run.trajectories):
            trajectory = as_trajectory(json.loads(line), self.run.path, "trajectories.jsonl")
            self._trajectories.setdefault(trajectory.step, []).append(trajectory)
        for entry in steps:
            self._note(int(entry["step"]), entry["data"])

    def _note(self, step: int, logged: Mapping[str, Any]) -> None:
        metrics: dict[str, float] = {}
        done = [number for number in self._trajectories if number <= step]
        trajectories = [t for number in done for t in self._trajectories.pop(number)]
        if any(any(s.sampled_mask) for t in trajectories for s in t.segments):
            metrics = step_metrics(trajectories)
        for name, theirs in _NAMES.items():
            found = [logged[key] for key in theirs if isinstance(logged.get(key), int | float)]
            metrics |= {name: float(found[0])} if found else {}
        self._metrics.write({"step": step, **metrics})
        self.observer(step, metrics)
        self.collapse = self.collapse or self.guard.check(metrics)

    def _news(self, path: Path) -> Iterator[bytes]:
        """The complete lines that were appended to a file."""
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read[path] = self._read.get(path, 0) + len(line)
                yield line

    def close(self) -> None:
        """Close the metrics."""
        self._metrics.close()
