"""Many episodes at once: their order, their limits, and how they end together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.run import Rollout
from innersearch.rollout.scheduler import AHEAD, in_order
from innersearch.search.base import SearchResult
from innersearch.testing import ScriptedEngine
from innersearch.types import (
    Sampling,
)
from tests.rollout.rolling import Late, model, plan, roll, rollout, tasks, tokenizer


def test_latencies_change_nothing_and_results_come_in_order() -> None:
    wanted = tasks(60)
    one = roll(plan("always", Late(seed=1)), wanted=wanted)
    assert [trajectory.question for trajectory in one] == [task.question for task in wanted]
    for seed, in_flight, max_batch in ((2, 512, 64), (3, 15, 12)):
        late = Late(seed=seed)
        assert roll(plan("always", late), wanted=wanted, in_flight=in_flight, max_batch=max_batch) == one
        assert late.most <= in_flight


def test_no_more_tasks_are_taken_than_may_be_in_flight() -> None:
    taken = running = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for number in range(60):
            taken += 1
            assert taken <= finished + 7
            yield number

    async def work(number: int) -> int:
        nonlocal running, finished
        running += 1
        assert running <= 7
        await asyncio.sleep(random.Random(number).random() / 100)
        running, finished = running - 1, finished + 1
        return number

    finished = 0

    async def run() -> list[int]:
        return [result async for result in in_order(source(), work, 7)]

    assert asyncio.run(run()) == list(range(60))


@pytest.mark.parametrize("ended", [1, 4])
def test_closing_the_stream_early_leaves_nothing_running(ended: int) -> None:
    wanted = tasks(30)
    heads = [task.question.metadata["chain"][0] for task in wanted[:ended]]
    hanging = 0

    async def answer(query: str) -> SearchResult:
        nonlocal hanging
        if not any(head in query for head in heads):
            hanging += 1
            try:
                await asyncio.Event().wait()
            finally:
                hanging -= 1
        return SearchResult()

    with rollout(plan("always", ScriptedEngine(answer)), 0.0, in_flight=20) as runner:
        stream = runner.stream(wanted)
        for _ in range(ended):
            next(stream)
        assert hanging > 0
        stream.close()
        assert hanging == 0
        assert model().training is False
        assert len(runner.run(wanted[:1])) == 1


def test_the_first_error_ends_the_others() -> None:
    ended = []

    async def work(number: int) -> int:
        try:
            await asyncio.sleep(0.01 if number == 3 else 3600)
        finally:
            ended.append(number)
        raise KeyError(number)

    async def run() -> None:
        async for _ in in_order(range(100), work, 9):
            pass

    with pytest.raises(KeyError, match="3"):
        asyncio.run(run())
    assert sorted(ended) == list(range(9))


def test_one_slow_task_does_not_let_results_pile_up() -> None:
    begun: list[int] = []

    async def run() -> list[int]:
        free = asyncio.Event()

        async def work(task: int) -> int:
            begun.append(task)
            if task == 0:
                await free.wait()
            elif len(begun) == AHEAD * 5:
                # Nothing else can begin; give it the chance before the slow one ends.
                asyncio.get_running_loop().call_later(0.05, free.set)
            return task

        results = []
        async for result in in_order(range(200), work, 5):
            if not results:
                assert len(begun) == AHEAD * 5
            results.append(result)
        return results

    assert asyncio.run(run()) == list(range(200))
    assert sorted(begun) == list(range(200))


@pytest.mark.parametrize("turn", [1, 2])
def test_an_interrupt_before_the_loop_runs_closes_cleanly(turn: int) -> None:
    """Ctrl-C is as likely between two trajectories as within one."""

    class Interrupted(asyncio.Runner):
        turns = 0

        def run(self, coroutine, **options):
            self.turns += 1
            if self.turns == turn:
                self.get_loop().create_task(coroutine)
                raise KeyboardInterrupt
            return super().run(coroutine, **options)

    policy = TransformersPolicy.of(model(), tokenizer(), 8)
    rollout = Rollout(policy, tokenizer(), Sampling(1.0, 40), _runner=Interrupted())
    with pytest.raises(KeyboardInterrupt), rollout:
        rollout.run(tasks(30))


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
@pytest.mark.parametrize("suspends", ["never", "always", "sometimes"])
def test_tasks_end_whether_or_not_the_policy_suspends(limit: int, suspends: str) -> None:
    """A worker that is never interrupted must not take the places of those who come before it."""

    async def work(number: int) -> int:
        if suspends == "always" or (suspends == "sometimes" and number % 3 == 0):
            await asyncio.sleep(0)
        return number

    async def collect(count: int) -> list[int]:
        return [number async for number in in_order(range(count), work, limit)]

    async def bounded(count: int) -> list[int]:
        running = asyncio.create_task(collect(count))
        for _ in range(50 * (count + 10)):
            if running.done():
                return running.result()
            await asyncio.sleep(0)
        running.cancel()
        raise AssertionError(f"no progress with {count} tasks")

    for count in (0, 1, limit, 4 * limit, 4 * limit + 1, 50 * limit + 7):
        assert asyncio.run(bounded(count)) == list(range(count))
