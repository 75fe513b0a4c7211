"""Episodes: from a question to a scored trajectory.

Self-search is one uninterrupted generation: the policy writes its own information, nothing is
injected and nothing stops it but the end-of-sequence token and the token budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from innersearch.grammar import MaskRule, last_answer
from innersearch.policy.base import Completion, Policy, Request
from innersearch.rewards import transcript
from innersearch.rollout.segment import SegmentBuilder
from innersearch.types import Question, Sampling, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Score = Callable[[Trajectory], tuple[float, dict[str, float]]]
"""Reward and named components of a trajectory."""


@dataclass(frozen=True, slots=True)
class Task:
    """One rollout to do."""

    question: Question
    prompt_ids: tuple[int, ...]
    group: str
    """Identity of the group, from which with the repetition all its random numbers follow."""
    repetition: int = 0
    step: int = 0

    @property
    def request(self) -> Request:
        """The generation that the task asks for."""
        return Request(self.prompt_ids, (self.group, self.repetition))


@dataclass(frozen=True)
class SelfSearch:
    """Rolls out tasks with the policy as its own search engine."""

    policy: Policy
    tokenizer: PreTrainedTokenizerFast
    sampling: Sampling
    score: Score | None = None
    rule: MaskRule = field(default_factory=MaskRule)
    tokenizer_id: str = ""

    def stream(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Trajectory]]:
        """Yield (position of the task, trajectory) as trajectories finish."""
        started: dict[int, Task] = {}

        def requests() -> Iterator[Request]:
            for index, task in enumerate(tasks):
                started[index] = task
                yield task.request

        for index, completion in self.policy.stream(requests(), self.sampling):
            yield index, self._trajectory(started.pop(index), completion)

    def run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        """The trajectories of all tasks, in their order."""
        finished = dict(self.stream(tasks))
        return [finished[index] for index in range(len(tasks))]

    def _trajectory(self, task: Task, completion: Completion) -> Trajectory:
        builder = SegmentBuilder(self.tokenizer, task.prompt_ids, self.rule)
        builder.add_sampled(completion)
        segment, calls = builder.build(completion.finish)
        trajectory = Trajectory(
            uid=f"{task.group}/{task.repetition}",
            group_id=task.group,
            repetition=task.repetition,
            question=task.question,
            segments=[segment],
            calls=calls,
            sampling=self.sampling,
            stop_reason=completion.finish,
            step=task.step,
            tokenizer_id=self.tokenizer_id,
        )
        trajectory = replace(trajectory, answer=last_answer(transcript(trajectory)))
        if self.score is None:
            return trajectory
        reward, components = self.score(trajectory)
        return replace(trajectory, reward=reward, components=components)
