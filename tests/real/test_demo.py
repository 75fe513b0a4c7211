"""The demo with a real model, here a tiny one: all its parts, and that it goes on where it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from innersearch.cli import real_demo
from innersearch.cli.real_demo import FULL, SMALL, Size, run_demo
from innersearch.cold_start.settings import StartPlan
from innersearch.search.index.bm25 import BM25Engine
from innersearch.stored import read_json, read_lines
from innersearch.types import Document
from tests.cold_start.tiny import tiny_model, write_examples

START = {"questions": 12, "searches": 1, "batch": 4, "measured": 2, "sampled": 1, "samples": 2}
TRAINER = {
    "steps": 2,
    "prompts_per_step": 2,
    "group_size": 2,
    "micro_batch": 4,
    "groups": "all",
    "save_every": 1,
}


def test_every_part_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(real_demo, "_built", lambda folder, display: tiny_model())
    BM25Engine.build([Document("a", "Peru", "Lima is the capital of Peru.")], tmp_path / "bm25")
    examples = {"examples": write_examples(tmp_path), "max_new_tokens": 48}
    size = Size(START | examples, {"sampling": {"max_new_tokens": 48}, "trainer": TRAINER}, 2)
    output = tmp_path / "demo"
    run_demo(output, tmp_path, 0, size, resume=False)
    said = capfd.readouterr()
    assert "as measured now" in said.err
    summary = read_json(output / "summary.json")
    assert list(summary["rows"]) == ["before", "after", "after_bm25"]
    assert {row["n"] for row in summary["rows"].values()} == {4}
    assert [step["step"] for step in read_lines(output / "metrics.jsonl")] == [1, 2]
    assert (output / "report.html").is_file()
    assert read_json(output / "environment.json")["rollouts"]["dtype"] == "float32"
    assert ("the demo goes on" in said.err) is not read_json(output / "start" / "start.json")["ready"]
    # As if it had been killed behind its first step.
    first = (output / "metrics.jsonl").read_text().splitlines(keepends=True)[0]
    (output / "metrics.jsonl").write_text(first)
    (output / "summary.json").unlink()
    run_demo(output, tmp_path, 0, size, resume=True)
    assert read_json(output / "summary.json")["rows"] == summary["rows"]
    assert "as measured now" not in capfd.readouterr().err


@pytest.mark.parametrize("size", [FULL, SMALL])
def test_sizes_are_settings_that_there_are(size: Size) -> None:
    assert StartPlan.model_validate(size.start)
    recipe = real_demo._recipe(Path("runs/x"), 3, size)
    assert recipe.seed == 3
    assert recipe.sampling.temperature == 0.7
