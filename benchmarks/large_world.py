"""Does pass@k become pass@1 beyond the toy? SSRL on a world of 54,000 facts, with 51 million parameters.

Builds the world (names of two syllables, since one gives too few), pre-trains its model, and runs the
commands that a user would type: `innersearch eval` with many samples, `train`, `eval` again. What is
there already is not done again, so it can be interrupted. Meant for a GPU:

    python benchmarks/large_world.py runs/large-world
    python benchmarks/large_world.py runs/large-world --small     # minutes on a CPU: shows that it works

No figures have been taken at full size yet: no GPU was at hand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from innersearch.cli.progress import Display
from innersearch.view.tables import markdown, percent
from innersearch.world.corpus import CorpusPlan
from innersearch.world.encyclopedia import DEFAULT_POPULATION, Population
from innersearch.world.relations import EntityKind
from innersearch.world_making.build import MANIFEST, build
from innersearch.world_making.pretrain import PretrainPlan

GROUPS = ("depth_1", "depth_2", "held_out_pair", "depth_3")


class Size(NamedTuple):
    """A world, its model, and what is done with it."""

    train: dict[EntityKind, int]
    corpus: CorpusPlan
    plan: PretrainPlan
    steps: int
    samples: int


PERSON, COMPANY, CITY, COUNTRY = EntityKind
FULL = Size(
    {PERSON: 12_000, COMPANY: 1700, CITY: 1700, COUNTRY: 60},
    CorpusPlan(demonstrations=120_000, direct_answers=20_000),
    PretrainPlan(width=640, layers=10, heads=10, feed_forward=1728, batch=256, warmup_steps=200),
    steps=200,
    samples=1024,
)
SMALL = Size(
    {PERSON: 220, COMPANY: 24, CITY: 24, COUNTRY: 7},
    CorpusPlan(epochs=2, demonstrations=4000, direct_answers=500),
    PretrainPlan(),
    steps=2,
    samples=16,
)


def population(size: Size) -> dict[EntityKind, Population]:
    """Far more entities to know, and as many to be tested with as in the embedded world."""
    return {
        kind: Population(size.train[kind], usual.validation, usual.test)
        for kind, usual in DEFAULT_POPULATION.items()
    }


def make_world(folder: Path, size: Size) -> dict[str, Any]:
    manifest = folder / "model" / MANIFEST
    if not manifest.is_file():
        with Display() as display:
            build(
                folder,
                0,
                resume=folder.is_dir(),
                corpus_plan=size.corpus,
                plan=size.plan,
                population=population(size),
                progress=display.update,
            )
    return dict(json.loads(manifest.read_text()))


def innersearch(output: Path, *arguments: str) -> None:
    resume = ["--resume"] if output.is_dir() else []
    command = [sys.executable, "-m", "innersearch", *arguments, "--output", str(output), *resume]
    subprocess.run(command, check=True)


def evaluate(model: Path, data: Path, output: Path, samples: int) -> dict[str, Any]:
    summary = output / "summary.json"
    if not summary.is_file():
        asked = ["--data", str(data), "-n", str(samples), "--sample-questions", "24"]
        innersearch(output, "eval", str(model), *asked)
    return dict(json.loads(summary.read_text()))


def row(when: str, group: str, summary: dict[str, Any]) -> list[str]:
    sampled = summary["pass_at_k"][group]
    chosen = [k for k in ("1", "4", "16", "64", "256", "1024") if k in sampled]
    found = ", ".join(f"@{k} {percent(sampled[k])}" for k in chosen)
    return [group, when, percent(summary["em"][group]), found]


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    size, folder = SMALL if options.small else FULL, options.folder
    started = time.perf_counter()
    manifest = make_world(folder / "world", size)
    model, questions = folder / "world" / "model", folder / "world" / "questions"
    test = questions / "test.jsonl"
    before = evaluate(model, test, folder / "before", size.samples)
    trained = folder / "ssrl"
    if not (trained / "model").is_dir():
        asked = ["--model", str(model), "--data", str(questions / "train.jsonl")]
        innersearch(
            trained, "train", "recipes/ssrl-world.toml", *asked, "--trainer.steps", str(size.steps)
        )
    after = evaluate(trained / "model", test, folder / "after", size.samples)
    rows = [row(w, g, s) for g in GROUPS for w, s in (("before", before), ("after", after))]
    facts = sum(1 for _ in (folder / "world" / "encyclopedia.jsonl").open())
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(
        f"{facts:,} passages, {manifest['parameters']:,} parameters, {size.steps} steps of SSRL, "
        f"{device}, {time.perf_counter() - started:.0f} s\n\n"
        + markdown(["group", "SSRL", "greedy EM", "pass@k"], rows)
    )


if __name__ == "__main__":
    main()
