"""The commands of README and docs: each parses, and is run as it stands, or a reason says why not.

What a reader has, a model or files of their own, a small one stands in for. Variables make runs short,
since options of a command stand above them: what is typed is what is run.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from innersearch import Question, open_server, read_questions
from innersearch.cli import app, main, train
from innersearch.world.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world.encyclopedia import Encyclopedia
from innersearch.world.pages import passages
from tests.docs.commands import PAGES, ROOT, blocks, commands
from tests.docs.reasons import REASONS, reason

ALL = commands()
OURS = [command for command in dict.fromkeys(one.text for one in ALL) if "innersearch " in command]
RUN = [command for command in dict.fromkeys(one.text for one in ALL) if not reason(command)]
FIRST = (
    "index",
    "data",
    "simulator collect",
    "simulator train",
    "train recipes/ssrl-",
    "train",
    "calibrate",
    "eval",
    "",
)
"""What later commands need is done before them."""
SHORT = {
    "TRAIN_TRAINER_STEPS": "2",
    "TRAIN_TRAINER_PROMPTS_PER_STEP": "2",
    "TRAIN_TRAINER_GROUP_SIZE": "2",
    "TRAIN_TRAINER_MICRO_BATCH": "4",
    "EVAL_GROUPS": "never_stated",
    "SIM2REAL_GROUPS": "never_stated",
    "HYBRID_QUESTIONS": "24",
    "CALIBRATE_QUESTIONS": "24",
    "SIMULATOR_COLLECT_MAX_QUESTIONS": "48",
    "SIMULATOR_MEASURE_MAX_QUERIES": "24",
    "SIMULATOR_TRAIN_EPOCHS": "1",
}
STANDS_FOR = {
    r"\b(MODEL|DIR)\b": "models/agent",
    r"\bFILE\b": "questions.jsonl",
    r"\bA B\b": "runs/before runs/after",
    r"\bbm25:wiki\b": "bm25:runs/wiki",
    r"~/": "",
}
"""What is written for something that a reader has, and what it is here."""
DATA = ("bamboogle", "nq", "validation", "test", "questions", "unlabelled", "sets", "hard")


@pytest.mark.parametrize("command", OURS)
def test_a_command_parses(command: str) -> None:
    tokens = _tokens(command)
    if tokens[0] == "train":
        train.read_recipe(tokens[1:])
    app.parse_args(tokens, exit_on_error=False, print_error=False)


def test_each_reason_fits_a_command() -> None:
    fitting = {reason(command.text) for command in ALL}
    assert not set(REASONS.values()) - fitting
    assert len(RUN) >= 20


def test_python_that_is_shown_is_run_somewhere() -> None:
    """In test_public.py, test_kept.py, test_readme.py; one needs a package from PyPI."""
    shown = {page.name: len(found) for page in PAGES if (found := blocks(page, "python"))}
    assert shown == {"architecture.md": 5, "pages.md": 1, "python.md": 1, "serving.md": 1}
    [needs] = blocks(ROOT / "docs" / "serving.md", "python")
    assert "import OpenAI" in needs, "`make test-agents` runs it"


def _tokens(command: str) -> list[str]:
    words = shlex.split(command.split(" && ")[-1])
    return words[next(i for i, word in enumerate(words) if word.endswith("innersearch")) + 1 :]


def _order(command: str) -> int:
    return next(i for i, verb in enumerate(FIRST) if f"innersearch {verb}" in command or not verb)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader has: recipes and examples, a model, questions, a corpus."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("recipes", "examples", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "models").mkdir()
    shutil.copytree(BUNDLED, folder / "models" / "agent")
    asked = [question for question in read_questions("world:test") if question.group == "never_stated"]
    rows = [_row(question) for question in asked[:24]]
    for name in DATA:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pages = [{"id": "Peru", "contents": "Peru\nPeru is a country. Its capital is Lima."}]
    pages += [
        {"id": document.id, "contents": f"{document.title}\n{document.text}"}
        for document in passages(Encyclopedia.generate(BUNDLED_SEED))[:400]
    ]
    for name in ("corpus.jsonl", "wiki-18.jsonl"):
        (folder / name).write_text("".join(json.dumps(page) + "\n" for page in pages))
    return folder


def _row(question: Question) -> dict[str, object]:
    about = {**question.metadata, "entity": question.metadata["chain"][0], "data_source": "mine"}
    gold = list(question.golden_answers)
    return {**about, "id": question.id, "question": question.question, "golden_answers": gold}


@pytest.fixture(scope="module")
def runs(workspace: Path) -> Path:
    """Runs that the pages go on from: two steps stand for the demo and for a run on a real model."""
    with pytest.MonkeyPatch.context() as patch:
        _enter(workspace, patch)
        evaluate = ["eval", "--data", "world:test", "--output"]
        assert main(["train", "recipes/ssrl-world.toml", "--output", "runs/demo"]) == 0
        for model, name in (("world", "before"), ("runs/demo/model", "after")):
            assert main([*evaluate, f"runs/demo/eval/{name}", model]) == 0
        shutil.copytree("runs/demo", "runs/ssrl")
    return workspace


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Be in the folder, where runs are short."""
    patch.chdir(folder)
    patch.setenv("HOME", str(folder))
    for name, value in SHORT.items():
        patch.setenv(f"INNERSEARCH_{name}", value)


@pytest.mark.docs
@pytest.mark.parametrize("command", sorted(RUN, key=_order))
def test_a_command_runs(command: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _enter(runs, monkeypatch)
    for written, stands in STANDS_FOR.items():
        command = re.sub(written, stands, command)
    if command.startswith("curl "):
        _ask(command)
        return
    tokens = _tokens(command)
    if tokens[0] in ("serve", "mcp"):
        _serve(tokens)
        return
    if tokens[0] == "train":
        recipe = Path(tokens[1]).read_text(encoding="utf-8")
        # The lengths of stages stand in their tables alone.
        if re.search(r"^\[\[stage\]\]|^base", recipe, re.MULTILINE):
            monkeypatch.setenv("INNERSEARCH_TRAIN_DRY_RUN", "true")
        shutil.rmtree(Path("runs") / tomllib.loads(recipe)["name"], ignore_errors=True)
    if "--output" in tokens:
        shutil.rmtree(tokens[tokens.index("--output") + 1], ignore_errors=True)
    assert main(tokens) == 0


def _ask(command: str) -> None:
    """Ask a server of the corpus by curl; an error of HTTP is one of curl's."""
    with open_server("bm25:runs/wiki") as server:
        asked = re.sub(r"\bURL\b|(http://)?127\.0\.0\.1:8000", server.url, command)
        words = shlex.split(asked)
        done = subprocess.run([*words, "--fail"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def _serve(tokens: list[str]) -> None:
    """Begin to serve, at a free port, until told to end."""
    port = ["--port", "0"] if tokens[0] == "serve" else []
    command = [sys.executable, "-m", "innersearch", *tokens, *port]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdin
        assert running.stderr
        if tokens[0] == "mcp":
            # Whoever asked goes away.
            running.stdin.close()
        else:
            said = ""
            while "end it with" not in said:
                line = running.stderr.readline()
                assert line, said
                said += line
            running.send_signal(signal.SIGINT)
        assert running.wait(120) == 0, running.stderr.read()
