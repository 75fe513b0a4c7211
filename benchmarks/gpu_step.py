"""Seconds, tokens per second and memory of a whole GRPO step: ours, and TRL's as it comes.

Models in the shape of Qwen2.5, with random weights; prompts and responses as long as SSRL's, every
response of full length, so that both do the same work. Each runs in a process of its own: one step to
warm up, then the median of some. The bound counts 2 FLOP per parameter for every token that is read or
sampled in rollouts, 6 for every one that is trained on and 2 more where activations are recomputed, at
the peak of the device: of an H100 in bfloat16, or on a CPU of a matrix product that is measured.

    python benchmarks/gpu_step.py                     # Qwen2.5-0.5B, one GPU
    python benchmarks/gpu_step.py --shape 1.5b
    python benchmarks/gpu_step.py --small             # a minute on a CPU: shows that it works, no more

No figures of a GPU have been taken with it yet.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
)

from innersearch.config import Recipe, SamplingSettings, TrainerSettings
from innersearch.evaluate.cost import H100_FLOPS
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.run import Rollout
from innersearch.train.trl.trainer import build_trainer, grpo_config
from innersearch.types import Question, Sampling, Trajectory

# hidden, intermediate, layers, heads, key-value heads, vocabulary; prompts, group, prompt and response.
SHAPES = {
    "0.5b": ((896, 4864, 24, 14, 2, 151936), (16, 5, 256, 2048)),
    "1.5b": ((1536, 8960, 28, 12, 2, 151936), (16, 5, 256, 2048)),
    "small": ((64, 160, 2, 4, 2, 1000), (4, 4, 32, 48)),
}
MICRO_BATCH, STEPS = 4, 4
OURS, THEIRS = "innersearch", "TRL"


class Clock(TrainerCallback):
    """Times the steps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop, when the GPU is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def build(shape: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    hidden, inner, layers, heads, kv, vocabulary = SHAPES[shape][0]
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        eos_token_id=0,
    )
    words = {f"w{i}": i for i in range(vocabulary)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w2")), eos_token="w0", pad_token="w1"
    )
    model = Qwen2ForCausalLM(config)
    return (model.cuda() if torch.cuda.is_available() else model), tokenizer


def reward(identity: int) -> float:
    """Any number that differs within a group."""
    return (identity * 7919) % 11 / 10


def one(shape: str, which: str) -> dict[str, float]:
    """Median seconds of a step, and the peak of memory."""
    model, tokenizer = build(shape)
    prompts, group, before, length = SHAPES[shape][1]
    plan = TrainerSettings(
        steps=STEPS + 1, prompts_per_step=prompts, group_size=group, micro_batch=MICRO_BATCH, kl=0.0
    )
    recipe = Recipe(sampling=SamplingSettings(max_new_tokens=length), trainer=plan)
    rows = [tuple((row * 31 + i) % 900 + 5 for i in range(before)) for row in range(prompts)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        make = ours if which == OURS else theirs
        trainer = make(recipe, model, tokenizer, rows, Path(folder))
        trainer.add_callback(clock)
        trainer.args.save_strategy = "no"
        trainer.train()
    peak = (
        torch.cuda.max_memory_allocated()
        if torch.cuda.is_available()
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"seconds": statistics.median(clock.seconds[1:]), "bytes": peak}


def ours(recipe: Recipe, model: Any, tokenizer: Any, rows: list[tuple[int, ...]], folder: Path) -> Any:
    def score(trajectory: Trajectory) -> tuple[float, dict[str, float]]:
        return reward(trajectory.repetition + len(trajectory.uid)), {"em": 0.0, "format": 0.0}

    # Nothing ends a sequence but its length.
    policy = TransformersPolicy(model, [], max_batch=recipe.sampling.max_batch)
    sampling = Sampling(1.0, recipe.sampling.max_new_tokens, 0)
    rollout = Rollout(policy, tokenizer, sampling, score)
    questions = [Question(str(row), "?", ()) for row in range(len(rows))]
    return build_trainer(
        recipe, model, tokenizer, questions, rows, rollout, output=folder, on_rollout=lambda *_: None
    )


def theirs(recipe: Recipe, model: Any, tokenizer: Any, rows: list[tuple[int, ...]], folder: Path) -> Any:
    from trl import GRPOTrainer

    config = grpo_config(recipe, folder)
    length = recipe.sampling.max_new_tokens
    config.generation_kwargs = {"min_new_tokens": length, "max_new_tokens": length}
    data = Dataset.from_dict({"prompt": [" ".join(f"w{i}" for i in row) for row in rows]})

    def rewards(completions: list[str], **_: Any) -> list[float]:
        return [reward(len(text) + n) for n, text in enumerate(completions)]

    made = GRPOTrainer(
        model=model,
        reward_funcs=[rewards],
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
    )
    made.remove_callback(PrinterCallback)
    return made


def peak_flops() -> float:
    """Of an H100 in bfloat16, or of this CPU in a matrix product in float32."""
    if torch.cuda.is_available():
        return H100_FLOPS
    side, best = 1024, float("inf")
    matrix = torch.randn(side, side)
    for _ in range(5):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=["0.5b", "1.5b"], default="0.5b")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=[OURS, THEIRS], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    shape = "small" if chosen.small else chosen.shape
    if chosen.only:
        print(json.dumps(one(shape, chosen.only)))
        return
    model, _ = build(shape)
    parameters = sum(p.numel() for p in model.parameters())
    del model
    prompts, group, before, length = SHAPES[shape][1]
    sampled = prompts * group * length
    on_gpu = torch.cuda.is_available()
    trained = prompts * group * (before + length)
    flops = 2 * parameters * (prompts * before + sampled)
    flops += (8 if on_gpu else 6) * parameters * trained
    bound = flops / peak_flops()
    device = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} CPU thread(s)"
    print(
        f"{parameters / 1e6:,.1f} M parameters, {prompts} × {group} trajectories of {before} + {length} "
        f"tokens, {device}, median of {STEPS} steps"
    )
    for which in (OURS, THEIRS):
        command = [sys.executable, __file__, "--only", which, "--shape", chosen.shape]
        done = subprocess.run(
            command + ["--small"] * chosen.small, check=True, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        rate, share = sampled / found["seconds"], bound / found["seconds"]
        print(
            f"{which:12s} {found['seconds']:8.2f} s  {rate:10,.0f} sampled tokens/s  "
            f"{found['bytes'] / 1e9:6.2f} GB  share of the bound {share:.3f}"
        )
    if not on_gpu:
        print("a CPU: these figures say nothing about a GPU")


if __name__ == "__main__":
    main()
