"""Scores by name: measured, stored, resumed, tabulated, compared, reported, each under its own name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innersearch.cli import main
from innersearch.errors import ConfigError
from innersearch.evaluate.compare import compare, read_evaluation
from innersearch.evaluate.protocols import Choices, Protocol
from innersearch.evaluate.run import EvalSettings, demand_scores
from innersearch.evaluate.scores import find_measures, score, summarise
from innersearch.sealed import CANARY
from innersearch.stored import read_lines
from innersearch.types import Question
from innersearch.view.report import write_report
from innersearch.view.tables import difference_table, evaluation_table
from tests.evaluate.test_judge import fair, judging
from tests.scoring import trajectory_of


def test_scores_are_measures_of_rewards_and_nothing_else_changes() -> None:
    one = trajectory_of("<think>t</think><answer>the sea sea</answer>", golds=["Sea"])
    plain = score(one, direct=False)
    more = score(one, direct=False, measures=find_measures(("f1_set", "em", "retrieved")))
    assert more.scores == {"f1_set": 2 / 3, "retrieved": 0.0}
    assert replace(more, scores={}) == plain
    assert "scores" not in plain.record()
    assert more.record() == plain.record() | {"scores": more.scores}


def test_what_has_no_interval_or_needs_a_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        score(trajectory_of("x", golds=["a"]), direct=False, measures=find_measures(["cover_sign"]))
    with pytest.raises(ConfigError, match="whole groups"):
        find_measures(["majority"])
    with pytest.raises(ConfigError, match="did you mean 'f1_set'"):
        find_measures(["f1_sett"])


def test_sealed_questions_are_not_sent_to_a_judge() -> None:
    sealed = Question("q", "Who?", ("a",), {CANARY: "canary"})
    demand_scores(["f1_set"], [sealed])
    with pytest.raises(ConfigError, match="sealed questions, which must not leave"):
        demand_scores(["judge:http://127.0.0.1:1#m"], [sealed])


def test_without_metrics_settings_and_records_are_what_they_were() -> None:
    assert "metrics" not in EvalSettings().record()
    given = EvalSettings(metrics=("em", "f1_set", "judge:http://127.0.0.1:1#m"))
    assert given.measures == ("f1_set",)
    assert [judge.key for judge in given.judges] == ["judge:simpleqa by m"]


def evaluated(folder: str, *options: str) -> dict[str, Any]:
    data = ("--data", "asked.jsonl", "--max-new-tokens", "48", "--output", folder)
    assert main(["eval", "world-1", *data, *options]) == 0
    return json.loads((Path(folder) / "summary.json").read_text())


@pytest.mark.usefixtures("in_empty_folder")
def test_scores_go_from_the_command_line_to_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    from innersearch.world_1.encyclopedia import Encyclopedia, Split
    from innersearch.world_1.questions import questions

    rows = [
        {"id": q.id, "question": q.question, "golden_answers": list(q.golden_answers)}
        for q in questions(Encyclopedia.generate(0), Split.TEST)[:6]
    ]
    Path("asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = evaluated("plain")
    assert "scores" not in plain
    evaluated("a", "--metrics", "em,f1_set,answered")
    records = list(read_lines(Path("a/greedy.jsonl")))
    assert all(record["scores"].keys() == {"f1_set", "answered"} for record in records)
    assert [r | {"scores": None} for r in records] == [
        r | {"scores": None} for r in read_lines(Path("plain/greedy.jsonl"))
    ]
    out = capsys.readouterr().out
    assert " f1_set |" in out
    assert " answered |" in out
    with judging(fair) as server:
        # A finished evaluation is judged later, without rolling out anything again.
        before = Path("a/greedy.jsonl").read_bytes()
        assert not server.asked
        judge = f"judge:{server.url}#grader"
        again = evaluated("a", "--metrics", f"f1_set,answered,{judge}", "--resume")
        assert Path("a/greedy.jsonl").read_bytes() == before
        asked = len(server.asked)
        evaluated("b", "--metrics", f"f1_set,{judge}")
    assert asked == sum(bool(record["answer"]) for record in records) > 0
    key = "judge:simpleqa by grader"
    assert again["scores"].keys() == {"f1_set", "answered", key}
    assert again["scores"][key]["asked"]["n"] == 6
    found = compare(read_evaluation(Path("a")), read_evaluation(Path("b")), 100)
    assert {"em", "f1_set", key} <= found["metrics"].keys()
    assert "answered" not in found["metrics"]
    assert found["metrics"][key]["asked"]["value"] == 0.0
    assert key in difference_table(found)
    Path("run/eval").mkdir(parents=True)
    Path("a").rename("run/eval/after")
    page = write_report(Path("run")).read_text()
    assert f"<td>{key}</td>" in page
    assert "<td>f1_set</td>" in page


def test_a_benchmark_may_report_any_measure_first() -> None:
    mine = Protocol("mine", ("frames",), 0, "f1_set", "ssrl", 512, k=3, max_searches=4, max_tokens=500)
    given = Choices(data="", prompt=None, max_new_tokens=0, subset=None, metrics=("answered",))
    assert replace(given, protocol=mine).record["metrics"] == ("answered", "f1_set")
    assert replace(given, protocol=replace(mine, metric="em")).record["metrics"] == ("answered",)
    assert "metrics" not in replace(given, metrics=()).record
    one = trajectory_of("<answer>the sea sea</answer>", golds=["Sea"])
    scored = score(one, direct=False, measures=find_measures(("answered", "f1_set")))
    summary = summarise([{"group": "a", **scored.record()}], [], []) | {"settings": {}}
    heads = evaluation_table(summary, first="f1_set").splitlines()[0].replace(" ", "").split("|")
    assert heads[2:-1] == ["n", "f1_set", "EM", "coverEM", "F1", "answered"]
