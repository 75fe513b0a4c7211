from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from innersearch.errors import RunError, SearchError
from innersearch.evaluate import run
from innersearch.evaluate.run import BEGUN, EvalSettings, evaluate
from innersearch.evaluate.scores import summarise
from innersearch.metrics import exact_match
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.tally import Tally
from innersearch.search.base import SearchResult, used_up
from innersearch.stored import read_lines
from innersearch.view.tables import evaluation_table
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions
from innersearch.world_making.build import MANIFEST
from tests.intervals import overlap

TEST = questions(Encyclopedia.generate(0), Split.TEST)
SETTINGS = EvalSettings(prompt="world", samples=4, sample_questions=5, max_new_tokens=96, seed=3)


@pytest.fixture(scope="module")
def model():
    return load_model(str(BUNDLED))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(str(BUNDLED))


def test_records_and_summary_agree(model, tokenizer, tmp_path: Path) -> None:
    chosen = TEST[::40]
    summary = evaluate(TransformersPolicy.of(model, tokenizer), tokenizer, chosen, tmp_path, SETTINGS)
    greedy = list(read_lines(tmp_path / "greedy.jsonl"))
    samples = list(read_lines(tmp_path / "samples.jsonl"))
    assert {record["id"] for record in greedy} == {question.id for question in chosen}
    assert summary["em"]["all"]["n"] == len(chosen)
    assert summary["em"]["all"]["value"] == sum(record["em"] for record in greedy) / len(chosen)
    for record in greedy:
        assert record["em"] == exact_match(record["answer"], record["golden_answers"])
    for record in samples:
        assert len(record["em"]) == len(record["answers"]) == 4
    groups = {record["group"] for record in samples}
    assert all(sum(r["group"] == group for r in samples) <= 5 for group in groups)
    assert set(summary["pass_at_k"]["all"]) == {"1", "2", "4"}
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_an_interrupted_evaluation_resumes_to_the_same_result(model, tokenizer, tmp_path: Path) -> None:
    chosen = TEST[::60]
    whole = evaluate(
        TransformersPolicy.of(model, tokenizer), tokenizer, chosen, tmp_path / "whole", SETTINGS
    )

    class Interrupt(Exception):
        pass

    def stop(what: str, done: int, total: int, note: str = "") -> None:
        if (what, done) == ("samples", 3):
            raise Interrupt

    with pytest.raises(Interrupt):
        evaluate(
            TransformersPolicy.of(model, tokenizer),
            tokenizer,
            chosen,
            tmp_path / "cut",
            SETTINGS,
            progress=stop,
        )
    with (tmp_path / "cut" / "samples.jsonl").open("a") as file:
        file.write('{"id": "torn')
    assert len(list(read_lines(tmp_path / "cut" / "samples.jsonl"))) == 3
    assert (
        evaluate(
            TransformersPolicy.of(model, tokenizer),
            tokenizer,
            chosen,
            tmp_path / "cut",
            SETTINGS,
            resume=True,
        )
        == whole
    )
    trajectories = [
        (t["sampling"]["temperature"], t["uid"])
        for t in read_lines(tmp_path / "cut" / "trajectories.jsonl")
    ]
    assert len(trajectories) == len(set(trajectories))
    changed = EvalSettings(prompt="world", samples=8)
    with pytest.raises(RunError, match=r"other settings.* \(\w+"):
        evaluate(
            TransformersPolicy.of(model, tokenizer),
            tokenizer,
            chosen,
            tmp_path / "cut",
            changed,
            resume=True,
        )


def test_direct_answers_are_read_without_tags(model, tokenizer, tmp_path: Path) -> None:
    settings = EvalSettings(prompt="world-direct", direct=True, max_new_tokens=16)
    summary = evaluate(
        TransformersPolicy.of(model, tokenizer), tokenizer, TEST[::30], tmp_path, settings
    )
    greedy = list(read_lines(tmp_path / "greedy.jsonl"))
    assert summary["searches"] == 0.0
    assert all(record["answer"] and "<" not in record["answer"] for record in greedy)
    assert "pass_at_k" not in summary


BASE = {
    "cover_em": False,
    "f1": 0.0,
    "format": 0.0,
    "searches": 0,
    "calls": 0,
    "failed": 0,
    "tokens": 1,
    "unfinished": False,
}


def test_every_question_counts() -> None:
    greedy = [BASE | {"group": "a", "em": True}, BASE | {"group": "b", "em": False}] * 3
    summary = summarise(greedy, [], [])
    assert [(group, e["value"], e["n"]) for group, e in summary["em"].items()] == [
        ("a", 1.0, 3),
        ("b", 0.0, 3),
        ("all", 0.5, 6),
    ]


def test_searches_that_failed_in_part_are_counted_and_printed() -> None:
    greedy = [BASE | {"group": "a", "em": True, "partial": n} for n in (0, 1, 2)]
    summary = summarise([*greedy, BASE | {"group": "a", "em": False}], [], [])
    assert summary["partial"] == 0.75
    assert "0.75 partly failed" in evaluation_table(summary | {"settings": {}})
    tally = Tally(calls=100, failures=20)
    tally.add(SearchResult(), 0.2)
    with pytest.raises(SearchError, match=r"21 of 102 searches failed.* remote: HTTP 503"):
        tally.add(SearchResult(partial="remote: HTTP 503"), 0.2)
    with pytest.raises(SearchError, match="used up"):
        Tally().add(SearchResult(partial=f"serper: {used_up('5 calls')}"), 1.0)


