"""The report, in a real browser."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from innersearch.cli import main
from innersearch.errors import DataError, RunError
from innersearch.evaluate.run import EvalSettings, evaluate
from innersearch.evaluate.scores import summarise
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.records import LineWriter, write_json
from innersearch.rollout.run import demand_finite
from innersearch.stored import read_lines
from innersearch.view import plots
from innersearch.view.report import write_report
from innersearch.view.tables import comparison_table, evaluation_table
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import GROUPS, questions
from tests.cli.test_cli import fails

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run directory with two real evaluations and made-up training metrics."""
    path = tmp_path_factory.mktemp("run")
    found = questions(Encyclopedia.generate(0), Split.TEST)
    chosen = [q for group in GROUPS for q in [q for q in found if q.group == group][:3]]
    model, tokenizer = load_model(str(BUNDLED)), load_tokenizer(str(BUNDLED))
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


def rendered(report: Path, fragment: str = "", *more: str) -> str:
    """The document as the browser has it after running the page's script."""
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    profile = f"--user-data-dir={report.parent / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *flags.split(), *more, profile, "--dump-dom", f"file://{report}{fragment}"],
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
    assert document.count("<svg") == 5
    assert len(items(document)) == 2 * 3 * len(GROUPS)
    results = document.split('<table id="results">')[1].split("</table>")[0]
    for group in GROUPS:
        assert group.replace("_", " ") in results
    assert re.search(r'class="block search"', document)
    assert re.search(r'<span class="masked ?">(?:[^<]|</?mark>)+&lt;/information&gt;</span>', document)
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
def test_samples_of_a_question_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    """Rewards and advantages of a group, gold answers marked in what was returned, and a link to it."""
    shutil.copytree(run, tmp_path / "run")
    record = next(read_lines(run / "eval" / "after" / "trajectories.jsonl"))
    gold = record["question"]["golden_answers"][0]
    for number, span in enumerate(record["segments"][0]["spans"]):
        if span["kind"] == "information":
            record["segments"][0]["spans"][number] = span | {"text": f"not{gold}, but {gold.lower()}."}
    members = [
        record | {"uid": f"u{n}", "group_id": "g", "step": 1, "reward": reward, "repetition": n}
        for n, reward in enumerate((1.0, 0.5, 0.0))
    ]
    LineWriter(tmp_path / "run" / "trajectories.jsonl").write(*members)
    document = rendered(write_report(tmp_path / "run"), "#show=training+step+1%2Fu1&view=together")
    detail = document.split('id="detail"')[1].split("</main>")[0]
    # Those of its group come first, then the same question in both evaluations.
    assert re.findall(r"<h4>([^<]*)</h4>", detail)[:3] == [
        f"training step 1 · reward {reward:.2f}" for reward in (1, 0.5, 0)
    ]
    assert detail.count("<section>") == 5
    assert re.findall(r"advantage ([+−][0-9.]+)", detail) == ["+0.50", "+0.00", "−0.50"]
    assert f"not{gold}, but <mark>{gold.lower()}</mark>." in detail
    assert 'aria-pressed="true"' in detail
    assert len(items(rendered(write_report(tmp_path / "run"), "#verdict=failed"))) == 0


