"""pass@k with k up to 1,024: what an evaluation needs in memory, and whether it survives kills.

    python benchmarks/passk.py --kills 1                125 questions × 1,024 samples of the tiny model
    python benchmarks/passk.py --samples 64 --kills 3   smaller, killed three times on the way

Runs `innersearch eval` on questions of the embedded world, in processes of its own, kills it with
SIGKILL at even shares of the samples, resumes, and prints the peak memory above that of the model loaded
and idle, and throughput. With 1,024 samples it writes benchmarks/results/passk.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from innersearch.evaluate.run import BEGUN
from innersearch.records import read_json, read_lines, write_json

QUESTIONS = 125
RESULTS = Path(__file__).parent / "results" / "passk.json"
IDLE = """
import resource
from innersearch.evaluate import run
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.world.encyclopedia import Encyclopedia
from innersearch.world.shipped import SHIPPED
load_model(str(SHIPPED)), load_tokenizer(str(SHIPPED)), Encyclopedia.generate(0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    options = parse()
    idle = int(subprocess.run([sys.executable, "-c", IDLE], capture_output=True, check=True).stdout)
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "questions.jsonl", Path(folder) / "out"
        write_questions(data)
        total, peak = QUESTIONS * options.samples, 0
        kills = [total * (i + 1) // (options.kills + 1) for i in range(options.kills)]
        start = time.monotonic()
        for target in [*kills, 0]:
            most = run(data, output, options, target)
            peak = max(peak, most)
            done = finished(output, options.samples)
            print(f"{done:,} of {total:,} samples, peak {most / 2**20:,.0f} MiB", flush=True)
        seconds = time.monotonic() - start
        summary = read_json(output / "summary.json")
        records = list(read_lines(output / "samples.jsonl"))
        if [len(record["em"]) for record in records] != [options.samples] * QUESTIONS:
            raise SystemExit("samples are missing")
        result = {
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
            "pass_at_k": {k: e["value"] for k, e in summary["pass_at_k"]["all"].items()},
        }
    print(json.dumps(result, indent=2))
    if options.samples == 1024:
        write_json(RESULTS, result)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--kills", type=int, default=0)
    return parser.parse_args()


def write_questions(path: Path) -> None:
    from innersearch.world.encyclopedia import Encyclopedia, Split
    from innersearch.world.questions import questions

    chosen = questions(Encyclopedia.generate(0), Split.TEST)[::13][:QUESTIONS]
    rows = [
        {"id": q.id, "question": q.question, "golden_answers": q.golden_answers, "group": q.group}
        for q in chosen
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(data: Path, output: Path, options: argparse.Namespace, target: int) -> int:
    """Evaluate until done, or until `target` samples are there; peak memory in bytes."""
    command = [sys.executable, "-m", "innersearch", "eval", "world", "--data", str(data), "--resume"]
    command += ["--output", str(output), "-n", str(options.samples)]
    command += ["--max-new-tokens", str(options.max_new_tokens)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        time.sleep(0.2)
        peak = max(peak, high_water_mark(process.pid))
        if target and finished(output, options.samples) >= target:
            process.send_signal(signal.SIGKILL)
            process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return peak


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
