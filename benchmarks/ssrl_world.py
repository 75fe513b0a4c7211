"""SSRL on the embedded world over seeds and variants: the figures of docs/world-1.md.

Every cell is made by the commands a user would type (`innersearch train`, `eval`, `world probe`), in
processes of their own. Runs that are there already are not repeated, so it can be interrupted.

    python benchmarks/ssrl_world.py                          the default recipe, three seeds
    python benchmarks/ssrl_world.py --variants all           and the ablations
    python benchmarks/ssrl_world.py --split validation --variants muon-.003 \
        --flags --trainer.muon-learning-rate 0.003
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from innersearch.view.tables import percent

RECIPE = "recipes/ssrl-world.toml"
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "information not masked": ["--mask.no-information"],
    "no format reward": ["--reward", "em"],
    "graded format reward": ["--reward", "0.9*em + 0.1*format:graded"],
    "AdamW": ["--trainer.optimizer", "adamw", "--trainer.learning-rate", "1e-3"],
    "KL 0.001": ["--trainer.kl", "0.001"],
    "KL 0.02": ["--trainer.kl", "0.02"],
    "groups not balanced": ["--no-balance-groups"],
}
COLUMNS = ("two_hop_common", "held_out_pair", "one_hop_common")


def innersearch(*arguments: str) -> str:
    command = [sys.executable, "-m", "innersearch", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(folder: Path, flags: list[str], seed: int, split: str, samples: int) -> dict[str, Any]:
    """Train and evaluate one cell, or read what an earlier call measured."""
    result = folder / f"{split}.json"
    if result.is_file():
        return json.loads(result.read_text())
    if not (folder / "model").is_dir():
        resume = ["--resume"] if folder.is_dir() else []
        started = time.perf_counter()
        innersearch("train", RECIPE, "--seed", str(seed), "--output", str(folder), *flags, *resume)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        cost = {"seconds": time.perf_counter() - started, "peak_gb": memory}
        (folder / "cost.json").write_text(json.dumps(cost))
    summary = evaluate(str(folder / "model"), folder / "eval" / split, split, seed, samples)
    summary |= json.loads((folder / "cost.json").read_text())
    summary["probe"] = probe(str(folder / "model"), split)
    result.write_text(json.dumps(summary))
    return summary


def evaluate(model: str, folder: Path, split: str, seed: int, samples: int) -> dict[str, Any]:
    done = folder / "summary.json"
    if done.is_file():
        return json.loads(done.read_text())
    resume = ["--resume"] if folder.is_dir() else []
    data = ["--data", f"world:{split}", "-n", "16", "--sample-questions", str(samples)]
    innersearch("eval", model, *data, "--seed", str(seed), "--output", str(folder), *resume)
    return json.loads(done.read_text())


def probe(model: str, split: str) -> str:
    return re.search(r"common +(.*?) %", innersearch("world", "probe", model, "--split", split))[1]


def row(name: str, seed: str, summary: dict[str, Any]) -> str:
    em = [percent(summary["em"][c]) if c in summary["em"] else "–" for c in COLUMNS]
    sampled = [percent(summary["pass_at_k"]["two_hop_common"][k]) for k in ("1", "16")]
    cost = f"{summary['seconds']:.0f} s, {summary['peak_gb']:.2f} GB" if "seconds" in summary else "–"
    cells = [
        name,
        seed,
        *em,
        *sampled,
        f"{100 * summary['format_rate']:.1f}",
        f"{summary['searches']:.2f}",
    ]
    return "| " + " | ".join([*cells, summary["probe"], cost]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=["default"], help="names, or all")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--split", default="test", choices=["test", "validation"])
    parser.add_argument("--samples", type=int, default=128, help="questions per group sampled 16 times")
    parser.add_argument("--output", type=Path, default=Path("runs/ssrl-world-figures"))
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="for one more variant")
    options = parser.parse_args()
    names = list(VARIANTS) if options.variants == ["all"] else options.variants
    heads = ["two-hop common", "held-out pair", "one-hop common", "pass@1 two-hop", "pass@16 two-hop"]
    print("| variant | seed | " + " | ".join(heads) + " | format | searches | facts known | cost |")
    print("|---" * 11 + "|")
    before = options.output / "before" / options.split
    summary = evaluate("world-1", before, options.split, 0, options.samples)
    print(row("before RL", "–", summary | {"probe": probe("world-1", options.split)}), flush=True)
    for name in names:
        flags = VARIANTS.get(name, []) + options.flags
        for seed in options.seeds:
            folder = options.output / name.replace(" ", "-") / str(seed)
            summary = measure(folder, flags, seed, options.split, options.samples)
            print(row(name, str(seed), summary), flush=True)


if __name__ == "__main__":
    main()
