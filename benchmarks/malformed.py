"""Every verb on damaged and odd files: `python benchmarks/malformed.py [--few 3] [--only WORD]`.

Each file that a verb reads is damaged in the ways of `tests.damaged`, drawn with a seed, and the verb is
run on it. Right is exit status 0, 1 or 2, one line for a failure, no traceback, and no file changed
where the verb failed. Prints what was not so, and `N inputs, M tracebacks`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.damaged import (
    CALIBRATE,
    COLLECT,
    EVAL,
    TRAIN,
    TUNE,
    Outcome,
    damages,
    make,
    tried,
)

_ENGINE = ["--engine", "bm25:ix"]
_RESUME = ["eval", "model", *EVAL, "-n", "2", "--output", "half", "--resume"]
_AGAIN = ["train", "r.toml", *TRAIN, "--output", "halfrun", "--resume"]
_ASK = ["ask", "model", "Who is it?", "--max-new-tokens", "16"]
_JSON = ("summary.json", "settings.json", "identity.json")
COMMANDS: list[tuple[list[str], list[str]]] = [
    (["eval", "model", *EVAL, "--output", "new"], ["q.jsonl", "ix/settings.json", "ix/documents.jsonl"]),
    (["eval", "model", *EVAL[2:], "--data", "q.json", "--output", "new"], ["q.json"]),
    (["eval", "model", *EVAL[2:], "--data", "q.csv", "--output", "new"], ["q.csv"]),
    (
        _RESUME,
        [
            *("half/greedy.jsonl", "half/samples.jsonl", "half/samples-begun.jsonl"),
            *("half/trajectories.jsonl", "half/settings.json", "half/identity.json"),
        ],
    ),
    (
        ["compare", "ev", "run/eval/after", "--resamples", "100"],
        [
            "ev/greedy.jsonl",
            "ev/samples.jsonl",
            "ev/summary.json",
            "ev/settings.json",
            "ev/identity.json",
        ],
    ),
    (["compare", "ev", "run/eval/after", "--cluster", "group"], ["ev/trajectories.jsonl"]),
    (["train", "r.toml", "--dry-run"], ["r.toml", "q.jsonl"]),
    (
        _AGAIN,
        [
            *("halfrun/metrics.jsonl", "halfrun/trajectories.jsonl", "halfrun/recipe.json"),
            *("halfrun/environment.json", "halfrun/identity.json"),
            *("halfrun/checkpoints/checkpoint-1/innersearch.json",),
            *("halfrun/checkpoints/checkpoint-1/trainer_state.json",),
            "halfrun/checkpoints/checkpoint-1/optimizer.safetensors",
        ],
    ),
    (
        _ASK,
        [
            *("model/config.json", "model/tokenizer_config.json", "model/generation_config.json"),
            *("model/chat_template.jinja", "model/tokenizer.json", "model/model.safetensors"),
        ],
    ),
    ([*_ASK, "--search", "hybrid", *_ENGINE], ["model/gate.json", "ix/params.index.json"]),
    (["index", "c.jsonl", "new"], ["c.jsonl"]),
    (["index", "ix", "--verify"], ["ix/settings.json", "ix/offsets.npy"]),
    (
        ["search", "bm25:ix", "text"],
        [
            *("ix/settings.json", "ix/params.index.json", "ix/vocab.index.json", "ix/documents.jsonl"),
            *("ix/offsets.npy", "ix/data.csc.index.npy", "ix/indptr.csc.index.npy"),
        ],
    ),
    (["search", "bm25:ix", "text", "--cache", "cache.sqlite"], ["cache.sqlite"]),
    (
        ["sim2real", "model", *CALIBRATE[:4], *CALIBRATE[6:], "--output", "s2r", "--resume"],
        ["s2r/self/greedy.jsonl", "s2r/always/settings.json", "s2r/first-1/trajectories.jsonl"],
    ),
    (
        ["calibrate", "model", *CALIBRATE, "--output", "cal", "--resume"],
        ["cal/shadow/trajectories.jsonl", "cal/shadow/greedy.jsonl", "cal/always/summary.json"],
    ),
    (["simulator", "collect", *COLLECT, "--output", "new.jsonl"], ["q.jsonl", "model/config.json"]),
    (["simulator", "collect", *COLLECT, "--output", "p.jsonl", "--resume"], ["p.jsonl"]),
    (["simulator", "label", "l.jsonl", "--output", "new.jsonl"], ["l.jsonl"]),
    (["simulator", "label", "l.jsonl", "--output", "p.jsonl", "--resume"], ["p.jsonl"]),
    (["simulator", "train", "model", "l.jsonl", *TUNE, "--output", "new"], ["l.jsonl"]),
    (
        ["simulator", "train", "model", "l.jsonl", *TUNE, "--output", "sim", "--resume"],
        [
            *("sim/identity.json", "sim/checkpoints/checkpoint-1/innersearch.json"),
            "sim/checkpoints/checkpoint-1/trainer_state.json",
        ],
    ),
    (
        ["simulator", "measure", "sim", "--max-queries", "1", "--max-new-tokens", "16"],
        ["sim/simulator.json", "sim/held-out.jsonl", "sim/generation_config.json"],
    ),
    (
        ["cost", "--run", "run"],
        ["run/recipe.json", "run/trajectories.jsonl", "run/metrics.jsonl", "run/budget.json"],
    ),
    (["cost", "r.toml"], ["r.toml"]),
    (["data", "ls", "data"], ["data/bamboogle.manifest.json", "data/bamboogle.jsonl"]),
    (
        ["data", "get", "bamboogle", "--from", "q.jsonl", "--output", "data"],
        ["q.jsonl", "data/bamboogle.manifest.json"],
    ),
    (["data", "check", "q.jsonl", "--against", "q.json"], ["q.jsonl", "q.json"]),
    (
        ["data", "coverage", "q.jsonl", *_ENGINE, "-k", "1,2", "--output", "cov", "--resume"],
        ["q.jsonl", "cov/coverage.jsonl", "cov/settings.json"],
    ),
    (
        ["report", "run"],
        [
            *("run/metrics.jsonl", "run/trajectories.jsonl", "run/recipe.json", "run/environment.json"),
            *("run/eval/after/summary.json", "run/eval/after/trajectories.jsonl", "run/budget.json"),
            "run/eval/after/greedy.jsonl",
        ],
    ),
    (["world", "probe", "model"], ["model/config.json", "model/tokenizer_config.json"]),
]
ODD_OPTIONS: list[list[str]] = [
    [*_ASK, "--temperature", "nan"],
    [*_ASK, "--temperature", "inf"],
    [*_ASK, "--temperature", "1e-400"],
    [*_ASK, "--max-new-tokens", "9" * 30],
    [*_ASK, "--max-new-tokens", "9" * 5000],
    [*_ASK, "--seed", "-1"],
    [*_ASK, "--seed", "9" * 40],
    ["ask", "model", "\udcff"],
    ["ask", "model", ""],
    ["ask", "~nobody/model", "Who?"],
    ["ask", "model/\udcff", "Who?"],
    ["ask", "x" * 5000, "Who?"],
    [*_ASK, "--prompt", "\udcff"],
    [*_ASK, "--search", "first:" + "9" * 5000],
    [*_ASK, "--search", "gate:entropy:nan", *_ENGINE],
    [*_ASK, "--search", "gate::", *_ENGINE],
    [*_ASK, "--search", "random:1e400", *_ENGINE],
    [*_ASK, "--search", "always", "--engine", "bm25:~nobody/x"],
    [*_ASK, "--search", "always", *_ENGINE, "-k", "9" * 30],
    [*_ASK, "--search", "always", "--engine", "simulated:~nobody/x"],
    [*_ASK, "--search", "always", "--engine", "remote:http://[::1"],
    [*_ASK, "--search", "always", "--engine", "remote:http://h:99999999999"],
    [*_ASK, "--policy", "http:http://[::1"],
    [*_ASK, "--policy", "chat:x"],
    ["eval", "model", "--data", "~nobody/q.jsonl"],
    ["eval", "model", "--data", ","],
    ["eval", "model", "--data", "world:\udcff"],
    ["eval", "model", "--data", "q.jsonl", "--temperature", "1e-300", "-n", "1", "--output", "new"],
    ["eval", "model", "--data", "q.jsonl", "--max-new-tokens", "9" * 30, "--output", "new"],
    ["eval", "model", "--data", "q.jsonl", "--groups", "\udcff", "--output", "new"],
    ["eval", "model", "--data", "q.jsonl", "--seed", "9" * 5000, "--output", "new"],
    ["eval", "model", "--data", "q.jsonl", "--output", "q.jsonl"],
    ["eval", "model", "--data", "q.jsonl", "--output", "x" * 300],
    ["eval", "model", "--data", "q.jsonl", "--output", "\udcff"],
    ["compare", "ev", "ev", "--resamples", "0"],
    ["compare", "ev", "ev", "--resamples", "1"],
    ["compare", "ev", "ev", "--seed", "-1"],
    ["compare", "ev", "ev", "--seed", "9" * 40],
    ["compare", "ev", "ev", "--cluster", "."],
    ["compare", "ev", "ev", "--cluster", "\udcff"],
    ["compare", "q.jsonl", "ev"],
    ["train", "r.toml", "--dry-run", "--trainer.steps", "9" * 30],
    ["train", "r.toml", "--dry-run", "--trainer.steps", "9" * 5000],
    ["train", "r.toml", "--dry-run", "--trainer.learning-rate", "nan"],
    ["train", "r.toml", "--dry-run", "--sampling.temperature", "inf"],
    ["train", "r.toml", "--dry-run", "--trainer.kl", "1e999"],
    ["train", "r.toml", "--dry-run", "--seed", "9" * 40],
    ["train", "r.toml", "--dry-run", "--model", "~nobody/x"],
    ["train", "r.toml", "--dry-run", "--data", "\udcff"],
    ["train", "x" * 5000 + ".toml", "--dry-run"],
    ["train", "~nobody/r.toml", "--dry-run"],
    ["train", "\udcff.toml", "--dry-run"],
    ["index", "~nobody/c.jsonl", "new"],
    ["index", "c.jsonl", "c.jsonl"],
    ["index", "c.jsonl", "new", "--stemmer", "klingon"],
    ["index", "c.jsonl", "new", "--stemmer", "\udcff"],
    ["index", "c.jsonl", "new", "--encoder", "model"],
    ["index", "c.jsonl", "new", "--encoder", "~nobody/e"],
    ["search", "bm25:ix", "\udcff"],
    ["search", "bm25:ix", ""],
    ["search", "bm25:ix", "text", "-k", "9" * 30],
    ["search", "bm25:ix", "text", "--cache", "ix"],
    ["search", "bm25:ix", "text", "--cache", "q.jsonl"],
    ["search", "bm25:ix@", "text"],
    ["search", 'bm25:"ix', "text"],
    ["search", ",", "text"],
    ["search", "\udcff", "text"],
    ["calibrate", "model", *CALIBRATE[:4], "--call-rate", "nan"],
    ["calibrate", "model", *CALIBRATE[:4], "--em-loss", "inf"],
    ["simulator", "label", "l.jsonl", "--output", "ix"],
    ["simulator", "measure", "sim", "~nobody/p.jsonl"],
    ["simulator", "measure", "~nobody/sim"],
    ["simulator", "measure", "sim", "--temperature", "nan"],
    ["simulator", "train", "model", "l.jsonl", "--held-out", "nan", "--output", "new"],
    ["simulator", "train", "model", "l.jsonl", "--learning-rate", "nan", "--output", "new"],
    ["cost", "r.toml", "--billions", "nan"],
    ["cost", "r.toml", "--billions", "1e308", "--usd-hour", "1e308"],
    ["cost", "r.toml", "--searches-per-trajectory", "inf"],
    ["cost", "r.toml", "--hours", "nan"],
    ["cost", "r.toml", "--gpus", "9" * 400],
    ["data", "ls", "~nobody/x"],
    ["data", "get", "\udcff"],
    ["data", "get", "bamboogle", "--from", "~nobody/x", "--output", "new"],
    ["data", "get", "bamboogle", "--from", "http://[", "--output", "new"],
    ["data", "check", "~nobody/q.jsonl"],
    ["data", "check", "\udcff"],
    ["data", "coverage", "q.jsonl", *_ENGINE, "-k", "²", "--output", "new"],
    ["data", "coverage", "q.jsonl", *_ENGINE, "-k", "9" * 5000, "--output", "new"],
    ["data", "coverage", "q.jsonl", *_ENGINE, "-k", "9" * 30, "--output", "new"],
    ["report", "q.jsonl"],
    ["world", "build", "q.jsonl"],
    ["\udcff"],
    ["eval", "model", "--\udcff", "x"],
]


def cases(few: int, seed: int) -> Iterator[tuple[list[str], str, str, bytes | None]]:
    """Command, file, damage, and the damaged bytes; none for a directory, or an odd option."""
    for command, names in COMMANDS:
        for name in names:
            good = Path(name).read_bytes()
            rng = random.Random(f"{seed} {command} {name}")
            yield command, name, "a directory", None
            for what, data in damages(name, good, rng, few):
                yield command, name, what, data
    for command in ODD_OPTIONS:
        yield command, "", f"options {command[-2:]}"[:80], None


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (s.st_size, s.st_mtime_ns) for p, s in found}


class Workplace:
    """The files as they were, and what became of them."""

    def __init__(self) -> None:
        self.pristine = Path(tempfile.mkdtemp(prefix="malformed-")).resolve()
        self.folder = self.pristine.with_name(self.pristine.name + "-used")
        shutil.copytree(Path.cwd(), self.folder, copy_function=shutil.copy2)
        shutil.copytree(Path.cwd(), self.pristine, copy_function=shutil.copy2, dirs_exist_ok=True)
        os.chdir(self.folder)
        self.known = stamps(self.folder)

    def damage(self, name: str, data: bytes | None) -> None:
        """Put something else in the place of a file; a directory where there are no bytes."""
        if not name:
            return
        Path(name).unlink()
        if data is None:
            Path(name).mkdir()
        else:
            Path(name).write_bytes(data)

    def restore(self, name: str) -> list[str]:
        """Put back what was there; the names of the other files that had changed or are new."""
        if name and Path(name).is_dir():
            shutil.rmtree(name)
        now = stamps(self.folder)
        other = [file for file in {**self.known, **now} if self.known.get(file) != now.get(file)]
        for file in other:
            Path(file).unlink(missing_ok=True)
            if file in self.known:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.pristine / file, file)
        for path in Path().iterdir():
            if not (self.pristine / path).exists():
                shutil.rmtree(path, ignore_errors=True)
        return [file for file in other if file != name]


def look(command: list[str], name: str, what: str, outcome: Outcome, touched: list[str]) -> str:
    """What was wrong about an outcome, or nothing."""
    # What is resumed is cut back to where it goes on from.
    place = command[command.index("--output") + 1] if "--output" in command else "\0"
    kept = [f for f in touched if not Path(f).name.startswith(".") and not f.startswith(place)]
    wrong = outcome.wrong or (f"changed {kept[:4]}" if outcome.status and kept else "")
    if wrong:
        print(f"{wrong:14s} {' '.join(command)[:70]!a} {name} <- {what}")
        print(f"    {(outcome.trace.strip().splitlines() or outcome.lines or [''])[-1][:300]!a}")
    return wrong.partition(" ")[0]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", type=int, default=4, help="variants of each sort; 0 takes all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only commands and files with this text")
    parser.add_argument("--made", type=Path, help="folder that an earlier call made")
    chosen = parser.parse_args()
    folder = chosen.made or Path(tempfile.mkdtemp(prefix="malformed-made-"))
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    if not (folder / "halfrun").is_dir():
        make()
        tried(["search", "bm25:ix", "text", "--cache", "cache.sqlite"])
    place, counts, wrong = Workplace(), Counter[str](), Counter[str]()
    for command, name, what, data in list(cases(chosen.few, chosen.seed)):
        if chosen.only not in " ".join([*command, name]):
            continue
        place.damage(name, data)
        outcome = tried(command)
        counts[str(outcome.status)] += 1
        wrong[look(command, name, what, outcome, place.restore(name))] += 1
    found = {what: n for what, n in wrong.items() if what}
    print(f"status: {dict(counts)}; not as it should be: {found}")
    print(f"{counts.total()} inputs, {wrong['a']} tracebacks")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
