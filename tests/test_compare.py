from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from innersearch.cli import main
from innersearch.errors import DataError, RunError
from innersearch.evaluate.compare import MEAN_OF_GROUPS, compare, read_evaluation
from innersearch.evaluate.scores import summarise
from innersearch.metrics import difference, flipped_means, resampled_means
from innersearch.records import read_json, write_json
from tests.test_cli import fails

DRAWS = (resampled_means, flipped_means)


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


def test_differences_are_those_of_a_plain_paired_bootstrap_and_of_plain_flips(tmp_path: Path) -> None:
    a, b = (read_evaluation(path) for path in two(tmp_path))
    found = compare(a, b, seed=1)
    rng = np.random.default_rng(0)
    for metric in ("em", "f1"):
        deltas = {}
        for group in ("x", "y"):
            ids = [i for i in a.greedy if i.startswith(group)]
            deltas[group] = np.array([b.greedy[i][metric] - 1.0 * a.greedy[i][metric] for i in ids])
        deltas["all"] = np.concatenate([deltas["x"], deltas["y"]])
        drawn = {
            group: delta[rng.integers(len(delta), size=(10_000, len(delta)))].mean(axis=1)
            for group, delta in deltas.items()
        }
        flipped = {
            group: (delta * rng.choice([-1, 1], size=(10_000, len(delta)))).mean(axis=1)
            for group, delta in deltas.items()
        }
        for means in (drawn, flipped):
            means[MEAN_OF_GROUPS] = (means["x"] + means["y"]) / 2
        deltas[MEAN_OF_GROUPS] = np.array([deltas["x"].mean(), deltas["y"].mean()])
        for group, means in drawn.items():
            entry = found["metrics"][metric][group]
            assert entry["value"] == pytest.approx(deltas[group].mean())
            assert entry["b"] - entry["a"] == pytest.approx(entry["value"])
            low, high = np.quantile(means, [0.025, 0.975])
            assert entry["low"] == pytest.approx(low, abs=0.03)
            assert entry["high"] == pytest.approx(high, abs=0.03)
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
        found = difference(values, *(draw(values, 1000, rng) for draw in DRAWS))
        held += found.low <= 0.1 <= found.high
    assert 0.89 <= held / 200 <= 0.99


@pytest.mark.parametrize(
    ("values", "p"),
    [([1.0], 1), ([1.0] * 2, 1 / 2), ([-0.5] * 3, 1 / 4), ([1.0] * 5, 1 / 16), ([1.0] * 20, 0)],
)
def test_few_equal_differences_are_no_certainty(values: list[float], p: float) -> None:
    rng = np.random.default_rng(0)
    found = difference(values, *(draw(values, 10_000, rng) for draw in DRAWS))
    assert found.p == pytest.approx(p, abs=0.02)
    assert found.p > 0


def test_p_is_that_of_the_exact_mcnemar_test() -> None:
    """8 questions got right, 2 got wrong, 30 the same: the two tails of ten tosses of a coin."""
    values = [1.0] * 8 + [-1.0] * 2 + [0.0] * 30
    found = difference(values, *(draw(values, 20_000, np.random.default_rng(0)) for draw in DRAWS))
    assert found.p == pytest.approx(2 * (1 + 10 + 45) / 1024, abs=0.01)


def test_resamples_in_parts_are_resamples() -> None:
    values = np.arange(3000) / 3000
    means = resampled_means(values, 2000, np.random.default_rng(0))
    assert means.mean() == pytest.approx(values.mean(), abs=0.001)
    assert means.std() == pytest.approx(values.std() / 3000**0.5, rel=0.1)


def test_a_run_against_itself_is_no_difference(tmp_path: Path) -> None:
    a = read_evaluation(two(tmp_path)[0])
    for entry in compare(a, a)["metrics"]["em"].values():
        assert (entry["value"], entry["low"], entry["high"], entry["p"]) == (0, 0, 0, 1)


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
        **{"a": 0.5, "b": 1.0, "value": 0.5, "low": 0.5, "high": 0.5, "p": 0, "n": 3}
    }


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
    assert "scored with other metrics" in fails(capsys, "compare", "a", "c")
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
        ("greedy.jsonl", '{"id": "1"}\n', "b is damaged: line 1 of greedy.jsonl has no group, em"),
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
