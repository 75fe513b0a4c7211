"""The order of questions follows from seed and epoch, however often training was stopped."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from innersearch.checkpoints import MARK
from innersearch.config import Recipe, SimulatorSettings, TuningSettings
from innersearch.errors import RunError
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.runs import Run
from innersearch.simulator.pairs import Pair
from innersearch.stored import read_lines
from innersearch.train import order, sft
from innersearch.train.run import train
from innersearch.types import Document, Question
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

ROOT = Path(__file__).parents[2]
STEPS = 9
EPOCHS = 3


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count))),
)
@settings(max_examples=150, deadline=None)
def test_every_question_is_used_equally_often_and_none_twice_in_a_step(
    seed: int, sizes: tuple[int, int]
) -> None:
    count, size = sizes
    used: Counter[int] = Counter()
    for step in islice(order.steps(seed, count, size), 25):
        assert len(step) == len(set(step)) == size
        used.update(step)
        assert max(used.values()) - min(used[row] for row in range(count)) <= 1
    assert list(islice(order.steps(seed, count, size), 25)) == list(
        islice(order.steps(seed, count, size), 25)
    )


def test_epochs_differ_and_follow_from_seed_and_epoch_alone() -> None:
    orders = [tuple(order.order(seed, epoch, 50)) for seed in (0, 1) for epoch in range(4)]
    assert len(set(orders)) == 8
    assert all(sorted(rows) == list(range(50)) for rows in orders)
    # Written down, for it must be the same on every machine and with every version.
    assert order.order(7, 3, 8) == [4, 0, 2, 1, 5, 7, 3, 6]
    # The epochs of an uneven number of steps have the same orders, cut otherwise.
    assert order.rows_of(5, 9, 3, 6) == order.rows_of_epochs(5, 9, 2)
    assert order.rows_of(5, 9, 3, 9)[3:] == order.rows_of_epochs(5, 9, 3)[3:]


class Stopped(Exception):
    """Stands for a kill: nothing after it is written."""


def short(**trainer: Any) -> Recipe:
    plan = {"steps": STEPS, "prompts_per_step": 2, "group_size": 4, "micro_batch": 4, "save_every": 2}
    plan |= {"warmup_steps": 2, "schedule": "linear", "kl": 0.0, "optimizer": "muon"}
    plan |= {"learning_rate": 1e-3, "muon_learning_rate": 0.01}
    return Recipe.model_validate(
        {
            "model": str(BUNDLED),
            "prompt": {"name": "world"},
            "sampling": {"max_new_tokens": 12},
            "guard": {"enabled": False},
            "trainer": plan | trainer,
        }
    )


def asked(count: int = 6) -> list[Question]:
    return questions(Encyclopedia.generate(0), Split.TRAIN)[:count]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.train.test_order import asked, short, train

def observer(step, metrics):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

train(short(), asked(), Path(sys.argv[1]), resume=True, observer=observer)
"""


def stop_after(step: int) -> Any:
    def observer(done: int, metrics: Any) -> None:
        if done == step:
            raise Stopped

    return observer


def rows(path: Path) -> list[str]:
    return [record["group_id"] for record in read_lines(path / "trajectories.jsonl")]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert (one / "trajectories.jsonl").read_bytes() == (other / "trajectories.jsonl").read_bytes()
    curves = [
        [{k: v for k, v in r.items() if not k.startswith("time/")} for r in read_lines(p)]
        for p in (one / "metrics.jsonl", other / "metrics.jsonl")
    ]
    assert curves[0] == curves[1]
    weights, others = (load_file(path / "model" / "model.safetensors") for path in (one, other))
    assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())


def test_a_run_stopped_in_each_of_three_epochs_is_the_uninterrupted_one(tmp_path: Path) -> None:
    recipe = short()
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(recipe, asked(), whole)
    for step in (2, 8):
        with pytest.raises(Stopped):
            train(recipe, asked(), stopped, resume=step > 2, observer=stop_after(step))
        if step == 2:
            killed = subprocess.run([sys.executable, "-c", KILLED, stopped], cwd=ROOT)
            assert killed.returncode == -signal.SIGKILL
            assert len(list(read_lines(stopped / "metrics.jsonl"))) == 5
    train(recipe, asked(), stopped, resume=True)
    assert_equal_runs(whole, stopped)
    used = Counter(row.partition("/")[2] for row in rows(whole)[::4])
    assert set(used.values()) == {EPOCHS}


@pytest.mark.parametrize(
    "trainer",
    [
        {"kl": 0.05, "optimizer": "adamw", "schedule": "cosine"},
        {
            "optimizer": "adamw",
            "learning_rate": 1e-2,
            "lora": {"rank": 2, "dropout": 0.3, "targets": ("q_proj",)},
        },
    ],
    ids=["reference and cosine", "adapters with dropout"],
)
def test_what_else_a_run_carries_goes_on_as_well(tmp_path: Path, trainer: dict[str, Any]) -> None:
    recipe = short(steps=5, **trainer)
    train(recipe, asked(7), tmp_path / "whole")
    with pytest.raises(Stopped):
        train(recipe, asked(7), tmp_path / "stopped", observer=stop_after(3))
    train(recipe, asked(7), tmp_path / "stopped", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_of_another_order_is_not_gone_on_with(tmp_path: Path) -> None:
    """Marks of earlier versions say nothing of files; their questions came in TRL's order."""
    recipe = short()
    run = Run.start(tmp_path / "run", recipe, resume=False)
    (run.checkpoints / "checkpoint-2").mkdir(parents=True)
    (run.checkpoints / "checkpoint-2" / "innersearch.json").write_text('{"step": 2, "score": 0.5}')
    with pytest.raises(RunError, match="another order: end the run with that version, or start anew"):
        train(recipe, asked(), run.path, resume=True)
    assert (run.checkpoints / "checkpoint-2").is_dir()


def pairs() -> list[Pair]:
    """Six useful and six noisy ones."""
    return [
        Pair(question, question.question, (Document(str(n), "", f"Fact {n} is {n}."),), label=label)
        for n, question in enumerate(asked(6))
        for label in ("useful", "noisy")
    ]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_training_of_a_simulator_goes_on_as_well(tmp_path: Path, optimizer: str) -> None:
    """Twelve pairs, five a step, three epochs: eight steps, checkpoints after 2, 4, 6 and 8."""
    settings = TuningSettings(epochs=3, batch=5, optimizer=optimizer, learning_rate=1e-3)
    simulator = SimulatorSettings(prompt="simulator-world")

    def tuned(folder: Path, stop: int | None = None, *, resume: bool = False) -> dict[str, torch.Tensor]:
        def on_step(step: int, steps: int, loss: float) -> None:
            assert steps == 8
            if step == stop:
                raise Stopped

        model, tokenizer = load_model(str(BUNDLED)), load_tokenizer(str(BUNDLED))
        sft.tune(model, tokenizer, pairs(), simulator, settings, folder, resume=resume, on_step=on_step)
        return load_file(folder / "model.safetensors")

    whole = tuned(tmp_path / "whole")
    with pytest.raises(Stopped):
        tuned(tmp_path / "stopped", stop=5)
    newest = max((tmp_path / "stopped" / "checkpoints").iterdir())
    assert newest.name == "checkpoint-4"
    # What a kill in the middle of saving leaves is no checkpoint.
    shutil.copytree(newest, newest.with_name("checkpoint-6"), ignore=lambda *_: [MARK])
    again = tuned(tmp_path / "stopped", resume=True)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt*"))
