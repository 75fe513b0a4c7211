from __future__ import annotations

import json
from math import comb
from pathlib import Path

import numpy as np
import pytest

from innersearch.cli import main
from innersearch.errors import DataError, RunError
from innersearch.evaluate.compare import MEAN_OF_GROUPS, compare, read_evaluation
from innersearch.evaluate.scores import summarise
from innersearch.intervals import Scores, difference
from innersearch.records import write_json
from innersearch.stored import read_json
from tests.cli.test_cli import fails


def found(values: list[float] | np.ndarray, draws: int, rng: np.random.Generator):
    return difference(Scores.single(np.array(values)), 1.0, draws, rng)


def record(number: int, group: str, em: bool, f1: float | None = None, **given: object) -> dict:
    return {
        "id": f"{group}-{number}",
        "group": group,
        "question": f"Question {number} of {group}?",
        "golden_answers": [str(number)],
        "em": em,
        "cover_em": em,
        "f1": float(em) if f1 is None else f1,
        "format": 1.0,
        "searches": 1 + number % 2,
        "calls": 0,
        "failed": 0,
        "tokens": 10,
        "unfinished": False,
    } | given


def write(
    path: Path, records: list[dict], samples: list[dict] | None = None, **settings: object
) -> Path:
    path.mkdir()
    for name, rows in (("greedy", records), ("samples", samples or [])):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_json(path / "summary.json", {"settings": settings} | summarise(records, [], []))
    return path


def sampled(row: dict, em: list[int]) -> dict:
    return {key: row[key] for key in ("id", "group", "question", "golden_answers")} | {"em": em}


def two(tmp_path: Path) -> tuple[Path, Path]:
    """A is right about a third, B about a half of "x", and the other way round in "y"."""
    rng = np.random.default_rng(5)
    a, b = [], []
    for group, size, (share_a, share_b) in (("x", 90, (0.33, 0.5)), ("y", 40, (0.5, 0.33))):
        for number in range(size):
            a.append(record(number, group, bool(rng.random() < share_a), f1=float(rng.random())))
            b.append(record(number, group, bool(rng.random() < share_b), f1=float(rng.random())))
    return write(tmp_path / "a", a), write(tmp_path / "b", b)


