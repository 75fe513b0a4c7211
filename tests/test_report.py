"""The report, in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from innersearch.evaluate.run import EvalSettings, evaluate
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.records import LineWriter, read_lines, write_json
from innersearch.view.report import write_report
from innersearch.view.tables import comparison_table
from innersearch.world.encyclopedia import Encyclopedia, Split
from innersearch.world.questions import GROUPS, questions
from innersearch.world.shipped import SHIPPED

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run directory with two real evaluations and made-up training metrics."""
    path = tmp_path_factory.mktemp("run")
    found = questions(Encyclopedia.generate(0), Split.TEST)
    chosen = [q for group in GROUPS for q in [q for q in found if q.group == group][:3]]
    model, tokenizer = load_model(str(SHIPPED)), load_tokenizer(str(SHIPPED))
    for row in ("before", "after"):
        settings = EvalSettings(prompt="world", samples=4, max_new_tokens=64, seed=len(row))
        evaluate(
            TransformersPolicy.of(model, tokenizer), tokenizer, chosen, path / "eval" / row, settings
        )
    metrics = LineWriter(path / "metrics.jsonl")
    for step in range(1, 9):
        values = {"reward/mean": 0.1 * step, "reward/em": 0.09 * step, "reward/format": 0.8}
        more = {"reward/stderr": 0.05, "search/calls": 1.2, "policy/entropy": 0.1, "policy/kl": 0.01}
        metrics.write({"step": step, **values, **more})
    return path


def rendered(report: Path, fragment: str = "") -> str:
    """The document as the browser has it after running the page's script."""
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    profile = f"--user-data-dir={report.parent / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *flags.split(), profile, "--dump-dom", f"file://{report}{fragment}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def items(document: str) -> list[str]:
    return re.findall(r'<button class="item[^"]*"[^>]*>.*?</button>', document, re.DOTALL)


def test_the_comparison_says_what_each_row_was_sampled_on() -> None:
    def summary(n: int) -> dict[str, Any]:
        em = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 99}
        passes = {k: em | {"n": n} for k in ("1", "16")}
        return {"em": {"g": em}, "pass_at_k": {"g": passes}, "settings": {"samples": 64}}

    table = comparison_table({"before": summary(12), "after": summary(12), "after_bm25": summary(4)})
    assert table.splitlines()[-1] == (
        "pass@k: 12 questions per group, 64 samples each (before, after); "
        "4 questions per group, 64 samples each (after_bm25)"
    )
    assert comparison_table({"before": summary(12)}).endswith("questions per group, 64 samples each")


def test_evaluations_on_other_files_stand_beside_each_other(tmp_path: Path) -> None:
    for row, em in (("x", 1.0), ("y", 0.5)):
        estimate = {"value": em, "low": em, "high": em, "n": 2}
        summary = {"em": {row: estimate}, "pass_at_k": {row: {"1": estimate, "2": estimate}}}
        summary |= {"format_rate": 1.0, "searches": 1.0, "calls": 0.0}
        write_json(tmp_path / "eval" / row / "summary.json", summary)
    table = re.sub(r"<[^>]*>|\s+", " ", write_report(tmp_path).read_text()).split()
    assert " ".join(table).count("x 2 100.0 [100.0, 100.0] – y 2 – 50.0 [50.0, 50.0]") == 1


@needs_browser
def test_report_shows_results_figures_and_trajectories(run: Path) -> None:
    document = rendered(write_report(run))
    assert document.count("<svg") == 4
    assert len(items(document)) == 2 * 3 * len(GROUPS)
    results = document.split('<table id="results">')[1].split("</table>")[0]
    for group in GROUPS:
        assert group.replace("_", " ") in results
    assert re.search(r'class="block search"', document)
    assert re.search(r'<span class="masked ?">[^<]+&lt;/information&gt;</span>', document)
    # The opening tag is the policy's decision and is not masked.
    assert re.search(r"<span>&lt;information&gt;</span>", document)


@needs_browser
def test_report_filters_by_address(run: Path) -> None:
    report = write_report(run)
    chosen = items(rendered(report, "#origin=before&group=one_hop_common"))
    assert len(chosen) == 3
    assert all("before · one hop common" in item for item in chosen)
    wrong = items(rendered(report, "#verdict=wrong"))
    right = items(rendered(report, "#verdict=right"))
    assert len(wrong) + len(right) == 2 * 3 * len(GROUPS)
    assert all("✗" in item for item in wrong)
    assert "nothing matches" in rendered(report, "#needle=zzzzz")


@needs_browser
def test_what_a_model_writes_cannot_become_part_of_the_page(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    evil = '</script><img src=x onerror="document.title=1">'
    records = list(read_lines(run / "eval" / "after" / "trajectories.jsonl"))
    records[0]["question"]["question"] = evil
    records[0]["segments"][0]["spans"][1]["text"] = evil
    (tmp_path / "run" / "eval" / "after" / "trajectories.jsonl").unlink()
    writer = LineWriter(tmp_path / "run" / "eval" / "after" / "trajectories.jsonl")
    writer.write(*records)
    document = rendered(write_report(tmp_path / "run"), "#needle=onerror")
    assert "<img" not in document
    assert "&lt;/script&gt;&lt;img" in document


def test_report_is_one_file_without_network(run: Path) -> None:
    text = write_report(run).read_text()
    addresses = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', text)
    assert [a for a in addresses if not a.startswith("#")] == []
    assert "@import" not in text.replace("<style", "", 1) or "url(http" not in text
    assert write_report(run).read_text() == text
