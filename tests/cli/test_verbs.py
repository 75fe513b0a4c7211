"""The verbs that show what there is, and those that need no model: run as they are typed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from innersearch.assemble.engines import ENGINES
from innersearch.assemble.recipes import bundled_recipes
from innersearch.cli import main
from innersearch.cli.verbs import HEADINGS
from innersearch.config import Recipe
from innersearch.errors import EXTRAS
from innersearch.stored import read_json
from innersearch.view.listing import TOPICS
from tests.cli.test_cli import fails

pytestmark = pytest.mark.usefixtures("in_empty_folder")

LIST = [verb for verbs in HEADINGS.values() for verb in verbs]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str):
    return json.loads(printed(capsys, *arguments, "--json"))


def test_help_imports_no_verb() -> None:
    code = "import sys; from innersearch.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert {"innersearch.cli", "cyclopts"} <= modules
    assert not modules & {"torch", "transformers", "numpy", "httpx2", "pydantic", "matplotlib", "jinja2"}
    assert not modules & {f"innersearch.cli.{verb.module}" for verb in LIST}
    for verb in LIST:
        assert f" {verb.name} " in done.stdout


@pytest.mark.parametrize("verb", LIST, ids=lambda verb: verb.name)
def test_a_verb_stands_where_the_list_says(verb, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_module(f"innersearch.cli.{verb.module}").app.name == (verb.name,)
    assert len(verb.summary) < 75
    assert f"innersearch {verb.name} " in printed(capsys, verb.name, "--help")


@pytest.mark.parametrize("topic", TOPICS)
def test_everything_that_has_a_name_is_listed(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = as_json(capsys, "ls", topic)
    assert [row["name"] for row in rows] == list(dict.fromkeys(row["name"] for row in rows))
    assert all(all(row.values()) for row in rows), rows
    table = printed(capsys, "ls", topic)
    assert table.count("\n") == len(rows) + 2


def test_lists_are_those_of_the_registries(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in as_json(capsys, "ls", "engines")] == ENGINES.names()
    found = as_json(capsys, "ls", "recipes")
    assert len(found) == len(bundled_recipes()) > 20
    for row in found:
        assert as_json(capsys, "config", "show", row["name"])["name"]
    assert {row["topic"]: row["how many"] for row in as_json(capsys, "ls")}["recipes"] == len(found)
    assert "engines" in fails(capsys, "ls", "engine", status=2)


def test_config_says_where_a_value_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    Path("below").mkdir()
    Path("base.toml").write_text('name = "a"\nseed = 3\n[trainer]\nsteps = 7\nmicro_batch = 4\n')
    Path("below/mine.toml").write_text('base = "../base.toml"\nname = "b"\n[trainer]\nsteps = 9\n')
    lines = printed(capsys, "config", "show", "below/mine.toml").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = {row[0]: row[1:] for row in cells}
    assert rows["name"] == ["b", "below/mine.toml"]
    assert rows["seed"] == ["3", "base.toml"]
    assert rows["trainer.steps"] == ["9", "below/mine.toml"]
    assert rows["trainer.micro_batch"] == ["4", "base.toml"]
    assert rows["trainer.group_size"] == [str(Recipe().trainer.group_size), "default"]
    assert Recipe.model_validate(as_json(capsys, "config", "show", "below/mine.toml")).seed == 3
    assert Recipe.model_validate(as_json(capsys, "config", "show")) == Recipe()


def test_env_tells_of_keys_only_whether_they_are_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERPER_API_KEY", "very-secret-value")
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    found = as_json(capsys, "env")
    assert found["keys"]["SERPER_API_KEY"] is True
    assert found["keys"]["TAVILY_API_KEY"] is False
    assert set(found["extras"]) == set(EXTRAS.values())
    assert found["extras"]["serve"] == []
    text = printed(capsys, "env")
    assert "SERPER_API_KEY: set" in text
    assert "very-secret" not in text + json.dumps(found)


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_person_is_the_policy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["play", "Who taught Zerorn?", "--gold", "Kasara", "--output", "played.jsonl"]
    typed(monkeypatch, "I look it up.", "? teacher of Zerorn", "It says so.", "= Kasara")
    found = as_json(capsys, *asked)
    assert found["queries"] == ["teacher of Zerorn"]
    assert found["reward"] == found["components"]["em"] == found["components"]["format"] == 1.0
    typed(monkeypatch, "? teacher of Zerorn", "= Lintek")
    assert main(asked) == 0
    captured = capsys.readouterr()
    assert "had Kasara for many years" in captured.err
    assert "reward    0 " in captured.out
    lines = Path("played.jsonl").read_text().splitlines()
    assert [json.loads(line)["reward"] for line in lines] == [1.0, 0.0]


def test_a_person_may_break_the_format_and_leave(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "<answer>Kasara</answer>")
    found = as_json(capsys, "play", "Who taught Zerorn?", "--gold", "Kasara")
    assert (found["reward"], found["components"]["format"]) == (0.9, 0.0)
    typed(monkeypatch, "hm")
    left = as_json(capsys, "play", "Who taught Zerorn?", "--gold", "Kasara")
    assert (left["answer"], left["stop_reason"], left["reward"]) == (None, "eos", 0.0)


def test_trajectories_are_paged_through(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ("Kasara", "Lintek"):
        typed(monkeypatch, f"= {answer}")
        printed(capsys, *("play", "Who taught Zerorn?", "--gold", "Kasara", "--output", "a.jsonl"))
    wrong = printed(capsys, "view", "a.jsonl", "--term", "--only", "wrong")
    assert "Lintek" in wrong
    assert "Kasara" not in wrong
    assert printed(capsys, "view", "a.jsonl", "--term").count("question") == 2
    assert printed(capsys, "view", "a.jsonl", "--term", "-n", "1").count("question") == 1
    assert "no trajectory" in fails(capsys, "view", "a.jsonl", "--term", "--text", "Nobody")


def test_shells_complete_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, "completion", "bash")
    assert all(verb.name in script for verb in LIST)
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_results_are_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    [best, *_] = as_json(capsys, "search", "world", "teacher of Zerorn")["documents"]
    assert best["title"] == "Zerorn"
    forecast = as_json(capsys, "cost", "recipes/zerosearch.toml", "--published")
    assert forecast["forecast"][0]["tier"] == "self"
    assert forecast["published"]
    Path("q.jsonl").write_text('{"question": "Who taught Zerorn?", "golden_answers": ["Kasara"]}\n')
    assert as_json(capsys, "data", "check", "q.jsonl")["findings"]["groups"] == {"q": 1}
    assert {"nq", "nq:train"} <= {row["name"] for row in as_json(capsys, "data", "ls")}


TASTE = """
import sys
for name in ("torch", "transformers", "trl", "datasets", "accelerate"):
    sys.modules[name] = None
from innersearch.cli import main, taste
taste.PER_GROUP = 2
sys.exit(main(["demo", "--taste", "tasted", "--json"]))
"""


def test_a_taste_needs_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", TASTE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    em = {name: row["em"]["all"]["value"] for name, row in json.loads(done.stdout).items()}
    assert em["careful, encyclopedia"] == 1.0
    assert em["silent"] == 0.0
    assert em["careful, half noise"] < 1.0
    assert em["hasty, encyclopedia"] < 1.0
    report = Path("tasted/report.html").read_text(encoding="utf-8")
    assert "careful-encyclopedia" in report
    summary = read_json(Path("tasted/eval/careful-encyclopedia/summary.json"))
    assert summary["searches"] > 1.0
