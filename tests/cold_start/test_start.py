"""The whole start, with a tiny model: files, figures, and that it goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.cold_start.figures import figures
from innersearch.cold_start.settings import DEMONSTRATIONS, StartSettings
from innersearch.stored import read_json, read_lines
from tests.cold_start.tiny import THINGS, tiny_model, write_examples, write_questions


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A start in small, as it is typed."""
    folder = tmp_path_factory.mktemp("questions")
    data = write_questions(folder, "train.jsonl", THINGS[:8])
    validation = write_questions(folder, "validation.jsonl", THINGS[8:])
    options = {
        "--data": data,
        "--validation": validation,
        "--examples": write_examples(folder),
        "--questions": "24",
        "--epochs": "2",
        "--batch": "4",
        "--learning-rate": "2e-3",
        "--measured": "3",
        "--sampled": "2",
        "--samples": "2",
        "--max-new-tokens": "64",
    }
    return ["start", tiny_model(), *(part for option in options.items() for part in option)]


def test_a_start_is_made_measured_and_gone_on_with(
    given: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "start"
    status = main([*given, "--output", str(path)])
    said = capfd.readouterr()
    found = read_json(path / "start.json")
    # Whatever it comes to, the command says what the figures say.
    assert status == (0 if found["ready"] else 1), said.err
    assert ("this is no start for reinforcement" in said.err) is not found["ready"]
    assert [target["name"] for target in found["targets"]] == [
        *("one hop, greedy EM", "well-formed", "two hops, pass@2")
    ]
    written = list(read_lines(path / "all-demonstrations.jsonl"))
    assert len(written) == 24
    kept = list(read_lines(path / DEMONSTRATIONS))
    assert kept == [one for one in written if one["response"]]
    assert found["demonstrations"] == len(kept) > 12
    assert all(one["response"].count("<search>") == one["searches"] for one in kept)
    assert len({one["searches"] for one in kept}) == 3
    shots = list(read_lines(path / "few-shot.jsonl"))
    assert len(shots) == 3 * 6
    assert (path / "model" / "model.safetensors").is_file()
    assert "behind examples, 2 searches" in said.out
    # As if it had been killed while it wrote, and while it answered.
    for name, lines in (("all-demonstrations.jsonl", 5), ("greedy/greedy.jsonl", 2)):
        whole = (path / name).read_text().splitlines(keepends=True)
        (path / name).write_text("".join(whole[:lines]) + whole[lines][:9])
    (path / DEMONSTRATIONS).unlink()
    assert main([*given, "--output", str(path)]) == 1
    assert "add --resume" in capfd.readouterr().err
    assert main([*given, "--output", str(path), "--resume"]) == status
    assert list(read_lines(path / "all-demonstrations.jsonl")) == written
    again = read_json(path / "start.json")
    assert {**again, "seconds": 0} == {**found, "seconds": 0}
    assert main([*given, "--output", str(path), "--resume", "--seed", "7"]) == 1
    assert "seed" in capfd.readouterr().err
    assert main([*given, "--output", str(path), "--resume", "--searches", "1"]) == 1
    assert "searches differ from what it began with" in capfd.readouterr().err


SETTINGS = StartSettings(model="m", data="d", validation="v", searches=1, samples=4)


def shot(group: str, searches: int, em: int) -> dict[str, object]:
    return {"id": "q", "group": group, "searches": searches, "answer": "a", "em": bool(em)}


def answered(group: str, em: int, formed: float = 1.0) -> dict[str, object]:
    return {"id": "q", "group": group, "em": bool(em), "format": formed}


@pytest.mark.parametrize(
    ("one_hop", "formed", "right", "met"),
    [
        (5, 1.0, [1, 0, 0, 0], [True, True, True]),
        (3, 1.0, [1, 0, 0, 0], [False, True, True]),
        (5, 0.0, [1, 1, 1, 1], [True, False, True]),
        (5, 1.0, [0, 0, 0, 0], [True, True, False]),
    ],
)
def test_a_start_is_ready_where_every_figure_is(
    one_hop: int, formed: float, right: list[int], met: list[bool]
) -> None:
    """Behind examples two of ten are right without a search and five with one: five are to be kept."""
    few_shot = [
        shot("one_hop", n, em) for n, most in ((0, 2), (1, 5)) for em in [1] * most + [0] * (10 - most)
    ]
    greedy = [answered("one_hop", n < one_hop) for n in range(10)]
    greedy += [answered("two_hop", 0, formed) for _ in range(10)]
    samples = [
        {"id": "q", "group": "two_hop", "em": right},
        {"id": "r", "group": "two_hop", "em": [0] * 4},
    ]
    found = figures(SETTINGS, few_shot, greedy, samples)
    assert [target.met for target in found.targets] == met
    assert found.ready is all(met)
    assert found.targets[0].least == pytest.approx(0.45)
    assert found.passes[4].value == float(sum(right) > 0) / 2
    assert found.greedy["two_hop"].n == 10
    assert json.loads(json.dumps(found.record()))["ready"] is found.ready


def test_questions_that_measure_are_others_than_those_that_teach(
    given: list[str], capfd: pytest.CaptureFixture[str], in_empty_folder: None
) -> None:
    data = given[given.index("--data") + 1]
    for given_data, validation, said in (
        ("", "", "no questions given: add --data"),
        (data, "", "add --validation"),
        (data, data, "give others"),
    ):
        assert main(["start", given[1], "--data", given_data, "--validation", validation]) == 1
        assert said in capfd.readouterr().err
    assert main([*given, "--grammar", "tool-call"]) == 1
    assert "take tags, rag-r1" in capfd.readouterr().err
    assert not list(Path().iterdir())