@needs_browser
def test_all_trajectories_can_be_browsed(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    record = next(read_lines(run / "eval" / "after" / "trajectories.jsonl"))
    lines = [record | {"uid": f"u{n}", "group_id": f"g{n}", "step": 1} for n in range(400)]
    LineWriter(tmp_path / "run" / "trajectories.jsonl").write(*lines)
    sampled = embedded(write_report(tmp_path / "run").read_text())
    assert sum(entry["origin"] == "training step 1" for entry in sampled) == 4
    report = write_report(tmp_path / "run", trajectories=350)
    assert len(embedded(report.read_text())) == 350
    document = rendered(report)
    assert "350 of 350 trajectories" in document
    assert "show more (50 left)" in document
    assert len(items(document)) == 301


AXE = os.environ.get("INNERSEARCH_AXE", "")
"""The file axe.min.js of axe-core, by `make test-axe`."""


@pytest.mark.skipif(not AXE or CHROMIUM is None, reason="needs axe-core and a browser: make test-axe")
@pytest.mark.parametrize("fragment", ["", "#view=together", "#needle=zzzzz"])
def test_nothing_stands_in_the_way_of_anybody(run: Path, tmp_path: Path, fragment: str) -> None:
    """What axe-core finds, written into the page's title once it is done."""
    checks = "axe.run().then(r => { document.title = JSON.stringify(r.violations.map(v => v.id)); });"
    page = write_report(run).read_text()
    page = page.replace("</body>", f"<script>{Path(AXE).read_text()}</script><script>{checks}</script>")
    (tmp_path / "checked.html").write_text(page)
    document = rendered(tmp_path / "checked.html", fragment, "--virtual-time-budget=60000")
    assert re.search(r"<title>(.*?)</title>", document)[1] == "[]"


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


NAMES = [
    *(r"$\frac{$", "$x$ and $y$", "a|b", "[bold]x[/]", "[/]", "<script>alert(1)</script>", "_hidden"),
    *(
        "\x1b]52;c;aGk=\x07",
        "\x9b2J",
        "new\nline",
        "\x00nul",
        "x" * 300,
        "日本語",
        "\u202egnp",
        "{{7*7}}",
    ),
    *("%s %d", "\\", "'\"", "&amp;", "$", "\\$", "a_b^c", "#", "`x`", "all", "mean of groups"),
]
ROWS_OF_OTHERS = ("before", r"$\frac{$", "_row", "a|b", "[bold]", "$x$ $y$", "<b>")


def hostile_record(number: int, group: str) -> dict[str, Any]:
    return {
        **{"id": f"{group}-{number}", "group": group, "question": f"{number} {group}?"},
        **{"golden_answers": [group], "answer": "x", "em": number % 2 == 0, "cover_em": True, "f1": 0.5},
        **{"format": 1.0, "searches": 1, "calls": 0, "failed": 0, "tokens": 3, "unfinished": False},
    }


def hostile_trajectory(record: dict[str, Any]) -> dict[str, Any]:
    text, nan = record["group"], float("nan")
    spans = [
        {"start": 0, "end": 1, "kind": "prompt", "source": "template", "text": "p"},
        {"start": 1, "end": 2, "kind": "answer", "source": "policy", "text": text},
    ]
    masks = {"sampled_mask": [False, True], "loss_mask": [False, True], "logprobs": [None, nan]}
    segment = {"token_ids": [1, 2], "prompt_len": 1, "spans": spans, "finish": "eos"} | masks
    decision = {"rule": "gate", "real": True, "signal": text, "value": nan, "threshold": float("-inf")}
    call = {"id": 0, "query": text, "source": "web", "documents": [], "error": text, "latency_s": 0.1}
    question = {key: record[key] for key in ("id", "question", "golden_answers")}
    return {
        **{"uid": record["id"], "group_id": record["id"], "repetition": 0, "step": 1},
        "question": question | {"metadata": {"group": text}},
        "segments": [segment],
        "calls": [call | {"engine": text, "decision": decision}],
        "sampling": {"temperature": 0.0, "max_new_tokens": 3, "seed": 0},
        **{"stop_reason": "eos", "reward": nan, "components": {"em": float("inf")}, "answer": text},
    }


def hostile_run(path: Path) -> Path:
    """A run whose names and texts are markup or steer terminals, and whose numbers are none."""
    records = [hostile_record(number, group) for group in NAMES for number in range(2)]
    keys = ("id", "group", "question", "golden_answers", "unfinished")
    samples = [{k: r[k] for k in keys} | {"em": [1, 0], "answers": ["x", "y"]} for r in records]
    summary = {"settings": {"samples": 2, "protocol": ""}} | summarise(records, samples, [1, 2])
    for row in ROWS_OF_OTHERS:
        folder = path / "eval" / row
        for name, lines in (
            *(("greedy", records), ("samples", samples)),
            ("trajectories", map(hostile_trajectory, records)),
        ):
            LineWriter(folder / f"{name}.jsonl").write(*map(json.dumps, lines))
        write_json(folder / "summary.json", summary)
    steps = [
        {"step": n, "reward/mean": 0.1 * n, "reward/stderr": 0.1, "search/calls": 1.0} for n in (1, 2)
    ]
    odd = {
        "reward/mean": float("nan"),
        "search/calls": float("inf"),
        "policy/kl": None,
        "reward/em": "x",
    }
    LineWriter(path / "metrics.jsonl").write(*map(json.dumps, [*steps, {"step": 3} | odd]))
    LineWriter(path / "trajectories.jsonl").write(json.dumps(hostile_trajectory(records[0])))
    return path


def embedded(page: str) -> list[dict[str, Any]]:
    """The page's data, as a browser reads it: NaN is no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1], parse_constant=refuse)


def test_names_of_others_are_text_everywhere(tmp_path: Path, capsys, recwarn) -> None:
    run = hostile_run(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_bytes().decode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(figures) == 5
    shown = [
        "".join(node.itertext())
        for figure in figures
        for node in ElementTree.fromstring(figure).iter("{http://www.w3.org/2000/svg}text")
    ]
    for name in (r"$\frac{$", "_row", "a|b", "[bold]", "$x$ $y$", "<b>"):
        assert name in shown, "in a legend, as written"
    assert "<script>alert" not in page
    assert "<b>" not in page.split('<table id="results">')[1].split("</table>")[0]
    data = embedded(page)
    assert {entry["group"] for entry in data} >= {name.replace("\x9b", "\ufffd") for name in NAMES}
    assert all(entry["reward"] is None and not entry["correct"] for entry in data)
    assert not [str(w.message) for w in recwarn if "Glyph" in str(w.message)]
    capsys.readouterr()
    folders = [str(run / "eval" / row) for row in ("before", "a|b")]
    assert main(["compare", *folders, "--resamples", "50"]) == 0
    printed = capsys.readouterr().out
    tables = [printed.split("\nA  ")[0], evaluation_table(json.loads(summary_text(run)))]
    for table in tables:
        lines = table.splitlines()
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}
        assert len(bars) == 1, "no name ends a cell or a line"
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", table)
        assert "[bold]x[/]" in table


def summary_text(run: Path) -> str:
    return (run / "eval" / "before" / "summary.json").read_text()


@needs_browser
def test_names_of_others_are_text_in_a_browser(tmp_path: Path) -> None:
    document = rendered(write_report(hostile_run(tmp_path / "run")))
    assert len(items(document)) > len(ROWS_OF_OTHERS) * len(NAMES)


def test_a_reward_that_is_no_number_is_refused_where_it_is_made() -> None:
    for reward, parts in ((float("nan"), {}), (1.0, {"em": float("inf")}), (float("-inf"), {"em": 1.0})):
        with pytest.raises(RunError, match="a reward is a finite number, given"):
            demand_finite(reward, parts)
    demand_finite(0.5, {"em": 1.0})


def test_a_full_disk_is_one_line_and_the_report_of_before_stays(
    run: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    shutil.copytree(run, tmp_path / "run")
    before = write_report(tmp_path / "run").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = fails(capsys, "report", str(tmp_path / "run"))
    assert message.endswith(f"No space left on device: {tmp_path / 'run' / 'report.html'}")
    assert (tmp_path / "run" / "report.html").read_bytes() == before
    assert not list((tmp_path / "run").glob("*.part")) + list((tmp_path / "run").glob(".*.part"))


def damaged(value: Any) -> list[Any]:
    """The value with something odd in one place, for every place and every odd thing."""
    odd: list[Any] = [None, "x", [[]], {"a": []}]
    if isinstance(value, dict):
        found = [{k: v for k, v in value.items() if k != key} for key in value]
        return found + [value | {key: new} for key in value for new in (*odd, *damaged(value[key])[:4])]
    return (
        [[new, *value[1:]] for new in (*odd, *damaged(value[0]))]
        if isinstance(value, list) and value
        else odd
    )


@pytest.mark.parametrize(
    "name",
    [
        *("eval/x/summary.json", "eval/x/trajectories.jsonl", "metrics.jsonl", "trajectories.jsonl"),
        *("recipe.json", "environment.json"),
    ],
)
def test_records_with_missing_or_odd_values_are_one_clear_line_or_a_report(
    tmp_path: Path, monkeypatch, name: str
) -> None:
    """Each key of each record is left out, and replaced by values of other kinds, one at a time."""
    # Drawing takes long; that figures are drawn of whatever passes the check is tested below.
    for drawing in ("reward_curve", "behaviour_curve", "pass_curve", "group_bars", "cost_accuracy"):
        monkeypatch.setattr(plots, drawing, lambda *given: "<svg/>")
    record = hostile_record(0, "g")
    samples = [
        {"group": "g", "em": [1, 0], "answers": ["x", "y"], "golden_answers": ["x"], "unfinished": 0}
    ]
    recipe = {"name": "n", "model": "m", "data": "d", "seed": 0, "search": {"engine": ""}}
    contents = {
        "eval/x/summary.json": {"settings": {}} | summarise([record], samples, [1, 2]),
        "eval/x/trajectories.jsonl": hostile_trajectory(record),
        "metrics.jsonl": {"step": 1, "reward/mean": 0.5, "reward/stderr": 0.1, "search/calls": 1.0},
        "trajectories.jsonl": hostile_trajectory(record),
        "recipe.json": recipe | {"trainer": {"prompts_per_step": 2, "group_size": 2}},
        "environment.json": {"versions": {"torch": "2"}, "os": "x"},
    }
    for file, content in contents.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps(content) + "\n")
    assert write_report(tmp_path)
    said = []
    for content in damaged(contents[name]):
        (tmp_path / name).write_text(json.dumps(content) + "\n")
        try:
            embedded(write_report(tmp_path).read_text())
        except (RunError, DataError) as error:
            said.append(str(error))
    assert said
    assert not [line for line in said if "\n" in line or len(line) > len(str(tmp_path)) + 300]


def test_figures_without_a_number_are_drawn() -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert "<svg" in plots.pass_curve({"x": {"pass_at_k": {"g": {"1": nothing}}}}, "g")
    assert "<svg" in plots.group_bars({"x": {"em": {"g": nothing}}})
    assert "<svg" in plots.reward_curve([{"step": 1}])
    assert "<svg" in plots.behaviour_curve([{"step": 1, "policy/kl": float("nan")}])
