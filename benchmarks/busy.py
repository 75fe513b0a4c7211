"""What sharing a machine costs: the same work on a quiet one and beside one busy loop per processor.

    python benchmarks/busy.py                    training passes: the world's model, and 135M parameters
    python benchmarks/busy.py --demo --rounds 1  `innersearch demo --small`

Each round runs every way to wait once, in turn, so that a slow minute hits all alike. `bounded` is what
innersearch sets, `default` what OpenMP does by itself, `sleeping` gives the processor up at once. A fair
share of two processors between two threads and two loops is half, so that busy takes twice as long as
quiet at best.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from innersearch.openmp import SPINS

WAYS = {
    "bounded": SPINS,
    "default": {},
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
}
LIMIT_S = 1800.0

PASS = """
import statistics, sys, time
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig
from innersearch.world_1.bundled import BUNDLED

torch.manual_seed(0)
if sys.argv[1] == "world":
    config, shape = AutoConfig.from_pretrained(BUNDLED), (64, 64)
else:
    config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536,
        num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
    shape = (2, 64)
model = AutoModelForCausalLM.from_config(config)
tokens = torch.randint(0, config.vocab_size, shape)

def step():
    started = time.perf_counter()
    model(input_ids=tokens, labels=tokens).loss.backward()
    model.zero_grad()
    return time.perf_counter() - started

step()
print(statistics.median(step() for _ in range(int(sys.argv[2]))))
"""


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Processes that compute and never wait."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def seconds(job: str, way: str) -> float:
    """One pass, or one demo; infinity where it does not end within half an hour."""
    names = {name for variables in WAYS.values() for name in variables}
    environment = {k: v for k, v in os.environ.items() if k not in names} | WAYS[way]
    if way == "default":
        # Innersearch leaves alone what is set, and this is what libgomp takes by itself.
        environment["GOMP_SPINCOUNT"] = "300000"
    with tempfile.TemporaryDirectory() as folder:
        demo = [sys.executable, "-m", "innersearch", "demo", str(Path(folder, "demo")), "--small"]
        command = (
            demo if job == "demo" else [sys.executable, "-c", PASS, job, "9" if job == "world" else "3"]
        )
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return float("inf")
        return time.perf_counter() - started if job == "demo" else float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="time the small demo instead of passes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    given = parser.parse_args()
    processors = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {processors} processors, load {load:.1f}")
    print(
        f"medians of {given.rounds} rounds, seconds\n\n| work | waiting | quiet | busy | busy ÷ quiet |"
    )
    print("|---|---|---|---|---|")
    for job in ["demo"] if given.demo else ["world", "135M"]:
        taken = {(way, loops): [] for way in given.ways for loops in (0, processors)}
        for _ in range(given.rounds):
            for loops in (0, processors):
                with busy_loops(loops):
                    for way in given.ways:
                        taken[way, loops].append(seconds(job, way))
        for way in given.ways:
            quiet, busy = (statistics.median(taken[way, loops]) for loops in (0, processors))
            print(f"| {job} | {way} | {quiet:.3f} | {busy:.3f} | {busy / quiet:.2f} |", flush=True)


if __name__ == "__main__":
    main()