def test_differences_are_those_of_plain_random_weights_and_of_plain_flips(tmp_path: Path) -> None:
    a, b = (read_evaluation(path) for path in two(tmp_path))
    found = compare(a, b, seed=1)
    rng = np.random.default_rng(0)
    for metric in ("em", "f1"):
        deltas = {}
        for group in ("x", "y"):
            ids = [i for i in a.greedy if i.startswith(group)]
            deltas[group] = np.array([b.greedy[i][metric] - 1.0 * a.greedy[i][metric] for i in ids])
        deltas["all"] = np.concatenate([deltas["x"], deltas["y"]])
        weights = {g: rng.dirichlet(np.ones(len(d) + 1), size=10_000) for g, d in deltas.items()}
        # The weights of the one question that nobody asked go to the worst and to the best.
        drawn = {
            end: {g: w[:, :-1] @ deltas[g] + end * w[:, -1] for g, w in weights.items()}
            for end in (-1, 1)
        }
        flipped = {
            group: (delta * rng.choice([-1, 1], size=(10_000, len(delta)))).mean(axis=1)
            for group, delta in deltas.items()
        }
        for means in (drawn[-1], drawn[1], flipped):
            means[MEAN_OF_GROUPS] = (means["x"] + means["y"]) / 2
        deltas[MEAN_OF_GROUPS] = np.array([deltas["x"].mean(), deltas["y"].mean()])
        for group in deltas:
            entry = found["metrics"][metric][group]
            assert entry["value"] == pytest.approx(deltas[group].mean())
            assert entry["b"] - entry["a"] == pytest.approx(entry["value"])
            low, high = np.quantile(drawn[-1][group], 0.025), np.quantile(drawn[1][group], 0.975)
            assert entry["low"] == pytest.approx(low, abs=0.01)
            assert entry["high"] == pytest.approx(high, abs=0.01)
            p = (np.abs(flipped[group]) >= abs(deltas[group].mean()) - 1e-9).mean()
            assert entry["p"] == pytest.approx(p, abs=0.02)
    assert found["metrics"]["em"]["all"]["n"] == found["metrics"]["em"][MEAN_OF_GROUPS]["n"] == 130
    assert set(found["metrics"]) == {"em", "f1", "cover_em", "searches"}


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """200 repeated experiments on 60 pairs of known mean difference 0.1."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        values = rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.6, 0.25], size=60)
        entry = found(values, 1000, rng)
        held += entry.low <= 0.1 <= entry.high
    assert 0.89 <= held / 200 <= 0.99


@pytest.mark.parametrize(
    ("values", "p"),
    [([1.0], 1), ([1.0] * 2, 1 / 2), ([-0.5] * 3, 1 / 4), ([1.0] * 5, 1 / 16), ([1.0] * 20, 0)],
)
def test_few_equal_differences_are_no_certainty(values: list[float], p: float) -> None:
    entry = found(values, 10_000, np.random.default_rng(0))
    assert entry.p == pytest.approx(p, abs=0.02)
    assert entry.p > 0


def test_p_is_that_of_the_exact_mcnemar_test() -> None:
    """8 questions got right, 2 got wrong, 30 the same: the two tails of ten tosses of a coin."""
    values = [1.0] * 8 + [-1.0] * 2 + [0.0] * 30
    entry = found(values, 20_000, np.random.default_rng(0))
    assert entry.p == pytest.approx(2 * (1 + 10 + 45) / 1024, abs=0.01)


@pytest.mark.parametrize(("better", "worse"), [(5, 0), (6, 0), (9, 1), (9, 2), (17, 7), (20, 7)])
def test_the_interval_leaves_out_0_where_the_mcnemar_test_rejects_it(better: int, worse: int) -> None:
    values = [1.0] * better + [-1.0] * worse + [0.0] * 40
    entry = found(values, 20_000, np.random.default_rng(0))
    n = better + worse
    p = 2 * sum(comb(n, k) for k in range(worse + 1)) / 2**n
    assert (entry.low > 0) == (p < 0.05)


def test_a_run_against_itself_is_no_difference(tmp_path: Path) -> None:
    a = read_evaluation(two(tmp_path)[0])
    for entry in compare(a, a)["metrics"]["em"].values():
        assert (entry["value"], entry["p"]) == (0, 1)
        # On as many other questions they might have differed once or twice.
        assert entry["low"] == pytest.approx(-entry["high"], rel=0.15)
        assert 2 / entry["n"] < entry["high"] < 10 / entry["n"]


def test_what_is_in_one_only_is_counted_and_left_out(tmp_path: Path) -> None:
    rows = [record(number, "x", number % 2 == 0) for number in range(10)]
    a, b = write(tmp_path / "a", rows[:8]), write(tmp_path / "b", rows[3:])
    found = compare(read_evaluation(a), read_evaluation(b))
    assert (found["n"], found["only_a"], found["only_b"]) == (5, 3, 2)


def test_a_group_called_all_is_none_of_the_totals(tmp_path: Path) -> None:
    a = [record(n, group, False) for group in ("x", "all", MEAN_OF_GROUPS) for n in range(4)]
    b = [row | {"em": row["group"] == "all"} for row in a]
    found = compare(*(read_evaluation(write(tmp_path / n, rows)) for n, rows in (("a", a), ("b", b))))
    assert {group: (e["value"], e["n"]) for group, e in found["metrics"]["em"].items()} == {
        **{"x": (0, 4), "all (group)": (1, 4), f"{MEAN_OF_GROUPS} (group)": (0, 4)},
        **{"all": (pytest.approx(1 / 3), 12), MEAN_OF_GROUPS: (pytest.approx(1 / 3), 12)},
    }


def test_pass_at_k_is_compared_where_both_were_sampled(tmp_path: Path) -> None:
    rows = [record(number, "x", False) for number in range(4)]
    a = write(tmp_path / "a", rows, [sampled(row, [1, 0, 0, 0]) for row in rows])
    b = write(tmp_path / "b", rows, [sampled(row, [1, 1]) for row in rows[1:]])
    metrics = compare(read_evaluation(a), read_evaluation(b))["metrics"]
    assert metrics["pass@1"]["x"]["a"] == 0.25
    assert metrics["pass@1"]["x"]["value"] == 0.75
    assert metrics["pass@2"]["x"] | {"p": 0} == {
        **{"a": 0.5, "b": 1.0, "value": 0.5, "n": 3, "p": 0},
        **{end: metrics["pass@2"]["x"][end] for end in ("low", "high")},
    }
    assert metrics["pass@2"]["x"]["low"] < 0.3 < 0.7 < metrics["pass@2"]["x"]["high"]


@pytest.mark.parametrize("part", [{"question": "Another?"}, {"golden_answers": ["other"]}])
def test_an_id_that_stands_for_two_questions_is_refused(tmp_path: Path, part: dict) -> None:
    rows = [record(number, "x", True) for number in range(4)]
    a, b = write(tmp_path / "a", rows), write(tmp_path / "b", [*rows[:3], rows[3] | part])
    with pytest.raises(DataError, match=r"1 of 4 ids .* 'x-3'"):
        compare(read_evaluation(a), read_evaluation(b))


def test_protocols_are_not_mixed(tmp_path: Path) -> None:
    rows = [record(0, "x", True)]
    a = write(tmp_path / "a", rows, protocol="ssrl")
    b = write(tmp_path / "b", rows, protocol="zerosearch")
    with pytest.raises(RunError, match=r"protocol ssrl .* with zerosearch"):
        compare(read_evaluation(a), read_evaluation(b))


def test_from_the_command_line(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    two(tmp_path)
    assert main(["compare", "a", "b", "--output", "difference.json", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    assert "130 questions in both; 0 in A only" in printed
    assert "EM, mean of groups" in printed
    entry = read_json(Path("difference.json"))["metrics"]["em"]["x"]
    assert f"{100 * entry['value']:+.1f} [{100 * entry['low']:+.1f}" in printed
    assert "no evaluation at gone" in fails(capsys, "compare", "a", "gone")
    Path("b/summary.json").unlink()
    assert "b is not finished: run" in fails(capsys, "compare", "a", "b")
    assert "it holds evaluations, give one: a, b" in fails(capsys, "compare", ".", "a")
    write(Path("c"), [record(0, "z", True)])
    assert "no question in common" in fails(capsys, "compare", "a", "c")
    text = Path("c/greedy.jsonl").read_text()
    Path("c/greedy.jsonl").write_text(text.replace('"f1"', '"rouge"'))
    assert "c is damaged: line 1 of greedy.jsonl has no f1" in fails(capsys, "compare", "a", "c")
    Path("c/greedy.jsonl").write_text("")
    assert "0 records in greedy.jsonl, 1 in summary.json" in fails(capsys, "compare", "a", "c")


def test_what_differs_is_shown(tmp_path: Path) -> None:
    rows = [record(0, "x", True)]
    a, b = (write(tmp_path / name, rows, seed=1) for name in ("a", "b"))
    write_json(a / "settings.json", {"model": "models/before"})
    write_json(b / "settings.json", {"model": "models/after"})
    write_json(b / "summary.json", read_json(b / "summary.json") | {"retokenised": True})
    assert compare(read_evaluation(a), read_evaluation(b))["settings"] == {
        **{"retokenised": [False, True], "model": ["models/before", "models/after"]}
    }


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("summary.json", '{"n": 1', "b/summary.json is no JSON"),
        ("summary.json", "{}", "b is damaged: summary.json has no n, settings"),
        ("summary.json", "[]", "b is damaged: summary.json is no object"),
        ("settings.json", "{}", "b is damaged: settings.json has no model"),
        ("greedy.jsonl", '{"id": "\n', "b/greedy.jsonl, line 1 is no JSON"),
        ("greedy.jsonl", "7\n", "b/greedy.jsonl, line 1 is no JSON object"),
        ("greedy.jsonl", '{"id": "1"}\n', "b is damaged: line 1 of greedy.jsonl has no group, em, f1"),
        ("samples.jsonl", "{}\n", "b is damaged: line 1 of samples.jsonl has no id, group, em"),
    ],
)
def test_damage_is_named(
    tmp_path: Path, capsys, monkeypatch, file: str, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write(Path(name), [record(0, "x", True)])
    (Path("b") / file).write_text(text)
    assert message in fails(capsys, "compare", "a", "b")


def test_arguments_that_cannot_be(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write(Path(name), [record(0, "x", True)])
    assert "seed" in fails(capsys, "compare", "a", "b", "--seed", "-1", status=2)
    assert fails(capsys, "compare", "a", "b", "--output", "a").endswith("Is a directory: a")
    output = "a/summary.json/o.json"
    assert fails(capsys, "compare", "a", "b", "--output", output).endswith(output)
    assert not list(Path().rglob("*.part"))


ODD = {
    "id": [None, 7, "", [], {}],
    "group": [None, 7, "", ["x"]],
    "em": [None, "yes", 2, float("nan"), [1]],
    "f1": [None, "0.5", -1, 1.5, float("nan"), float("inf"), True, {}],
    "cover_em": [None, 0.5],
    "searches": [None, "2", -1, float("nan")],
    "question": [None, 7, ["x"]],
    "golden_answers": ["x", [None], {"target": ["x"]}, 7],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key in ODD for value in ODD[key]])
def test_a_record_with_an_odd_value_is_one_clear_line(
    tmp_path: Path, capsys, monkeypatch, key: str, value: object
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [record(number, "x", True) for number in range(3)]
    for name in ("a", "b"):
        write(Path(name), rows)
    lines = [json.dumps(row) for row in (rows[0], rows[1] | {key: value}, rows[2])]
    Path("b/greedy.jsonl").write_text("".join(line + "\n" for line in lines))
    said = fails(capsys, "compare", "a", "b")
    assert f"b is damaged: line 2 of greedy.jsonl has an impossible {key}" in said
    assert len(said) < 250


@pytest.mark.parametrize(
    "em", [None, [], [2], ["1"], [None], [0.5], 1, {"0": 1}, [float("nan")], [[1]]], ids=str
)
def test_samples_with_odd_values_are_one_clear_line(tmp_path: Path, em: object) -> None:
    rows = [record(0, "x", True)]
    a = write(tmp_path / "a", rows, [sampled(rows[0], [1])])
    b = write(tmp_path / "b", rows, [sampled(rows[0], [1]) | {"em": em}])
    read_evaluation(a)
    with pytest.raises(RunError, match=r"line 1 of samples\.jsonl has an impossible em"):
        read_evaluation(b)


def test_a_question_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [record(0, "x", True), record(0, "x", False)])
    with pytest.raises(RunError, match=r"question 'x-0' stands twice"):
        read_evaluation(a)


def test_files_without_objects_are_one_clear_line(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write(Path(name), [record(0, "x", True)])
    for text in ('{"n": "1", "settings": {}}', '{"n": -1, "settings": {}}', '{"n": 1, "settings": []}'):
        Path("b/summary.json").write_text(text)
        assert "b is damaged: summary.json has an impossible" in fails(capsys, "compare", "a", "b")


def in_clusters(path: Path, rng: np.random.Generator, *, size: int = 6, clusters: int = 30) -> Path:
    """An evaluation whose questions about one entity are right or wrong together."""
    right = rng.random(clusters) < 0.5
    rows = [
        record(n, "xy"[n % 2], bool(right[n // size])) | {"golden_answers": [f"entity {n // size}"]}
        for n in range(size * clusters)
    ]
    written = write(path, rows)
    questions = [
        {"id": r["id"], "metadata": {"entity": n // size, "chain": [n // size, n], "twin": n // 2}}
        for n, r in enumerate(rows)
    ]
    lines = [json.dumps({"question": question}) + "\n" for question in questions]
    (written / "trajectories.jsonl").write_text("".join(lines))
    return written


def test_errors_in_clusters_of_six_are_rejected_no_more_often_than_stated() -> None:
    """Under the null: A and B are right about the same entities by chance alone."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(30), 6)
    rejected = {"named": 0, "not named": 0}
    held = repeated = 400
    for _ in range(repeated):
        a, b = (np.repeat(rng.random(30) < 0.5, 6).astype(float) for _ in range(2))
        for name, numbers in (("named", clusters), ("not named", None)):
            entry = difference(Scores.single(b - a, numbers), 1.0, 500, rng)
            rejected[name] += entry.p < 0.05
            held -= name == "named" and not entry.low <= 0 <= entry.high
    assert rejected["named"] / repeated <= 0.06
    assert held / repeated >= 0.94
    assert rejected["not named"] / repeated > 0.3, "the trap is there"


