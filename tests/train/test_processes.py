"""Several processes train as one does: same trajectories, same weights, and they stop together.

Through the real command line, with two processes on the CPU over gloo: `make test-processes`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from innersearch.stored import read_lines
from innersearch.world_1.bundled import BUNDLED

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
STEPS = 3
TRAIN = [
    *("-m", "innersearch", "train", "recipes/ssrl-world.toml", "--trainer.optimizer", "adamw"),
    *("--trainer.learning-rate", "1e-4", "--trainer.warmup-steps", "0", "--trainer.save-every", "2"),
    *("--trainer.group-size", "4", "--trainer.micro-batch", "4"),
    *("--sampling.max-new-tokens", "64"),
]
LAUNCH = [
    *("-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate/cpu.yaml"),
    *("--main_process_port", "0"),
]
ONE, TWO = [sys.executable], [sys.executable, *LAUNCH]


def start(launcher: list[str], output: Path, *arguments: str, questions: int = 4) -> subprocess.Popen:
    size = ("--trainer.steps", str(STEPS), "--trainer.prompts-per-step", str(questions))
    command = [*launcher, *TRAIN, *size, "--output", str(output), *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(launcher: list[str], output: Path, *arguments: str) -> str:
    process = start(launcher, output, *arguments)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return errors


def children(process: subprocess.Popen) -> list[int]:
    """The ranks, in order: the launcher's children that run innersearch."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in listed if "innersearch" in Path(f"/proc/{pid}/cmdline").read_text()]


def wait_for_metrics(process: subprocess.Popen, output: Path, lines: int) -> None:
    deadline = time.monotonic() + 180
    while len(list(read_lines(output / "metrics.jsonl"))) < lines:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def tokens(output: Path) -> list[tuple[str, float, list[int]]]:
    return [
        (record["uid"], record["reward"], record["segments"][0]["token_ids"])
        for record in read_lines(output / "trajectories.jsonl")
    ]


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def assert_trained_alike(one: Path, other: Path) -> None:
    """The same weights but for rounding, after steps that moved them.

    AdamW divides by the size of a gradient. Where that is nothing but rounding so is the direction of
    the step: such weights, one in a thousand, may differ by a part of what all have moved.
    """
    ours, theirs, before = weights(one), weights(other), weights(Path(str(BUNDLED)))
    moved, apart = ours - before, ours - theirs
    assert moved.abs().max() >= 1e-4
    assert (apart.abs() > 1e-5).float().mean() <= 5e-3
    assert apart.norm() <= 0.02 * moved.norm()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "one"
    finish(ONE, output)
    return output


