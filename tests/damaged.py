"""Damage to the files that commands read, and what a command then says.

`make` and `evaluated` fill a folder with files of every kind, by the commands themselves; `damages`
gives a good file's damaged and odd variants; `tried` runs a command on one of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innersearch.cli import main
from innersearch.world_1.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

NUMBER = "9" * 5000
"""More digits than Python turns into a number."""
MARK = "\ue000"
"""Stands for text that json.dumps would not write, until it is written."""
RAW: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "white space": lambda data: b" \n\n",
    "truncated": lambda data: data[: len(data) // 2],
    "a byte lost": lambda data: data[:3] + data[4:],
    "binary": lambda data: random.Random(0).randbytes(300) + b"\n",
    "NUL bytes": lambda data: b"\0" * 64 + b"\n",
    "UTF-16": lambda data: data.decode("utf-8", "replace").encode("utf-16"),
    "Latin-1": lambda data: data + '{"é": 1}\n'.encode("latin-1"),
    "null": lambda data: b"null\n",
    "a list": lambda data: b"[1, []]\n",
    "a number": lambda data: b"7\n",
    "a text": lambda data: b'"x"\n',
    "an empty object": lambda data: b"{}\n",
    "deep lists": lambda data: b"[" * 200_000 + b"]" * 200_000 + b"\n",
    "deep objects": lambda data: b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n",
    "endless brackets": lambda data: b"[" * 100_000 + b"\n",
    "a web page": lambda data: b"<!DOCTYPE html><html></html>\n",
    "twice": lambda data: data + data,
}
ODD: dict[str, Any] = {
    "null": None,
    "a text": "x",
    "no text": "",
    "a path": "../x\n\x1b[2J",
    "a number": 7,
    "less than nothing": -1,
    "a fraction": 0.5,
    "a huge number": 10**400,
    "a large number": 1e300,
    "many": 2**63,
    "NaN": float("nan"),
    "without end": float("inf"),
    "true": True,
    "a list": [],
    "a list of lists": [[None]],
    "an object": {},
    "an object of odd keys": {"": {"\0": []}},
    "a deep list": f"{MARK}" + "[" * 3000 + "]" * 3000 + MARK,
    "5,000 digits": f"{MARK}{NUMBER}{MARK}",
    "half a character": f'{MARK}"\\ud800"{MARK}',
    "a name twice": f'{MARK}{{"a": 1, "a": 2}}{MARK}',
}
GONE = object()


def dumped(value: Any) -> str:
    """JSON, with marked texts as they are."""
    text = json.dumps(value, ensure_ascii=False)
    for odd in ODD.values():
        if isinstance(odd, str) and odd.startswith(MARK):
            text = text.replace(json.dumps(odd, ensure_ascii=False), odd.strip(MARK))
    return text


def places(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all parts of a value; of a list those of its first two members."""
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = list(enumerate(value[:2])) if isinstance(value, list) else pairs
    for key, part in pairs:
        yield (*prefix, key)
        yield from places(part, (*prefix, key))


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of the value with something else at a place, or with nothing there."""
    key, rest = place[0], place[1:]
    if isinstance(value, list):
        inner = [changed(value[key], rest, new)] if rest else [] if new is GONE else [new]
        return [*value[:key], *inner, *value[key + 1 :]]
    if not rest and new is GONE:
        return {name: part for name, part in value.items() if name != key}
    return value | {key: changed(value[key], rest, new) if rest else new}


def damages(name: str, data: bytes, rng: random.Random, few: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged variants of a file and what they are: `few` of each sort, all by default."""
    for what in picked(list(RAW), rng, few):
        yield what, RAW[what](data)
    if not name.endswith((".json", ".jsonl")):
        return
    lines = [data] if name.endswith(".json") else data.splitlines()
    values = [json.loads(line) for line in lines if line.strip()]
    number = rng.randrange(len(values))
    for place in picked(list(places(values[number])), rng, few or 30):
        for what in picked(["gone", *ODD], rng, few or 3):
            new = GONE if what == "gone" else ODD[what]
            texts = [dumped(changed(v, place, new) if n == number else v) for n, v in enumerate(values)]
            where = ".".join(map(str, place))
            yield f"{where}: {what}", ("\n".join(texts) + "\n").encode("utf-8", "surrogatepass")


def picked(found: list[Any], rng: random.Random, few: int) -> list[Any]:
    return found if not few else rng.sample(found, min(few, len(found)))


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    lines: list[str]
    """Those on stderr by which it said that it failed."""
    trace: str
    """The traceback that a user would have seen, or nothing."""
    said: str

    @property
    def wrong(self) -> str:
        """What should not be so, or nothing."""
        if self.trace or "Traceback (most recent" in self.said:
            return "a traceback"
        if self.status not in (0, 1, 2):
            return f"status {self.status}"
        if self.status and len(self.lines) != 1:
            return f"{len(self.lines)} lines"
        if self.status and len(self.lines[0]) > 2000:
            return "an endless line"
        return ""


def tried(arguments: list[str]) -> Outcome:
    """Run a command in this process."""
    out, err, trace = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            status, trace = -1, traceback.format_exc()
    said = err.getvalue()
    lines = [line for line in said.splitlines() if line.startswith("innersearch:")]
    return Outcome(status, lines, trace, said)