@pytest.mark.parametrize("taken", ["all", "mean of groups"])
def test_a_group_may_have_the_name_of_what_stands_beside_it(taken: str) -> None:
    greedy = [BASE | {"group": "lab", "em": True}] * 4
    greedy += [BASE | {"group": taken, "em": n == 0} for n in range(4)]
    samples = [
        {key: r[key] for key in ("group", "unfinished")}
        | {"em": [int(r["em"])], "answers": ["x"], "golden_answers": ["y"]}
        for r in greedy
    ]
    summary = summarise(greedy, samples, [1])
    for found in (summary["em"], {g: p["1"] for g, p in summary["pass_at_k"].items()}):
        assert [(group, e["value"], e["n"]) for group, e in found.items()] == [
            ("lab", 1.0, 4),
            (f"{taken} (group)", 0.25, 4),
            ("all", 0.625, 8),
        ]
    assert (summary["mean_of_groups"]["em"]["value"], summary["mean_of_groups"]["em"]["n"]) == (0.625, 8)
    assert list(summarise(greedy[4:], [], [])["em"]) == [taken]


def test_the_bundled_model_scores_what_its_manifest_says(model, tokenizer, tmp_path: Path) -> None:
    """Poor at pass@1 and good at pass@k: the knowledge is there, the searching is not."""
    manifest = json.loads((BUNDLED / MANIFEST).read_text())["metrics"]
    wanted = ("one_hop_common", "two_hop_common", "held_out_pair")
    chosen = [question for question in TEST if question.group in wanted][::2]
    settings = EvalSettings(**manifest["settings"])
    summary = evaluate(TransformersPolicy.of(model, tokenizer), tokenizer, chosen, tmp_path, settings)
    for group in wanted:
        stated = manifest["em"][group]
        assert stated["low"] <= summary["em"][group]["value"] <= stated["high"]
        for k in ("1", "16"):
            assert overlap(summary["pass_at_k"][group][k], manifest["pass_at_k"][group][k]), (group, k)
    assert summary["em"]["two_hop_common"]["value"] <= 0.25
    assert summary["pass_at_k"]["two_hop_common"]["16"]["value"] >= 0.6


def test_a_kill_within_a_question_loses_no_finished_sample(model, tokenizer, tmp_path: Path) -> None:
    """Killed for good, in a process of its own, while the samples of a question come in."""
    chosen, policy = TEST[::900], TransformersPolicy.of(model, tokenizer)
    settings = EvalSettings(prompt="world", samples=24, max_new_tokens=32, max_batch=16, seed=1)
    whole = evaluate(policy, tokenizer, chosen, tmp_path / "whole", settings)
    assert not (tmp_path / "whole" / BEGUN).exists()
    cut = tmp_path / "cut"
    code = f"""
import os
from pathlib import Path
from innersearch.config.rollout import HarnessSettings, RolloutSettings
from innersearch.evaluate import run
from tests.evaluate.test_evaluate import BUNDLED, TEST, TransformersPolicy, load_model, load_tokenizer

written = 0

class Killing(run.LineWriter):
    def write(self, *records):
        global written
        super().write(*records)
        written += self._path.name == run.BEGUN
        if written == 30:
            os.kill(os.getpid(), 9)

run.LineWriter = Killing
model, tokenizer = load_model(str(BUNDLED)), load_tokenizer(str(BUNDLED))
policy = TransformersPolicy.of(model, tokenizer)
run.evaluate(policy, tokenizer, TEST[::900], Path({str(cut)!r}), run.{settings!r})
"""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -9
    assert len(list(read_lines(cut / "samples.jsonl"))) == 1
    assert len(list(read_lines(cut / BEGUN))) == 30
    seen = []

    def watch(what: str, done: int, total: int, note: str = "") -> None:
        seen.append((what, done))

    again = evaluate(policy, tokenizer, chosen, cut, settings, resume=True, progress=watch)
    assert again == whole
    assert seen[1:3] == [("samples", 1), ("samples", 2)]
    for name in ("greedy", "samples", "trajectories"):
        files = (folder / f"{name}.jsonl" for folder in (cut, tmp_path / "whole"))
        assert list(read_lines(next(files))) == list(read_lines(next(files)))


def test_a_kill_at_any_record_loses_nothing(model, tokenizer, tmp_path: Path) -> None:
    chosen, policy = TEST[::900], TransformersPolicy.of(model, tokenizer)
    settings = EvalSettings(prompt="world", samples=3, max_new_tokens=32, max_batch=16, seed=1)
    writes = 0

    class Killed(Exception):
        pass

    class Counting(run.LineWriter):
        def write(self, *records: dict[str, Any] | str) -> None:
            nonlocal writes
            if writes == last:
                raise Killed
            super().write(*records)
            writes += 1

    def once(folder: str, *, resume: bool = False) -> dict[str, Any]:
        return evaluate(policy, tokenizer, chosen, tmp_path / folder, settings, resume=resume)

    def lines(folder: str) -> list[list[dict[str, Any]]]:
        return [
            list(read_lines(tmp_path / folder / f"{name}.jsonl"))
            for name in ("greedy", "samples", "trajectories")
        ]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "LineWriter", Counting)
        last = -1
        whole, total = once("whole"), writes
        for last in range(total):
            writes = 0
            with pytest.raises(Killed):
                once(str(last))
    for last in range(total):
        assert once(str(last), resume=True) == whole
        assert lines(str(last)) == lines("whole")
