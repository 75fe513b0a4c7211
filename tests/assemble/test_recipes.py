"""Recipes that take their values from others, and the controls, which are made so."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from innersearch.assemble.recipes import open_recipe, read_recipe, recipe_path, recipe_with
from innersearch.cli import main
from innersearch.errors import ConfigError
from innersearch.records import write_json
from innersearch.runs import Run
from innersearch.simulator.loading import TRAINED
from innersearch.world.bundled import BUNDLED
from innersearch.world.questions import SOURCE

ROOT = Path(__file__).parents[2]
CONTROLS = sorted((ROOT / "recipes" / "controls").glob("*.toml"))
BASE = """
name = "base"
model = "world"
data = "world:train"
reward = "em"
[trainer]
steps = 7
kl = 0.5
[[stage]]
name = "one"
[[stage]]
name = "two"
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "below").mkdir()
    return tmp_path / "below"


def test_a_recipe_is_laid_over_its_base(files: Path) -> None:
    own = 'base = "../base.toml"\nname = "own"\nreward = "f1"\n[trainer]\nsteps = 3\n'
    (files / "own.toml").write_text(own)
    (files / "more.toml").write_text('base = "own.toml"\nname = "more"\n[[stage]]\nname = "alone"\n')
    own, more = (open_recipe(str(files / f"{name}.toml")) for name in ("own", "more"))
    assert (own.name, own.model, own.trainer.steps, own.trainer.kl) == ("own", "world", 3, 0.5)
    assert [stage.name for stage in own.stage] == ["one", "two"]
    assert [term.measure for term in own.reward] == ["f1"]
    assert (more.trainer.steps, [stage.name for stage in more.stage]) == (3, ["alone"])
    assert recipe_with(files / "more.toml", {"trainer": {"kl": 0.0}}).trainer.kl == 0.0


def test_a_run_records_the_recipe_with_all_its_values(files: Path, tmp_path: Path) -> None:
    (files / "own.toml").write_text('base = "../base.toml"\nname = "own"\n')
    recipe = open_recipe(str(files / "own.toml"))
    Run.start(tmp_path / "run", recipe, resume=False)
    (tmp_path / "base.toml").unlink()
    recorded = type(recipe).recorded(
        __import__("json").loads((tmp_path / "run/recipe.json").read_text())
    )
    assert recorded == recipe


def test_a_bundled_recipe_is_a_base_by_its_name(files: Path) -> None:
    (files / "own.toml").write_text('base = "ssrl-world.toml"\nname = "own"\n')
    theirs = open_recipe("ssrl-world.toml").model_dump()
    assert open_recipe(str(files / "own.toml")).model_dump() == theirs | {"name": "own"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('base = "own.toml"', "base goes round in a circle"),
        ('base = "../round.toml"', "base goes round in a circle"),
        ('base = "nowhere.toml"', "there is no base 'nowhere.toml'"),
        ('base = ""', "there is no base ''"),
        ('base = ["a.toml", "b.toml"]', "base names one other recipe"),
        ('base = "../broken.toml"', "broken.toml is no TOML"),
        ('base = "../old.toml"', "old.toml: trainer.engine"),
    ],
)
def test_bases_that_are_none(files: Path, line: str, said: str) -> None:
    (files / "own.toml").write_text(f"{line}\n")
    (files.parent / "round.toml").write_text('base = "below/own.toml"\n')
    (files.parent / "broken.toml").write_text("name = [")
    (files.parent / "old.toml").write_text('[trainer]\nengine = "trl"\n')
    with pytest.raises(ConfigError) as error:
        read_recipe(str(files / "own.toml"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_controls_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("recipes/controls/rft.toml", "controls/rft.toml"):
        assert recipe_path(name) == ROOT / "recipes" / "controls" / "rft.toml"
    assert recipe_path("controls/../controls/rft.toml") is None
    assert recipe_path("rft.toml") is None


def test_every_control_says_what_it_is_for_and_has_a_name_of_its_own() -> None:
    assert len(CONTROLS) >= 17
    for path in CONTROLS:
        text = path.read_text()
        assert text.startswith("# Control: ")
        assert f"innersearch train recipes/controls/{path.name}" in text
        assert open_recipe(str(path)).name == path.stem


@pytest.mark.parametrize("path", CONTROLS, ids=lambda path: path.stem)
def test_every_control_samples_as_often_as_ssrl(path: Path) -> None:
    def samples(name: str) -> int:
        recipe = open_recipe(name)
        if recipe.stage:
            return sum(stage.rounds * stage.questions * (stage.samples or 1) for stage in recipe.stage)
        return recipe.trainer.steps * recipe.trainer.prompts_per_step * recipe.trainer.group_size

    assert samples(str(path)) == samples("ssrl-world.toml") == 10_240


@pytest.mark.parametrize("path", CONTROLS, ids=lambda path: path.stem)
def test_every_control_can_be_trained(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dry-run` makes the checks of training; simulators have to be made first."""
    monkeypatch.chdir(tmp_path)
    # Some questions only, which takes a tenth of the time; the base of all asks those it names.
    rows = [asdict(question) for question in SOURCE.read("train")[:20]]
    answer = {"response": "<think> I know this one.</think><answer> Lima</answer>"}
    Path("rows.jsonl").write_text("".join(json.dumps(row | answer) + "\n" for row in rows))
    if path.stem.startswith("zerosearch"):
        place = tmp_path / "runs" / f"simulator-{path.stem[-1]}"
        shutil.copytree(BUNDLED, place)
        write_json(place / TRAINED, {"settings": {}})
    assert main(["train", str(path), "--data", "rows.jsonl", "--empty-groups", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert path.stem in shown
    assert "10,240 trajectories" in shown or "10,240 rows" in shown
