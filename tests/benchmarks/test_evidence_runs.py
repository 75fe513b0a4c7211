"""A small plan with real runs, killed on the way: the whole pipeline, some minutes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmarks.evidence.claims import read_claims
from benchmarks.evidence.packing import read_packed
from benchmarks.evidence.plan import ROOT, read_plan
from benchmarks.evidence.stored import read_results
from benchmarks.evidence.verdicts import judge

from innersearch.stored import read_json
from tests.benchmarks.evidence_files import GAIN, claim, write_plan

pytestmark = pytest.mark.evidence


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.evidence", "run", "--plan", str(folder / "plan.toml")]
    return subprocess.Popen([*command, "--only", "start", "1/ssrl-0", "1/other-0"], cwd=ROOT)


def killed_once(folder: Path, there: str) -> None:
    """Begin, and kill as soon as some file is there; nothing that it began is left."""
    process = start(folder)
    while not list(folder.glob(there)) and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    listed = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True)
    assert str(folder) not in listed.stdout


def test_runs_that_are_killed_go_on_and_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        text = claim("gain", GAIN, "above", 0) + claim("other", ["1 other greedy"], "above", 50)
        write_plan(folder, text, ["1"])
    plan_text = (broken / "plan.toml").read_text()
    # The recipe of the control is not there: its failure stops nothing else.
    for folder in (whole, broken):
        own = plan_text.replace(str(broken), str(folder))
        head, _, control = own.rpartition("recipes/ssrl-world.toml")
        (folder / "plan.toml").write_text(f"{head}recipes/none.toml{control}")
    killed_once(broken, "runs/1/*/self.log")
    killed_once(broken, "runs/1/ssrl-0/train/metrics.jsonl")
    killed_once(broken, "runs/1/ssrl-0/eval/self/greedy.jsonl")
    assert start(broken).wait() == 1
    assert start(whole).wait() == 1
    assert "recipes/none.toml" in read_json(broken / "runs/1/other-0/failed.json")["said"]
    plan = read_plan(broken / "plan.toml")
    results = read_results(plan)
    assert not results.problems
    assert set(results.runs) == {"1/start", "1/ssrl-0"}
    for name in ("1/start", "1/ssrl-0", "1/questions"):
        ours, theirs = (list(read_packed(f / f"results/{name}.jsonl.xz")) for f in (broken, whole))
        assert ours == theirs
    facts = results.runs["1/ssrl-0"].facts
    assert set(facts["seconds"]) == {"train", "self", "probe"}
    assert facts["trained_tokens"] > 500
    assert facts["known"]
    verdicts = judge(results, read_claims(plan.claims))
    assert [verdict.verdict for verdict in verdicts] == ["undecided", "not run"]
    # What is there is not made again.
    before = (plan.results / "1/start.json").stat().st_mtime_ns
    assert start(broken).wait() == 1
    assert (plan.results / "1/start.json").stat().st_mtime_ns == before
