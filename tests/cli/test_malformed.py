"""Malformed files, made from good ones by seeded mutations: each is read or refused by an error of
ours, and nothing else is ever raised.
"""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import TypeAdapter

from innersearch.assemble.recipes import read_recipe
from innersearch.cli import main
from innersearch.data.check import check
from innersearch.errors import InnersearchError
from innersearch.readers import fingerprint, read_questions
from innersearch.records import to_json
from innersearch.search.index.corpus import read_corpus
from innersearch.simulator.pairs import read_pairs
from innersearch.types import Document, Question

pytestmark = pytest.mark.usefixtures("in_empty_folder")

EACH = 60
"""Mutations of each good file."""
ODD_BYTES = [
    *(b"\0", b"\r", b"\n", b"\r\n", b"\t", b'"', b"''", b"\xff", b"\xed\xa0\x80", b"\xf5", b"\x1a"),
    *(b"\xef\xbb\xbf", b"[" * 3000, b"{" * 3000, b'{"a":' * 200, b"9" * 5000, b"1e999", b"-"),
    *(b"NaN", b"\\ud800", b"\\u0000", b",", b";", b":", b"null", b"true", b"[]", b"{}", b'""'),
    *(b"\xc2\x85", b"PAR1", b"\x1f\x8b"),
]
ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 7.0, 10**4000, float("nan"), float("inf"), "", " ", "\0", "[", "['a'"),
    *("['a' 'b']", [], [[]], {}, [None], [{}], [[["a"]]], {"target": None}, {"target": {"target": 1}}),
    *({"text": [1, []]}, ["a", 7, None], {"value": []}, '{"target": ["a"]}', "x" * 10_000, "(", "{'a'"),
    *("array(['a'], dtype=object)", {"question": "x"}, "A | B", '"', "\u2028", "ß" * 300, -0.0, 1e300),
]
QUESTIONS = [
    {
        "id": n,
        "question": f"Who is number {n}, “Zoë”?",
        "golden_answers": ["Zoë", "7"],
        "metadata": {"group": "g", "list": [1, 2]},
        "reward_model": {"ground_truth": {"target": ["Zoë", "7"]}},
    }
    for n in range(3)
]
DOCUMENTS = [
    {"_id": n, "title": "T", "text": "x é", "contents": '"T"\nx é', "url": None} for n in range(3)
]
PAIRS = [
    {
        "question": {"id": "1", "question": "Who?", "golden_answers": ["A"], "metadata": {}},
        "query": "who",
        "documents": [{"id": "d", "title": "T", "text": "x"}],
        "label": "useful",
    }
] * 2
RECIPE = 'name = "x"\ndata = "world-1:train"\n[trainer]\nsteps = 3\n[search.noise]\ncurve = "linear"\n'


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    lines = [["question", "answer", "note"], *([row["question"], "Zoë", "n"] for row in rows)]
    return "".join(delimiter.join(f'"{field}"' for field in line) + "\r\n" for line in lines).encode()


def columns(rows: list[dict[str, Any]], *, arrow: bool = False) -> bytes:
    sink, content = io.BytesIO(), pa.Table.from_pylist(rows)
    if arrow:
        with pa.ipc.new_stream(sink, content.schema) as writer:
            writer.write_table(content)
    else:
        parquet.write_table(content, sink, compression="none")
    return sink.getvalue()


GOOD: dict[str, bytes] = {
    "q.jsonl": jsonl(QUESTIONS),
    "q.jsonl.gz": gzip.compress(jsonl(QUESTIONS), mtime=0),
    "q.json": json.dumps(QUESTIONS).encode(),
    "q.csv": table(QUESTIONS, ","),
    "q.tsv": table(QUESTIONS, "\t"),
    "q.parquet": columns(QUESTIONS),
    "q.arrow": columns(QUESTIONS, arrow=True),
    "c.jsonl": jsonl(DOCUMENTS),
    "c.parquet": columns(DOCUMENTS),
    "p.jsonl": jsonl(PAIRS),
    "r.toml": RECIPE.encode(),
}


def questions(path: Path) -> str:
    """What is read can be written again, as records are."""
    found = read_questions(path)
    return fingerprint(found) + "".join(to_json(TypeAdapter(Question), q) for q in found)


