"""What the episodes of one verl worker share: recipe, search tool, records, and the count of failures.

verl makes an agent loop for every rollout, in several processes. Each process has one `Worker`, and all
of them append to the same file of trajectories, under a lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import statistics
from collections.abc import Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innersearch import prompts
from innersearch.assemble.engines import open_engine
from innersearch.config import Recipe
from innersearch.errors import ConfigError, InnersearchError, RunError, SearchError
from innersearch.identity import use_day
from innersearch.readers import as_question, read_questions
from innersearch.records import LineWriter, write_json
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.runs import Run
from innersearch.search.base import Engine, InformedEngine
from innersearch.search.curriculum import Curriculum
from innersearch.stored import read_json
from innersearch.tools.search import SearchTool
from innersearch.train.tasks import rollout_of, shown_tools, task_of
from innersearch.train.verl.outputs import failed
from innersearch.train.verl.server import ServerPolicy, ServerSampler
from innersearch.trajectories import to_line
from innersearch.types import Sampling, Trajectory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerFast

_FLOOR = 20
"""Rollouts before the share of failed ones is judged."""


@dataclass
class Worker:
    """One process of a run. Open it with `open`."""

    run: Run
    recipe: Recipe
    rollout: Rollout
    policy: ServerPolicy
    max_response: int
    """Longest response, in tokens."""
    curriculum: Curriculum | None = None
    rollouts: int = 0
    failures: int = 0
    _em: dict[int, list[float]] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        path: Path,
        tokenizer: PreTrainedTokenizerFast,
        policy: ServerPolicy,
        max_response: int,
        *,
        engine: Engine | None = None,
        started_in: Path = Path(),
    ) -> Worker:
        """A worker of the run in `path`, with its engine open; responses have `max_response` tokens.

        What the recipe names by a relative path lies below `started_in`. An `engine` of one's own takes
        the place of the one that the recipe names.

        Raises:
            ConfigError: There is no such engine.
            SearchError: The engine cannot be opened.
        """
        recipe = Recipe.recorded(read_json(path / "recipe.json"))
        # As in the process that started this one, perhaps on another day.
        use_day(path)
        with chdir(started_in):
            search = _open_search(recipe, path, engine)
        policy = replace(policy, seeded=recipe.verl.seeded)
        rollout = rollout_of(recipe, policy, tokenizer, search)
        searched = search.engine
        curriculum = searched.curriculum if isinstance(searched, InformedEngine) else None
        return cls(Run(path), recipe, rollout, policy, max_response, curriculum)

    def task(self, row: Mapping[str, Any]) -> Task:
        """The task of a row of the data, with what verl adds to it.

        Raises:
            DataError: The row is no question.
            ConfigError: verl does not say which step and which repetition it is.
        """
        number = int(row.get("index", 0))
        question = as_question(row, f"row {number} of verl's data", number)
        step, repetition = row.get("global_steps"), row.get("session_id", row.get("priority"))
        if step is None or repetition is None:
            raise ConfigError(
                "verl says neither step nor session of a rollout; leave trainer.use_v1 at true"
            )
        prompt = prompts.encode(
            self.rollout.tokenizer,
            self.recipe.prompt.name,
            question.question,
            grammar=self.rollout.grammar,
            tools=shown_tools(self.recipe),
            date=self.recipe.prompt.date,
        )
        return task_of(
            self.recipe,
            self.rollout.tokenizer,
            question,
            prompt,
            row=number,
            step=int(step),
            repetition=int(repetition),
        )

    async def roll_out(self, task: Task, temperature: float) -> tuple[Trajectory, ServerSampler]:
        """The trajectory of a task, which is a failed one where anything went wrong; it is on disk.

        Raises:
            SearchError: Too many searches failed.
            RunError: Too many rollouts failed, or nothing can be written.
        """
        self._observe(task.step)
        sampling = replace(self.rollout.sampling, temperature=temperature)
        async with self.policy.session(sampling) as sampler:
            try:
                trajectory = await self.rollout.one(sampler, task)
                trajectory = replace(trajectory, sampling=sampling)
                self._demand_room(trajectory)
            except (SearchError, ConfigError):
                raise
            except Exception as error:
                trajectory = self._failed(task, sampling, f"{type(error).__name__}: {error}")
        await asyncio.to_thread(self._write, trajectory)
        self._count(trajectory)
        return trajectory, sampler

    def _failed(self, task: Task, sampling: Sampling, error: str) -> Trajectory:
        end = min(self.policy.end_ids)
        return failed(self.recipe, task, sampling, end, self.rollout.tokenizer_id, error)

    def _demand_room(self, trajectory: Trajectory) -> None:
        longest = max(len(s.token_ids) - s.prompt_len for s in trajectory.segments)
        if longest > self.max_response:
            raise RunError(
                f"a response of {longest} tokens is longer than data.max_response_length = "
                f"{self.max_response}: raise it"
            )

    def _count(self, trajectory: Trajectory) -> None:
        # A reward without gold answers has none.
        self._em.setdefault(trajectory.step, []).append(trajectory.components.get("em", 0.0))
        self.rollouts += 1
        self.failures += trajectory.error is not None
        limit = self.recipe.verl.max_error_rate
        if self.rollouts >= _FLOOR and self.failures > limit * self.rollouts:
            raise RunError(
                f"{self.failures} of {self.rollouts} rollouts failed, more than "
                f"verl.max_error_rate = {limit}; the last one: {trajectory.error}; what is written "
                "stays, and --resume goes on from the last checkpoint"
            )

    def _observe(self, step: int) -> None:
        """Tell the curriculum about steps that ended, as far as this worker saw them."""
        for ended in sorted(number for number in self._em if number < step):
            ems = self._em.pop(ended)
            if self.curriculum is not None:
                self.curriculum.observe(statistics.fmean(ems))

    def _write(self, trajectory: Trajectory) -> None:
        line = to_line(trajectory)
        with _locked(self.run.trajectories.with_suffix(".lock")):
            # Opened each time, so that a line that a killed worker left unfinished is cut off.
            writer = LineWriter(self.run.trajectories)
            try:
                writer.write(line)
            finally:
                writer.close()


def give_up(path: Path, error: InnersearchError) -> None:
    """Leave word for `launch`: verl takes an error in a rollout for a gap in its batch."""
    write_json(Run(path).stopped, {"error": type(error).__name__, "message": str(error)})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open_search(recipe: Recipe, path: Path, engine: Engine | None) -> SearchTool:
    settings = recipe.search
    if not settings.rule.asks:
        return SearchTool.itself(settings)
    curriculum = Curriculum(settings.noise, recipe.trainer.steps, recipe.seed)
    others: Sequence[str] = ()
    if not curriculum.silent and settings.noise.distractors == "other":
        others = [question.question for question in read_questions(Run(path).questions)]
    opened = open_engine(
        settings, path / "budget.json", engine=engine, curriculum=curriculum, others=others
    )
    return SearchTool(opened, settings.rule, settings)
