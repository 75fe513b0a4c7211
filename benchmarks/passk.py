"""pass@k with k up to 1,024: what an evaluation needs in memory, and whether it survives kills.

    python benchmarks/passk.py --kills 2                        125 questions × 1,024 samples, scripted
    python benchmarks/passk.py --policy world --samples 64      of the tiny model, by `innersearch eval`

The scripted policy answers at random, mostly after 20 to 100 tokens, now and then after 4,000, so that
what finishes early has to wait for what finishes late, as with real models; it costs almost no time
itself. Evaluations run in processes of their own, are killed with SIGKILL at even shares of the samples,
and resume. Prints the peak memory, and that above the process before it evaluates (model loaded). With
1,024 samples of the scripted policy it writes benchmarks/results/passk.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from innersearch.evaluate.run import BEGUN, EvalSettings, evaluate
from innersearch.policy.base import Completion, Request, stream_key
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.readers import read_questions
from innersearch.records import write_json
from innersearch.stored import read_json, read_lines
from innersearch.types import Finish, Sampling
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

QUESTIONS = 125
RESULTS = Path(__file__).parent / "results" / "passk.json"
SHORT, LONG, LONG_SHARE, TOKEN_S = 20, 4000, 0.01, 1e-3
"""The scripted policy: usual and longest tokens, share of the longest, seconds per token."""


class Scripted:
    """A policy whose responses need no model; see `innersearch.policy.base.Policy`."""

    name, provides, context = "scripted", frozenset({"tokens", "logprobs", "entropies"}), 1 << 20

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        texts = (f"<think>x</think><answer>{word}</answer>" for word in ("Kaney", "Nemie", "Tilorn"))
        self._ends = [tokenizer.encode(text) for text in texts]
        self._filler = tokenizer.encode("Nemie")[:1]

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[Scripted]:
        """See `Policy`."""
        self._seed = sampling.seed
        yield self

    async def generate(self, request: Request) -> Completion:
        """See `Sampler`."""
        rng = random.Random(stream_key(self._seed, request.stream))
        length = LONG if rng.random() < LONG_SHARE else int(rng.expovariate(1 / SHORT)) + SHORT
        await asyncio.sleep(length * TOKEN_S)
        tokens = self._filler * length + rng.choice(self._ends)
        values = [rng.random() for _ in tokens]
        return Completion(tokens, [-value for value in values], values, Finish.EOS)


def child(policy: str, data: Path, output: Path, samples: int, max_new_tokens: int) -> None:
    """What is measured; its first line is what the process needs before it evaluates."""
    model, tokenizer = load_model(str(BUNDLED)), load_tokenizer(str(BUNDLED))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
    settings = EvalSettings(prompt="world", samples=samples, max_new_tokens=max_new_tokens)
    used = Scripted(tokenizer) if policy == "scripted" else TransformersPolicy.of(model, tokenizer)
    evaluate(used, tokenizer, read_questions(data), output, settings, resume=True)


def main() -> None:
    options = parse()
    if options.child:
        return child(options.policy, *map(Path, options.child), options.samples, options.max_new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "questions.jsonl", Path(folder) / "out"
        write_questions(data)
        total, peak, idle = QUESTIONS * options.samples, 0, 0
        kills = [total * (i + 1) // (options.kills + 1) for i in range(options.kills)]
        start = time.monotonic()
        for target in [*kills, 0]:
            idle, most = run(data, output, options, target)
            peak = max(peak, most)
            done = finished(output, options.samples)
            print(f"{done:,} of {total:,} samples, peak {most / 2**20:,.0f} MiB", flush=True)
        seconds = time.monotonic() - start
        summary = read_json(output / "summary.json")
        records = list(read_lines(output / "samples.jsonl"))
        if [len(record["em"]) for record in records] != [options.samples] * QUESTIONS:
            raise SystemExit("samples are missing")
        result = {
            "policy": options.policy,
            "questions": QUESTIONS,
            "samples": options.samples,
            "max_new_tokens": options.max_new_tokens,
            "kills": options.kills,
            "idle_mib": round(idle / 2**20),
            "peak_mib": round(peak / 2**20),
            "above_idle_mib": round((peak - idle) / 2**20),
            "seconds": round(seconds),
            "samples_per_s": round(total / seconds),
            "records_mib": round(sum(f.stat().st_size for f in output.iterdir()) / 2**20, 1),
            "ks": list(summary["pass_at_k"]["all"]),
        }
    print(json.dumps(result, indent=2))
    if options.samples == 1024 and options.policy == "scripted":
        write_json(RESULTS, result)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policy", choices=("scripted", "world"), default="scripted")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_questions(path: Path) -> None:
    chosen = questions(Encyclopedia.generate(0), Split.TEST)[::13][:QUESTIONS]
    rows = [
        {"id": q.id, "question": q.question, "golden_answers": q.golden_answers, "group": q.group}
        for q in chosen
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(data: Path, output: Path, options: argparse.Namespace, target: int) -> tuple[int, int]:
    """Evaluate until done, or until `target` samples are there; memory before and at its peak, bytes."""
    command = [sys.executable, __file__, "--child", str(data), str(output), "--policy", options.policy]
    command += ["--samples", str(options.samples), "--max-new-tokens", str(options.max_new_tokens)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    idle, peak = int(process.stdout.readline()), 0
    while process.poll() is None:
        time.sleep(0.05)
        peak = max(peak, high_water_mark(process.pid))
        if target and finished(output, options.samples) >= target:
            process.send_signal(signal.SIGKILL)
            process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return idle, peak


def high_water_mark(pid: int) -> int:
    """Largest resident size so far, in bytes; 0 once the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("VmHWM"))
    return next((int(line[1]) * 1024 for line in lines), 0)


def finished(output: Path, samples: int) -> int:
    """Samples on disk."""
    complete = count_lines(output / "samples.jsonl")
    begun = count_lines(output / BEGUN)
    return max(complete * samples, begun)


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
