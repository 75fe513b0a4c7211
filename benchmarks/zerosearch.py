"""Who teaches best: agents of the embedded world, trained against one engine and tested with others.

Makes two simulators (`L` from the bundled model, `S` from an untrained one of a sixth of its size),
trains an agent with each teacher and seed, and evaluates all of them on the test split with their own
memory, with the large simulator and with BM25. Everything goes through the command line as a user types
it; what is there already is not made again.

    python benchmarks/zerosearch.py runs/zerosearch --seeds 0 1 2 --figure docs/zerosearch.svg
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from innersearch.assemble.sources import load_questions
from innersearch.cli.progress import Display
from innersearch.config import SearchSettings, SimulatorSettings
from innersearch.evaluate.evaluation import Evaluation
from innersearch.intervals import proportion
from innersearch.policy.loading import load_tokenizer
from innersearch.stored import read_json, read_lines
from innersearch.view.tables import fidelity_table, markdown, percent
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_making.pretrain import PretrainPlan, new_model

WRITING = SimulatorSettings(prompt="simulator-world", temperature=0.5, max_new_tokens=32)
PROMPTED = ("--search.simulator.mode", "prompted")
FLAT = ("--search.noise.curve", "constant", "--search.noise.end", "0.5")
SILENT = ("--search.noise.end", "0")
FIRST = ("self", "tuned L", "BM25")
"""Teachers that are tried with every seed before any other."""
LEARNED = 0.9
"""Exact match of training trajectories without noise that counts as learned."""


def teachers(folder: Path) -> dict[str, tuple[str, ...]]:
    """Arguments of `innersearch train` for every teacher."""
    simulated = ("recipes/zerosearch-world.toml", "--search.engine")
    large, small = f"simulated:{folder / 'L'}", f"simulated:{folder / 'S'}"
    return {
        "self": ("recipes/ssrl-world.toml",),
        "tuned L": (*simulated, large),
        "BM25": ("recipes/search-r1-world.toml",),
        "tuned S": (*simulated, small),
        "prompted": (*simulated, f"simulated:{BUNDLED}", *PROMPTED),
        "tuned L, p = 0.5": (*simulated, large, *FLAT),
        "tuned L, p = 0": (*simulated, large, *SILENT),
        "BM25, degraded": (*simulated, "world"),
    }


def innersearch(*arguments: str) -> None:
    """Run a command as a user does."""
    subprocess.run([sys.executable, "-m", "innersearch", *arguments], check=True)


def make_simulators(folder: Path) -> None:
    """Collect pairs with BM25 and train both simulators on them."""
    pairs = folder / "pairs.jsonl"
    if not pairs.exists():
        groups = ("--groups", "one_hop_common", "--groups", "two_hop_common")
        asked = ("--data", "world-1:train", *groups, "--engine", "world-1")
        innersearch("simulator", "collect", "world-1", *asked, "--output", str(pairs))
    untrained = folder / "untrained"
    if not untrained.exists():
        tokenizer = load_tokenizer(str(BUNDLED))
        new_model(
            tokenizer, PretrainPlan(width=64, layers=2, heads=2, feed_forward=192)
        ).save_pretrained(untrained)
        tokenizer.save_pretrained(untrained)
    for name, base in (("L", "world-1"), ("S", str(untrained))):
        if not (folder / name / "simulator.json").exists():
            innersearch(
                "simulator", "train", base, str(pairs), "--output", str(folder / name), "--resume"
            )
        if not (folder / name / "fidelity.json").exists():
            writing = ("--temperature", "0.5", "--max-new-tokens", "32")
            innersearch("simulator", "measure", str(folder / name), *writing)
    if not (folder / "prompted.json").exists():
        held_out, prompt = str(folder / "L" / "held-out.jsonl"), ("--prompt", "simulator-world")
        where = ("--output", str(folder / "prompted.json"), "--max-new-tokens", "32")
        innersearch("simulator", "measure", "world-1", held_out, "--mode", "prompted", *prompt, *where)


def tests(folder: Path) -> dict[str, SearchSettings | None]:
    """The engines that every agent is tested with."""
    common = {"router": "always", "k": 1, "style": "plain"}
    large = f"simulated:{folder / 'L'}"
    return {
        "self": None,
        "simulator": SearchSettings(engine=large, simulator=WRITING, **common),
        "BM25": SearchSettings(engine="world-1", **common),
    }


def evaluated(model: str, place: Path, folder: Path, display: Display) -> dict[str, Any]:
    """Summaries of one agent with every engine."""
    choices = {"max_new_tokens": 96, "seed": 0}
    evaluation = Evaluation(model, load_questions("world-1:test"), None, choices, resume=True)
    summaries = {}
    for name, search in tests(folder).items():
        where = place / "test" / name
        done = where / "summary.json"
        summaries[name] = (
            read_json(done) if done.exists() else evaluation.run(where, search, display.update, name)
        )
    return summaries


def learned(run: Path) -> int | None:
    """Steps until the exact match of trajectories without noise is `LEARNED`, averaged over 10 steps."""
    right: dict[int, list[bool]] = {}
    for record in read_lines(run / "trajectories.jsonl"):
        if not any(call.get("label") == "noisy" for call in record["calls"]):
            right.setdefault(record["step"], []).append(record["components"]["em"] == 1.0)
    steps = sorted(right)
    for end in range(10, len(steps) + 1):
        window = [flag for step in steps[end - 10 : end] for flag in right[step]]
        if statistics.fmean(window) >= LEARNED:
            return steps[end - 1]
    return None


def pooled(summaries: Sequence[dict[str, Any]], group: str) -> str:
    """Exact match over the seeds, all questions together."""
    parts = [summary["em"][group] for summary in summaries]
    total = sum(part["n"] for part in parts)
    return percent(proportion(round(sum(p["value"] * p["n"] for p in parts)), total)._asdict())


def report(rows: dict[str, list[tuple[Path, dict[str, Any]]]], group: str) -> str:
    """Train engines against test engines."""
    lines = []
    for teacher, runs in rows.items():
        if not runs:
            continue
        cells = [pooled([summaries[test] for _, summaries in runs], group) for test in tests(Path())]
        steps = [learned(path) for path, _ in runs if (path / "metrics.jsonl").exists()]
        shown = ", ".join("never" if step is None else str(step) for step in steps)
        lines.append([teacher, str(len(runs)), *cells, shown])
    heads = [f"trained with ({group})", "seeds", *tests(Path()), f"steps to EM {LEARNED}"]
    return markdown(heads, lines)


def heat_map(rows: dict[str, list[tuple[Path, dict[str, Any]]]], path: Path) -> None:
    """Train engines against test engines, over all test questions."""
    names, engines = [name for name in rows if rows[name]], list(tests(Path()))
    values = np.array(
        [
            [
                np.mean([summaries[test]["em"]["all"]["value"] for _, summaries in rows[name]])
                for test in engines
            ]
            for name in names
        ]
    )
    figure, axes = plt.subplots(figsize=(5.5, 0.5 * len(names) + 1.4), layout="constrained")
    axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(engines)), engines)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="tested with", ylabel="trained with", title="Exact match on all test questions")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        axes.text(
            column,
            row,
            f"{100 * value:.1f}",
            ha="center",
            va="center",
            color="w" if value < 0.6 else "k",
        )
    figure.savefig(path)


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--teachers", nargs="+", help="only these, as the tables name them")
    parser.add_argument("--print-only", action="store_true", help="train nothing that is missing")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    folder = options.folder.absolute()
    make_simulators(folder)
    plan = sorted(
        ((teacher, seed) for teacher in teachers(folder) for seed in options.seeds),
        key=lambda pair: pair[0] not in FIRST,
    )
    rows: dict[str, list[tuple[Path, dict[str, Any]]]] = {
        "none": [],
        **{t: [] for t in teachers(folder)},
    }
    with Display() as display:
        rows["none"].append((folder, evaluated(str(BUNDLED), folder / "none", folder, display)))
        for teacher, seed in plan:
            run = folder / f"{teacher.replace(' ', '-')}-{seed}"
            missing = not (run / "model" / "model.safetensors").exists()
            wanted = not options.teachers or teacher in options.teachers
            if missing and (options.print_only or not wanted):
                continue
            if missing:
                arguments = (*teachers(folder)[teacher], "--seed", str(seed), "--output", str(run))
                innersearch("train", *arguments, *(["--resume"] if run.exists() else []))
            rows[teacher].append((run, evaluated(str(run / "model"), run, folder, display)))
    measured = {name: read_json(folder / name / "fidelity.json") for name in ("L", "S")}
    print(fidelity_table(measured | {"prompted": read_json(folder / "prompted.json")}))
    for group in ("all", "two_hop_common", "held_out_pair"):
        print(report(rows, group))
    if options.figure:
        heat_map(rows, options.figure)


if __name__ == "__main__":
    main()
