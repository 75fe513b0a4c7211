from __future__ import annotations

import math

from innersearch.config import GuardSettings
from innersearch.train.guard import Guard

SETTINGS = GuardSettings(window=4)


def steps(*rewards: float, **others: float) -> list[dict[str, float]]:
    return [{"reward/mean": r, "reward/format": 0.9, "loss": 0.1} | others for r in rewards]


def run(records: list[dict[str, float]], settings: GuardSettings = SETTINGS) -> list[str | None]:
    guard = Guard(settings)
    return [guard.check(record) for record in records]


def test_a_healthy_noisy_run_is_left_alone() -> None:
    rewards = [0.3 + 0.01 * step + 0.1 * (-1) ** step for step in range(60)]
    assert run(steps(*rewards)) == [None] * 60


def test_a_falling_reward_stops_the_run_once_half_is_lost() -> None:
    reasons = run(steps(*[0.6] * 6, *[0.0] * 6))
    assert reasons[:8] == [None] * 8
    assert reasons[8] == "the average reward fell from 0.600 to 0.150"


def test_a_run_that_never_had_reward_is_not_collapsed() -> None:
    assert run(steps(*[0.0] * 20)) == [None] * 20


def test_a_falling_format_rate_stops_the_run() -> None:
    records = steps(*[0.5] * 12)
    for record in records[6:]:
        record["reward/format"] = 0.0
    assert "the format rate fell from 0.900 to" in next(r for r in run(records) if r)


def test_unlikely_correct_answers_stop_the_run_before_the_reward_does() -> None:
    records = [
        {"reward/mean": 0.5, "reward/format": 0.9, "policy/correct_logprob": -0.1 * 1.5**step}
        for step in range(12)
    ]
    reason = next(r for r in run(records) if r)
    assert "nats per token less likely" in reason


def test_a_number_that_is_none_stops_at_once_even_when_disabled() -> None:
    settings = GuardSettings(enabled=False)
    assert run(steps(0.5, grad_norm=math.nan), settings) == ["grad_norm is nan"]
    assert run(steps(*[0.6] * 6, *[0.0] * 6), settings) == [None] * 12


def test_checkpoints_are_ranked_by_the_recent_average() -> None:
    guard = Guard(SETTINGS)
    for record in steps(0.0, 0.2, 0.4, 0.6, 0.8):
        guard.check(record)
    assert guard.score() == 0.5
