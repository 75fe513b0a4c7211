"""Kills a training at many points and compares what comes out with the run that nobody disturbed.

    python benchmarks/resume.py [--points 12] [--work runs/resume] [--output FILE]

A tiny training on the embedded world: 7 questions, 2 a step, so that epochs end in the middle of steps;
three epochs; a checkpoint at every second step. It runs as a process of its own and is killed by real
signals at named places, which are reached by counting, not by waiting: the process sends the signal to
itself. Then it is resumed, and trajectories (bytes), metrics without times, and final weights (bits) are
compared with those of the uninterrupted run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from innersearch.stored import read_lines
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

QUESTIONS, PER_STEP = 7, 2
STEPS = 11
"""Three epochs are 21 questions, which end in the eleventh step."""


class Point(NamedTuple):
    """Where a run is killed, and how."""

    place: str
    step: int
    how: signal.Signals


KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
POINTS = (
    Point("after the step", 1, KILL),
    Point("after the rollouts", 2, KILL),
    Point("before the mark", 2, KILL),
    Point("after the step", 3, INT),
    Point("after the rollouts", 4, KILL),
    Point("after the mark", 4, KILL),
    Point("in the middle of saving", 6, KILL),
    Point("after the step", 7, TERM),
    Point("before the mark", 8, KILL),
    Point("after the rollouts", 9, INT),
    Point("after the step", 10, KILL),
    Point("before the mark", 11, KILL),
)

CHILD = """
import os, sys
from innersearch.checkpoints import Checkpoints
from innersearch.cli import main
from innersearch.train.recorder import Recorder
from innersearch.train.trl.saving import SavesPlainly

place, step, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def die(here, at):
    if (here, at) == (place, step):
        os.kill(os.getpid(), number)

def around(owner, name, step_of, before=None, after=None):
    real = getattr(owner, name)
    def replaced(self, *arguments, **named):
        at = step_of(self, *arguments)
        if before:
            die(before, at)
        result = real(self, *arguments, **named)
        if after:
            die(after, at)
        return result
    setattr(owner, name, replaced)

around(Recorder, "on_rollout", lambda self, at, *_: at, after="after the rollouts")
around(Recorder, "on_log", lambda self, args, state, *_: state.global_step, after="after the step")
around(Checkpoints, "mark", lambda self, path, at, *_: at, "before the mark", "after the mark")
around(SavesPlainly, "_save_optimizer_and_scheduler", lambda self, *_: self.state.global_step,
       before="in the middle of saving")
raise SystemExit(main(sys.argv[4:]))
"""

TRAIN = (
    *("train", "recipes/ssrl-world.toml", "--trainer.steps", str(STEPS), "--trainer.save-every", "2"),
    *("--trainer.prompts-per-step", str(PER_STEP), "--trainer.group-size", "4"),
    *("--trainer.micro-batch", "4", "--sampling.max-new-tokens", "12", "--guard.no-enabled"),
)


def start(output: Path, data: Path, point: Point | None, *further: str) -> int:
    """Train in a process of its own, to the end or to a point; its exit status."""
    place = (point.place, str(point.step), str(int(point.how))) if point else ("nowhere", "0", "0")
    named = ("--data", str(data), "--empty-groups", "--output", str(output))
    command = [sys.executable, "-c", CHILD, *place, *TRAIN, *named, *further]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    return done.returncode


def curve(output: Path) -> list[dict[str, float]]:
    return [
        {name: value for name, value in record.items() if not name.startswith("time/")}
        for record in read_lines(output / "metrics.jsonl")
    ]


def compared(whole: Path, other: Path) -> dict[str, bool]:
    """What is equal in two runs."""
    lines = [(path / "trajectories.jsonl").read_bytes() for path in (whole, other)]
    groups = [
        [record["group_id"] for record in read_lines(path / "trajectories.jsonl")]
        for path in (whole, other)
    ]
    weights, others = (load_file(path / "model" / "model.safetensors") for path in (whole, other))
    return {
        "rows": groups[0] == groups[1],
        "trajectories": lines[0] == lines[1],
        "metrics": curve(whole) == curve(other),
        "weights": all(torch.equal(tensor, others[name]) for name, tensor in weights.items()),
    }


def demand(held: object, otherwise: str) -> None:
    if not held:
        raise SystemExit(otherwise)


def write_questions(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": q.id, "question": q.question, "golden_answers": list(q.golden_answers)}
        for q in questions(Encyclopedia.generate(0), Split.TRAIN)[:QUESTIONS]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=len(POINTS))
    parser.add_argument("--work", type=Path, default=Path("runs/resume"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/resume.md"))
    chosen = parser.parse_args()
    shutil.rmtree(chosen.work, ignore_errors=True)
    data, whole = chosen.work / "questions.jsonl", chosen.work / "whole"
    write_questions(data)
    demand(start(whole, data, None) == 0, "the uninterrupted run failed")
    rows = []
    for number, point in enumerate(POINTS[: chosen.points], 1):
        output = chosen.work / f"killed-{number}"
        status = start(output, data, point)
        demand(status in (-point.how, 128 + point.how), f"{point} was not reached: {status}")
        steps = len(curve(output))
        demand(start(output, data, None, "--resume") == 0, f"resuming after {point} failed")
        equal = compared(whole, output)
        epoch = (point.step - 1) * PER_STEP // QUESTIONS + 1
        cells = ["equal" if same else "DIFFERENT" for same in equal.values()]
        name = point.how.name
        rows.append([str(number), str(epoch), f"{point.place} {point.step}", name, str(steps), *cells])
        print(" | ".join(rows[-1]), flush=True)
    heads = [
        "",
        "in epoch",
        "killed",
        "by",
        "steps recorded",
        "rows",
        "trajectories",
        "metrics",
        "weights",
    ]
    equal_runs = sum("DIFFERENT" not in row for row in rows)
    table = [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
    text = f"""# Resumed runs against the uninterrupted one

`python benchmarks/resume.py`: {QUESTIONS} questions, {PER_STEP} a step, {STEPS} steps, which are
three epochs; Muon with AdamW, linear schedule, a checkpoint at every second step.
**{equal_runs} of {len(rows)} equal**: trajectories byte for byte, metrics but for times, weights bit
for bit.

"""
    chosen.output.write_text(text + "\n".join(table) + "\n")


if __name__ == "__main__":
    main()
