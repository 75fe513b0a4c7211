"""pass@(k, T) of stored samples against counting all choices of k samples."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from itertools import combinations
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pass_kt.py"


@pytest.fixture(scope="module")
def pass_kt() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pass_kt", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def record(number: int, rng: random.Random) -> dict[str, Any]:
    searches = [rng.randrange(4) for _ in range(4)]
    return {
        **{"id": f"q{number}", "group": "ab"[number % 2], "question": "?", "golden_answers": ["x"]},
        **{"em": [rng.randrange(2) for _ in range(4)], "answers": ["x"] * 4, "format": 1.0},
        **{"searches": fmean(searches), "unfinished": 0},
        "each": {"searches": searches, "tokens": [9] * 4},
    }


def write(folder: Path, records: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return folder


def counted(one: dict[str, Any], k: int, most: int) -> float:
    solved = [em and n <= most for em, n in zip(one["em"], one["each"]["searches"], strict=True)]
    return fmean(any(solved[i] for i in chosen) for chosen in combinations(range(4), k))


def test_the_grid_and_the_difference(pass_kt, tmp_path: Path, capsys) -> None:
    rng = random.Random(1)
    start, trained = ([record(n, rng) for n in range(10)] for _ in range(2))
    folders = [write(tmp_path / name, r) for name, r in (("start", start), ("trained", trained))]
    out = tmp_path / "figures.json"
    arguments = [*map(str, folders), "--group", "a", "--most", "3", "--json", str(out)]
    assert pass_kt.main(arguments) == 0
    figures = json.loads(out.read_text())["pass_kt"]
    for t in range(4):
        for k in (1, 2, 4):
            of = [
                [counted(one, k, t) for one in records if one["group"] == "a"]
                for records in (start, trained)
            ]
            for folder, values in zip(folders, of, strict=True):
                assert figures[str(folder)][str(t)][str(k)] == pytest.approx(fmean(values))
            apart = figures["difference"][str(t)][str(k)]
            assert apart["value"] == pytest.approx(fmean(of[1]) - fmean(of[0]))
            assert -1 <= apart["low"] <= apart["value"] <= apart["high"] <= 1
    printed = capsys.readouterr().out
    assert "k = 4" in printed
    assert "difference" in printed


def test_what_cannot_be_read(pass_kt, tmp_path: Path, capsys) -> None:
    old = [{name: v for name, v in record(0, random.Random(0)).items() if name != "each"}]
    for records, chosen, said in (
        (old, [], "an earlier version wrote it"),
        ([record(0, random.Random(0))], ["--group", "b"], "no samples of the groups b"),
        ([], [], "holds no samples: evaluate with -n 16"),
    ):
        folder = write(tmp_path / str(len(list(tmp_path.iterdir()))), records)
        assert pass_kt.main([str(folder), *chosen]) == 1
        assert said in capsys.readouterr().err
