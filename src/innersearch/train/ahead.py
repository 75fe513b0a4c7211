"""Rollouts ahead of training: one thread samples the groups of coming steps while another trains.

Groups are begun in the order of questions, which is a function of the seed. A group begins while fewer
than (ahead + 1) · prompts_per_step are begun and not yet trained on; they are handed over in the order
in which they began, none is thrown away for its age, and so none is older than `ahead` steps. With the
groups of a step the trainer hands over its weights: generations under way go on under the new ones, and
their tokens say so.

With `refill` a group whose rewards are all equal is replaced by the next one of the order, at most
`prompts_per_step` times in a step: where a world is solved, the step takes such groups as they are.
That is decided in the order of groups, whichever is finished first.

How far a run is in the order is one number, `group/taken` in its records: a resumed run goes on there.
Groups that were under way when it was killed are sampled again, by the weights of the checkpoint.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from innersearch.assemble.policies import TRANSFORMERS
from innersearch.config import Recipe, TrainerSettings
from innersearch.errors import ConfigError
from innersearch.policy.base import Sampler
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.train import processes
from innersearch.train.samples import mixed, without_failed
from innersearch.train.tasks import Rollouts
from innersearch.train.versioned import VersionedPolicy
from innersearch.types import Trajectory

TOLD = (
    *("group/taken", "group/refilled_share", "policy/tokens_refilled"),
    *("ahead/age_mean", "ahead/age_max", "ahead/wait_s", "ahead/held_s"),
)
"""Metrics of a step; see `innersearch.train.monitors`."""


def runs_ahead(plan: TrainerSettings) -> bool:
    """Whether groups are sampled apart from the steps that train on them."""
    return plan.ahead > 0 or plan.refill


def demand_ahead(recipe: Recipe) -> None:
    """Refuse to sample ahead, or to replace groups, where that is not possible.

    Raises:
        ConfigError: Who samples, or how, does not allow it.
    """
    plan = recipe.trainer
    if not runs_ahead(plan):
        return
    asked = f"trainer.ahead = {plan.ahead}" if plan.ahead else "trainer.refill = true"
    instead = "set trainer.ahead = 0 and trainer.refill = false"
    if recipe.agent.command:
        raise ConfigError(f"{asked} is for rollouts, not for programs (agent.command): {instead}")
    if recipe.sampling.policy != TRANSFORMERS:
        raise ConfigError(
            f"{asked} needs the policy {TRANSFORMERS}, given sampling.policy = "
            f"{recipe.sampling.policy!r}: leave that out, or {instead}"
        )
    if processes.count() > 1:
        raise ConfigError(
            f"{asked} is for one process, and there are {processes.count()}: start one, or {instead}"
        )


@dataclass(frozen=True, slots=True)
class Group:
    """A group that is to be trained on."""

    trajectories: list[Trajectory]
    finished: float
    """When, on the clock of `time.perf_counter`."""
    taken: int = 0
    """Groups that were handed over or replaced when it was, itself included."""
    replaced: int = 0
    """Groups that were replaced since the one before it."""
    tokens: int = 0
    """That were sampled for those."""

    def age(self, step: int) -> int:
        """How many steps before `step` the oldest weights were the newest that sampled a token of it."""
        told = [v for t in self.trajectories for s in t.segments for v in s.versions or () if v]
        return step - min(told, default=step)


class Taken(NamedTuple):
    """The groups of a step."""

    trajectories: list[Trajectory]
    metrics: dict[str, float]


class Ahead:
    """Samples groups in a thread of its own, as a context that ends it.

    Args:
        rollout: What rolls out; its policy is a `VersionedPolicy`.
        tasks: The tasks of a group, by its number in the order.
        settle: What trajectories of a whole group become once they are together.
        plan: How many groups a step takes, and how far ahead they may begin.
        taken: Groups that the run is done with.
        inside: What to compute in.
    """

    def __init__(
        self,
        rollout: Rollouts,
        tasks: Callable[[int], Sequence[Task]],
        settle: Callable[[list[Trajectory]], list[Trajectory]],
        plan: TrainerSettings,
        *,
        taken: int = 0,
        inside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        if not isinstance(rollout, Rollout) or not isinstance(rollout.policy, VersionedPolicy):
            raise ConfigError(
                "only the rollouts of the library can be sampled ahead of training, given "
                f"{type(rollout).__name__}: set trainer.ahead = 0 and trainer.refill = false"
            )
        self.rollout, self.policy = rollout, rollout.policy
        self.tasks, self.settle, self.plan, self.inside = tasks, settle, plan, inside
        self._first = self._begun = self._head = taken
        self._dropped = self._replaced = self._filled = 0
        self._since: list[Group] = []
        self._finished: dict[int, Group] = {}
        # What both threads touch, under the lock of the news.
        self._news = threading.Condition()
        self._kept: deque[Group] = deque()
        self._failure: BaseException | None = None
        self._asked = self._first_step = 0
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._closing = False

    def take(self, step: int) -> Taken:
        """Hand over the weights as they are, which are those of `step`, and wait for its groups.

        Raises:
            InnersearchError: What ended the rollouts, as `Rollout.run` would.
        """
        began = time.perf_counter()
        self._ask(step)
        with self._news:
            self._news.wait_for(lambda: self._failure is not None or self._is_ready(step))
            if self._failure is not None:
                raise self._failure
            groups = [self._kept.popleft() for _ in range(self.plan.prompts_per_step)]
        trained = [replace(t, step=step) for group in groups for t in group.trajectories]
        return Taken(trained, _metrics(groups, step, began))

    def _is_ready(self, step: int) -> bool:
        return self.policy.version == step and len(self._kept) >= self.plan.prompts_per_step

    def _ask(self, step: int) -> None:
        with self._news:
            self._asked = step
        if self._thread is None:
            self._first_step = step
            self._thread = threading.Thread(target=self._work, name="rollouts", daemon=True)
            self._thread.start()
            self._ready.wait()
        else:
            self._loop.call_soon_threadsafe(self._wake.set)

    def _work(self) -> None:
        """What the thread does until it is closed or something fails."""
        try:
            with self.inside():
                self.rollout.wait(self._produce())
        except BaseException as error:
            with self._news:
                self._failure = None if self._closing else _first_of(error)
                self._news.notify_all()
        finally:
            self._ready.set()

    async def _produce(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._task = asyncio.current_task()
        self._ready.set()
        self._refresh()
        rollout = self.rollout
        places = asyncio.Semaphore(rollout.in_flight)
        async with rollout.policy.session(rollout.sampling) as sampler, asyncio.TaskGroup() as tasks:
            while True:
                self._refresh()
                while self._may_begin():
                    tasks.create_task(self._roll_out(self._begun, sampler, places))
                    self._begun += 1
                await self._wake.wait()
                self._wake.clear()

    def _refresh(self) -> None:
        """Take over the weights of a step while the trainer waits for its groups."""
        if self.policy.version == self._asked:
            return
        with self._news:
            self.policy.refresh(self._asked)
            self._news.notify_all()

    def _may_begin(self) -> bool:
        """Whether there is room for a group, and a step left that would train on it."""
        trained = self.policy.version - self._first_step
        last = self.plan.steps - self._first_step + 1
        steps = min(trained + self.plan.ahead + 1, last)
        return self._begun - self._first - self._dropped < steps * self.plan.prompts_per_step

    async def _roll_out(self, number: int, sampler: Sampler, places: asyncio.Semaphore) -> None:
        # Engines are told the step whose weights ask, and the group has the name of its own.
        tasks = [replace(task, step=self.policy.version) for task in self.tasks(number)]

        async def one(task: Task) -> Trajectory:
            async with places:
                return await self.rollout.one(sampler, task)

        trajectories = await asyncio.gather(*map(one, tasks))
        self._finished[number] = Group(self.settle(trajectories), time.perf_counter())
        self._in_order()
        self._wake.set()

    def _in_order(self) -> None:
        """Keep or replace what is finished, as far as everything before it is."""
        most = self.plan.prompts_per_step if self.plan.refill else 0
        while (group := self._finished.pop(self._head, None)) is not None:
            self._head += 1
            if self._replaced < most and not any(mixed(without_failed(group.trajectories))):
                self._replaced += 1
                self._dropped += 1
                self._since.append(group)
            else:
                self._keep(group)

    def _keep(self, group: Group) -> None:
        tokens = sum(
            sum(segment.sampled_mask)
            for dropped in self._since
            for trajectory in dropped.trajectories
            for segment in trajectory.segments
        )
        kept = replace(group, taken=self._head, replaced=len(self._since), tokens=tokens)
        self._since = []
        self._filled += 1
        if self._filled == self.plan.prompts_per_step:
            self._filled = self._replaced = 0
        with self._news:
            self._kept.append(kept)
            self._news.notify_all()

    def close(self) -> None:
        """End what is under way, and the thread."""
        if self._thread is None:
            return
        self._closing = True
        self._ready.wait()
        task = self._task
        if task is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(task.cancel)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _metrics(groups: Sequence[Group], step: int, began: float) -> dict[str, float]:
    now = time.perf_counter()
    ages = [group.age(step) for group in groups]
    replaced = sum(group.replaced for group in groups)
    values = (
        groups[-1].taken,
        replaced / (replaced + len(groups)),
        sum(group.tokens for group in groups),
        statistics.fmean(ages),
        max(ages),
        now - began,
        statistics.fmean(now - group.finished for group in groups),
    )
    return dict(zip(TOLD, map(float, values), strict=True))


def _first_of(error: BaseException) -> BaseException:
    """What failed first, where several things did at once."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