def corpus(path: Path) -> str:
    return "".join(to_json(TypeAdapter(Document), document) for document in read_corpus(path))


def pairs(path: Path) -> int:
    return sum(1 for _ in read_pairs(path))


READERS: dict[str, list[Callable[[Path], Any]]] = {
    "q": [questions, check],
    "c": [corpus],
    "p": [pairs],
    "r": [lambda path: read_recipe(str(path))],
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three bytes or runs of them changed, moved, lost or put in."""
    for _ in range(rng.randint(1, 3)):
        at, end = sorted(rng.choices(range(len(data) + 1), k=2))
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:at] + rng.choice(ODD_BYTES) + data[at:]
        elif kind == 1:
            data = data[:at] + data[min(end, at + 9) :]
        elif kind == 2:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 3:
            data = data[:at] + data[at:end] * 2 + data[end:]
        elif kind == 4:
            data = data[:end]
        else:
            code = rng.choice(["utf-16", "cp1252", "utf-8-sig"])
            data = data.decode("utf-8", "replace").encode(code, "replace")
    return data


def outcome(read: Callable[[Path], Any], path: Path) -> str:
    try:
        read(path)
    except InnersearchError:
        return "refused"
    return "read"


@pytest.mark.parametrize("name", GOOD)
def test_mutated_files_are_read_or_refused(name: str) -> None:
    rng = random.Random(name)
    seen = {outcome(read, write(name, GOOD[name])) for read in READERS[name[0]]}
    assert seen == {"read"}
    for _ in range(EACH):
        path = write(name, mutated(GOOD[name], rng))
        seen |= {outcome(read, path) for read in READERS[name[0]]}
    assert seen == {"read", "refused"}


def write(name: str, data: bytes) -> Path:
    Path(name).write_bytes(data)
    return Path(name)


def replaced(value: Any, rng: random.Random) -> Any:
    """The value with one of its parts replaced by an odd one."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        return value | {key: replaced(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return [*value[:at], replaced(value[at], rng), *value[at + 1 :]]
    return rng.choice(ODD_VALUES)


@pytest.mark.parametrize(("name", "rows"), [("q", QUESTIONS), ("c", DOCUMENTS), ("p", PAIRS)])
def test_rows_with_odd_values_are_read_or_refused(name: str, rows: list[dict[str, Any]]) -> None:
    rng, seen = random.Random(name), set()
    for _ in range(400):
        path = write(f"{name}.jsonl", jsonl([rows[0], replaced(rows[1], rng)]))
        seen |= {outcome(read, path) for read in READERS[name]}
    assert seen == {"read", "refused"}


def test_columns_with_odd_values_are_read_or_refused() -> None:
    rng, seen = random.Random("columns"), set()
    for _ in range(150):
        try:
            data = columns(
                [replaced(rng.choice([QUESTIONS, DOCUMENTS])[1], rng)], arrow=rng.random() < 0.5
            )
        except (pa.ArrowException, OverflowError, AttributeError):
            continue
        path = write("x.arrow" if data[:4] != b"PAR1" else "x.parquet", data)
        seen |= {outcome(read, path) for read in (*READERS["q"], *READERS["c"])}
    assert seen == {"read", "refused"}


COMMANDS: dict[str, tuple[str, ...]] = {
    "q": ("data", "check"),
    "c": ("index",),
    "p": ("simulator", "label"),
    "r": ("train",),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_command_line_says_it_in_one_line(capsys, name: str) -> None:
    rng, said = random.Random(f"line {name}"), 0
    rest = {"c": ("index",), "p": ("--output", "out.jsonl"), "r": ("--dry-run",)}.get(name[0], ())
    for number in range(25):
        path = write(name, mutated(GOOD[name], rng))
        if {outcome(read, path) for read in READERS[name[0]]} == {"read"}:
            continue
        own = [word if word.startswith("-") else f"{number}-{word}" for word in rest]
        status = main([*COMMANDS[name[0]], name, *own])
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line.startswith("innersearch: ")]
        assert (status, len(lines)) == (1, 1), captured.err
        assert name in lines[0]
        assert "Traceback" not in captured.err + captured.out
        said += 1
    assert said >= 5