EVAL = ["--data", "q.jsonl", "--max-new-tokens", "64", "--search", "bm25:ix"]
TRAIN = [
    *("--trainer.prompts-per-step", "2", "--trainer.group-size", "2", "--trainer.micro-batch", "4"),
    *("--trainer.steps", "2", "--trainer.save-every", "1", "--sampling.max-new-tokens", "32"),
]
RECIPE = """\
name = "run"
model = "model"
data = "q.jsonl"
[prompt]
name = "world"
"""
CALIBRATE = ["--data", "q.jsonl", "--engine", "bm25:ix", "--call-rate", "0.5", "--max-new-tokens", "32"]
COLLECT = ["model", "--data", "q.jsonl", "--engine", "bm25:ix", "--samples", "1"]
PAIR = {
    "question": {"id": "1", "question": "Who?", "golden_answers": ["A"], "metadata": {}},
    "query": "who",
    "documents": [{"id": "d", "title": "T", "text": "A is a person."}],
    "label": "useful",
    "page": 1,
}
TUNE = ["--epochs", "1", "--held-out", "0", "--max-pairs", "4"]


def make() -> None:
    """One file of every kind in the working directory."""
    evaluate_and_index()
    demand(
        ["calibrate", "model", *CALIBRATE, "--output", "cal"],
        ["sim2real", "model", *CALIBRATE[:4], *CALIBRATE[6:], "--output", "s2r"],
        ["data", "coverage", "q.jsonl", "--engine", "bm25:ix", "-k", "1,2", "--output", "cov"],
        ["train", "r.toml", *TRAIN, "--output", "run"],
    )
    shutil.copytree("ev", "run/eval/after")
    label_and_tune()
    begin_again()
    shutil.copytree("run", "halfrun")
    shutil.rmtree("halfrun/model")
    shutil.rmtree("halfrun/checkpoints/checkpoint-2")


def evaluated() -> None:
    """Some of these, which take no training."""
    evaluate_and_index()
    shutil.copytree("ev", "other")
    begin_again()
    write("p.jsonl", PAIR, PAIR)
    write("l.jsonl", PAIR)
    Path("run").mkdir()
    shutil.copy("ev/trajectories.jsonl", "run")
    write("run/metrics.jsonl", {"step": 1, "time/rollout_s": 0.5, "search/real": 1.0})
    write("run/budget.json", {"calls": 3, "usd": 0.5})
    write("run/recipe.json", {"name": "run", "model": "model", "data": "q.jsonl"})


def evaluate_and_index() -> None:
    """A model, questions, a corpus, its index, a benchmark and an evaluation."""
    shutil.copytree(BUNDLED, "model")
    world = Encyclopedia.generate(BUNDLED_SEED)
    rows = [q for q in questions(world, Split.TEST) if q.group == "two_hop_common"][:3]
    asked = [{"id": q.id, "question": q.question, "golden_answers": q.golden_answers} for q in rows]
    write("q.jsonl", *asked)
    write("q.json", asked)
    Path("q.csv").write_text("question,answer\n" + "".join(f'"{q.question}",A\n' for q in rows))
    write("c.jsonl", *({"id": str(n), "contents": f'"{n}"\ntext of {n}'} for n in range(4)))
    Path("r.toml").write_text(RECIPE)
    demand(
        ["index", "c.jsonl", "ix"],
        ["eval", "model", *EVAL, "-n", "2", "--max-calls", "1000", "--output", "ev"],
        ["data", "get", "bamboogle", "--from", "q.jsonl", "--output", "data"],
    )


def demand(*commands: list[str]) -> None:
    """Run commands that must not fail."""
    for command in commands:
        done = tried(command)
        if done.status:
            raise RuntimeError(f"{command}: {done.said}{done.trace}")


def label_and_tune() -> None:
    """A simulator, trained on pairs half of which are called useful."""
    pairs = [PAIR | {"query": f"query {n}", "label": ("useful", "noisy")[n % 2]} for n in range(4)]
    write("l.jsonl", *pairs)
    write("p.jsonl", *pairs)
    demand(["simulator", "train", "model", "l.jsonl", *TUNE, "--output", "sim"])
    write("sim/held-out.jsonl", *pairs)
    write("sim/fidelity.json", {"queries": 3, "recall": {"value": 0.5, "low": 0.1, "high": 0.9}})
    write("run/budget.json", {"calls": 3, "usd": 0.5})


def begin_again() -> None:
    """An evaluation as a kill leaves it."""
    shutil.copytree("ev", "half")
    (Path("half") / "summary.json").unlink()
    lines = Path("half/samples.jsonl").read_text().splitlines()
    Path("half/samples.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    last = json.loads(lines[-1])
    score = json.loads(Path("half/greedy.jsonl").read_text().splitlines()[0])
    sample = {k: v for k, v in score.items() if k not in ("group", "question", "golden_answers")}
    write("half/samples-begun.jsonl", sample | {"id": last["id"]})


def write(name: str, *values: Any) -> None:
    Path(name).write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))
