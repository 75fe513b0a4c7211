"""What is kept of a run: a line per question and evaluation, compressed, and one JSON object of facts.

What the questions of a world are stands once, in its `questions.jsonl.xz`.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence.plan import ROOT, Run, World

from innersearch.assemble.models import model_path
from innersearch.assemble.sources import load_questions
from innersearch.metrics import exact_match, majority
from innersearch.readers import fingerprint
from innersearch.records import write_json
from innersearch.stored import read_json, read_lines
from innersearch.train.spent import spent
from innersearch.types import Question
from innersearch.weights import fingerprint as weights_in

FORMAT = 1
"""Of the files; others are not read."""
QUESTIONS = "questions.jsonl.xz"

_PROBED = re.compile(r"^(\S+) +([\d.]+) .*% of ([\d,]+)", re.MULTILINE)


def write_packed(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines, compressed, and all of them or none; the same records give the same bytes."""
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(lzma.compress(lines.encode(), preset=6))
    os.replace(part, path)


def read_packed(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file that `write_packed` wrote."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def described(question: Question) -> dict[str, Any]:
    """What tables and clusters need of a question."""
    data = question.metadata if "kind" in question.metadata else _of_world_1(question)
    chain, relations = data.get("chain") or [question.id], data.get("relations") or []
    return {
        "id": question.id,
        "group": question.group,
        "kind": data["kind"],
        "depth": data.get("depth", 0),
        "wording": data.get("wording", "seen"),
        "pair": data.get("pair", "none"),
        "frequency": data.get("frequency", ""),
        "mentions": data.get("mentions", 0),
        "changed": bool(data.get("changed", False)),
        "head": str(chain[0]),
        "relations": ".".join(map(str, relations)),
    }


def _of_world_1(question: Question) -> dict[str, Any]:
    """The first version of the world said the same in other names, and had less to say."""
    data, depth = question.metadata, question.metadata["hops"]
    pair = "held_out" if question.group == "held_out_pair" else "trained"
    frequency = {"common": "often", "rare": "seldom", "unseen": "never"}[data["tier"]]
    found = {"kind": "chain", "depth": depth, "pair": pair if depth > 1 else "none"}
    return data | found | {"frequency": frequency}


def pack_questions(world: World, path: Path) -> str:
    """Write what a world's test questions are, and return the fingerprint of the world."""
    questions = load_questions(f"{world.data}:test")
    write_packed(path, map(described, questions))
    found = fingerprint(questions) + weights_in(Path(model_path(world.model)))
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def packed_evaluation(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of one evaluation, in the order of the questions' ids."""
    rolled_back = _rolled_back(folder / "trajectories.jsonl")
    sampled = {record["id"]: record for record in read_lines(folder / "samples.jsonl")}
    for record in sorted(read_lines(folder / "greedy.jsonl"), key=lambda found: found["id"]):
        line = {
            "evaluation": name,
            "id": record["id"],
            "em": int(record["em"]),
            "format": int(record["format"] == 1.0),
            "searches": record["searches"],
            "calls": record["calls"],
            "tokens": record["tokens"],
            "rolled_back": rolled_back.get(record["id"], 0),
        }
        if samples := sampled.get(record["id"]):
            golds = samples["golden_answers"]
            line["samples"] = "".join(map(str, samples["em"]))
            line["majority"] = int(exact_match(majority(samples["answers"], golds), golds))
        yield line


def _rolled_back(path: Path) -> dict[str, int]:
    """Tokens of greedy trajectories that were sampled to decide and are no part of them."""
    return {
        record["question"]["id"]: sum((c.get("decision") or {}).get("own_tokens", 0) for c in calls)
        for record in read_lines(path)
        if record["sampling"]["temperature"] == 0 and (calls := record["calls"])
    }


def trained_tokens(folder: Path) -> int:
    """Tokens sampled in training, in all its stages, also those of trajectories that were not kept."""
    return spent(folder).sampled_tokens if folder.is_dir() else 0


def facts(
    run: Run, folder: Path, steps: Sequence[str], world: str, claims: Mapping[str, str]
) -> dict[str, Any]:
    """What is known of a run beside its questions.

    Args:
        run: The run.
        folder: Where it was made.
        steps: What was done, each with a file of its seconds.
        world: The fingerprint of its world.
        claims: The fingerprint of each claim's test as it stood then.
    """
    ended = {name: read_json(folder / f"{name}.done.json") for name in steps}
    probed = (folder / "probe.log").read_text(encoding="utf-8")
    return {
        "format": FORMAT,
        "run": run.name,
        "world": world,
        "world_version": run.world.version,
        "recipe": run.row.recipe and {"path": run.row.recipe, "sha256": _settings(folder / "train")},
        "commands": {name: done["command"] for name, done in ended.items()},
        "code": code_version(),
        "cpu": cpu_name(),
        "processors": os.cpu_count(),
        "seconds": {name: done["seconds"] for name, done in ended.items()},
        "trained_tokens": trained_tokens(folder / "train"),
        "known": {
            tier: {"value": float(share) / 100, "n": int(n.replace(",", ""))}
            for tier, share, n in _PROBED.findall(probed)
        },
        "claims": dict(claims),
    }


def _settings(folder: Path) -> str:
    """A fingerprint of everything that a recipe came to, but for where and with which seed it ran."""
    found = read_json(folder / "recipe.json")
    settings = {name: value for name, value in found.items() if name not in ("model", "data", "seed")}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def pack(run: Run, folder: Path, target: Path, known: Mapping[str, Any]) -> None:
    """Write the two files of a run; the facts come last and say that both are there."""
    records = (
        line for name in run.row.evaluations for line in packed_evaluation(name, folder / "eval" / name)
    )
    write_packed(target.with_name(target.name + ".jsonl.xz"), records)
    write_json(target.with_name(target.name + ".json"), known)


def code_version() -> str:
    """The commit, with + behind it where files differ from it; empty outside of a repository."""
    said = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip()


def cpu_name() -> str:
    """As Linux names it; what Python knows of it elsewhere."""
    info = Path("/proc/cpuinfo")
    found = info.is_file() and re.search(r"^model name\s*: *(.+)$", info.read_text(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