def test_two_processes_train_as_one_does(alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "two"
    errors = finish(TWO, output)
    assert errors.count("training 3/3") == 1, "one process speaks for both"
    # Nothing lost, nothing twice, and in the same order.
    assert tokens(output) == tokens(alone)
    assert len({uid for uid, _, _ in tokens(output)}) == STEPS * 16
    curves = [list(read_lines(path / "metrics.jsonl")) for path in (output, alone)]
    for ours, theirs in zip(*curves, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"time/rollout_s", "time/step_s"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    assert_trained_alike(output / "model", alone / "model")


def test_killing_one_rank_ends_both_and_the_run_goes_on_with_any_number(
    alone: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    process = start(TWO, output)
    wait_for_metrics(process, output, 2)
    os.kill(children(process)[1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    # A checkpoint that was under way is done again, by however many there are.
    finish(ONE, output, "--resume")
    assert tokens(output) == tokens(alone)
    assert_trained_alike(output / "model", alone / "model")


def test_ctrl_c_stops_all_and_two_go_on(alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "interrupted"
    process = start(TWO, output)
    wait_for_metrics(process, output, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("innersearch: interrupted") == 1
    finish(TWO, output, "--resume")
    assert tokens(output) == tokens(alone)
    assert_trained_alike(output / "model", alone / "model")


def test_what_cannot_be_shared_equally_is_refused_once(tmp_path: Path) -> None:
    process = start(TWO, tmp_path / "run", questions=5)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count("cannot be dealt to 2 processes: choose a multiple") == 1
    assert not (tmp_path / "run").exists()


def test_accelerate_that_starts_one_process_is_told_of(tmp_path: Path) -> None:
    cpu = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    errors = finish([sys.executable, *cpu], tmp_path / "run")
    assert "accelerate launch --cpu starts one process only" in errors


DRIFT = """
import torch
from innersearch.errors import ModelError, RunError
from innersearch.train import processes

processes.join()
layer = torch.nn.Linear(2, 2)
with torch.no_grad():
    layer.weight.fill_(1.0), layer.bias.fill_(0.0)
processes.demand_same_weights(layer)
with torch.no_grad():
    layer.bias[0] += 1e-7 * processes.rank()
try:
    processes.demand_same_weights(layer)
except ModelError:
    print("drifted apart")

def fail():
    if processes.rank() == 1:
        raise RunError("only here")

try:
    processes.together(fail)
except RunError as error:
    print("heard", error)
print("gathered", processes.to_first([processes.rank()] * 2), processes.by_first(lambda: "said by one"))
"""


def test_errors_and_differing_weights_are_known_everywhere(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(DRIFT)
    command = [*TWO, str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("drifted apart") == 2
    assert done.stdout.count("heard only here") == 2
    assert "gathered [0, 0, 1, 1] said by one" in done.stdout
    assert "gathered [] said by one" in done.stdout


SHARDED = """
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from innersearch.policy.base import Request
from innersearch.policy.loading import load_model
from innersearch.policy.transformers import TransformersPolicy
from innersearch.train import processes
from innersearch.train.trl.sharding import unsharded
from innersearch.types import Sampling
from innersearch.world_1.bundled import BUNDLED

processes.join()
mesh = init_device_mesh("cpu", (processes.count(),))
complete, model = load_model(str(BUNDLED)), load_model(str(BUNDLED))
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
# Each rank has other questions, and as many tokens as they take.
requests = [Request((5, 6, 7 + i), (i,)) for i in range(2 + 3 * processes.rank())]
sampling = Sampling(max_new_tokens=8 * (1 + processes.rank()))


def sampled(policy_of):
    policy = TransformersPolicy(policy_of, [])
    return {done.request: done.completion.token_ids for done in policy.stream(requests, sampling)}


def trained(made):
    logits = made.train()(input_ids=torch.tensor([[5, 6, 7, 8]]), use_cache=False).logits
    loss = logits.log_softmax(-1)[..., 9].sum()
    loss.backward()
    return loss.item()


expected = sampled(complete)
for _ in range(2):
    with unsharded(model):
        assert sampled(model) == expected
    assert abs(trained(model) - trained(complete)) < 1e-4
    for sharded, plain in zip(model.parameters(), complete.parameters(), strict=True):
        assert isinstance(sharded, DTensor)
        assert torch.allclose(sharded.grad.full_tensor(), plain.grad, atol=1e-5)
    model.zero_grad()
    complete.zero_grad()
print("as one")
"""


def test_sharded_weights_sample_and_train_as_whole_ones(tmp_path: Path) -> None:
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    done = subprocess.run([*TWO, str(script)], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as one") == 2


SEGMENTS = """
import sys
from pathlib import Path

from safetensors.torch import save_file

from innersearch.config import PromptSettings, Recipe, SamplingSettings, TrainerSettings
from innersearch.policy.loading import load_model
from innersearch.train import processes
from innersearch.world_1.bundled import BUNDLED
from tests.train import test_segments, test_trl

processes.join()
plan = {"steps": 1, "prompts_per_step": 4, "group_size": 4, "micro_batch": 4, "bf16": False, "kl": 0.3}
plan |= {"whiten": True, "advantage": "rloo", "correction": "truncate", "cap": 1.5, "max_grad_norm": 1e9}
recipe = Recipe(
    prompt=PromptSettings(name="world"),
    sampling=SamplingSettings(max_new_tokens=16),
    trainer=TrainerSettings(**plan, per_segment_weight=sys.argv[2]),
)


class Split(test_segments.Split):
    def run(self, tasks):
        for one in self.inner.run(tasks):
            # Of the question, and not of the place in this process.
            number = 3 * one.repetition + sum(one.question.id.encode()) % 7
            cut = test_segments.in_parts(one, number)
            self.made.append(test_segments.told_otherwise(cut, number))
        return self.made


rollout = test_trl.Rollout
test_trl.Rollout = lambda *arguments: Split(rollout(*arguments))
spy = test_segments.Spy()
model = load_model(str(BUNDLED)).double()
trainer, _ = test_trl.trainer_of(recipe, Path(sys.argv[1]), test_trl.MaskRule(), spy, model=model)
trainer.train()
if processes.is_first():
    _, gradient, _ = spy.updates[0]
    tensors = {name.removeprefix("module."): value for name, value in gradient.items()}
    save_file(tensors, Path(sys.argv[1]) / "gradient.safetensors")
"""


@pytest.mark.parametrize("weight", ["tokens", "equal"])
def test_processes_with_different_numbers_of_segments_have_the_gradient_of_one(
    tmp_path: Path, weight: str
) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(SEGMENTS)
    gradients = []
    for name, launcher in (("one", ONE), ("two", TWO)):
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [*launcher, str(script), str(tmp_path / name), weight],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        gradients.append(load_file(tmp_path / name / "gradient.safetensors"))
    one, two = gradients
    largest = max(float(values.abs().max()) for values in one.values())
    assert largest > 0
    assert max(float((one[n] - two[n]).abs().max()) for n in one) <= 1e-5 * largest