def test_clusters_are_named_by_any_field(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    for name in "ab":
        in_clusters(Path(name), rng)
    plain = compare(read_evaluation(Path("a")), read_evaluation(Path("b")))
    fields = ("golden_answers", "Golden answer", "golden-answers", "entity", "chain.0")
    answers = [
        compare(read_evaluation(Path("a")), read_evaluation(Path("b")), cluster=field)
        for field in fields
    ]
    assert all(answer["metrics"] == answers[0]["metrics"] for answer in answers)
    assert answers[0]["clusters"] == {
        **{"field": "golden_answers", "n": 30, "smallest": 6, "largest": 6},
        **{"without": 0, "few": False},
    }
    # A cluster of both groups moves both, and the mean of the groups as all questions.
    for group in ("x", "y", "all", MEAN_OF_GROUPS):
        wide, narrow = (found["metrics"]["em"][group] for found in (answers[0], plain))
        assert wide["value"] == narrow["value"]
        assert wide["high"] - wide["low"] > 1.3 * (narrow["high"] - narrow["low"])
    alone = compare(read_evaluation(Path("a")), read_evaluation(Path("b")), cluster="id")
    assert alone["metrics"]["em"]["x"]["p"] == pytest.approx(plain["metrics"]["em"]["x"]["p"], abs=0.02)
    assert main(["compare", "a", "b", "--cluster", "group"]) == 0
    printed = capsys.readouterr().out
    assert "questions of one group err together: 2 clusters of 90 questions" in printed
    assert "only 2 clusters, or few that are large: intervals are wide and rough" in printed
    assert "p cannot fall below 0.5" in printed
    said = fails(capsys, "compare", "a", "b", "--cluster", "passage")
    assert "no question of a has a field 'passage'; they have: chain, entity, golden_answers" in said
    assert main(["compare", "a", "b"]) == 0
    assert "where several err together, add --cluster" in capsys.readouterr().out


def test_questions_without_the_field_stand_alone(tmp_path: Path) -> None:
    a, b = (in_clusters(tmp_path / name, np.random.default_rng(5)) for name in "ab")
    lines = (a / "trajectories.jsonl").read_text().splitlines(keepends=True)
    (a / "trajectories.jsonl").write_text("".join(lines[:60]))
    clusters = compare(read_evaluation(a), read_evaluation(b), 100, cluster="entity")["clusters"]
    assert (clusters["n"], clusters["without"], clusters["smallest"]) == (10 + 120, 120, 1)


def test_all_weighs_questions_in_every_metric(tmp_path: Path) -> None:
    """Ten of each group were sampled, and one group is nine times as large."""
    rows = [record(n, "x", False) for n in range(90)] + [record(n, "y", False) for n in range(10)]
    better = [row | {"em": row["group"] == "x"} for row in rows]
    few = [row for row in rows if row["id"] in {f"{g}-{n}" for g in "xy" for n in range(10)}]
    a = write(tmp_path / "a", rows, [sampled(row, [0, 0]) for row in few])
    b = write(tmp_path / "b", better, [sampled(r, [1, 1] if r["group"] == "x" else [0, 0]) for r in few])
    metrics = compare(read_evaluation(a), read_evaluation(b))["metrics"]
    for name in ("em", "pass@1", "pass@2"):
        assert metrics[name]["all"]["value"] == pytest.approx(0.9)
        assert metrics[name][MEAN_OF_GROUPS]["value"] == pytest.approx(0.5)
    assert metrics["pass@1"]["all"]["n"] == 20


def test_another_f1_of_the_same_questions_is_named(tmp_path: Path) -> None:
    rows = [record(n, "hotpotqa", True) for n in range(3)]
    a = write(tmp_path / "a", rows)
    b = write(tmp_path / "b", [row | {"f1_rule": "HotpotQA"} for row in rows])
    found = compare(read_evaluation(a), read_evaluation(b))
    assert found["settings"] == {"F1 as by": ["SQuAD", "HotpotQA"]}
