"""Bad input: a one-line error that says what to do, a status other than 0, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from innersearch.cli import main
from innersearch.stored import read_json
from innersearch.world_1.bundled import BUNDLED

pytestmark = pytest.mark.usefixtures("in_empty_folder")

RECIPE = "recipes/ssrl-world.toml"
GOOD_ROW = {"id": "1", "question": "In which city was Tilorn born?", "golden_answers": ["Malgate"]}


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> str:
    """Run a command that must fail, and return the one line it prints."""
    assert main(list(arguments)) == status
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("innersearch: ")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err + captured.out
    return lines[0]


def write_rows(*rows: dict) -> str:
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "data.jsonl"


def tokenizer_without(folder: str, **tokens: str | None) -> str:
    """A model directory whose tokenizer lacks some special token, or cannot spell the tags."""
    words = {word: index for index, word in enumerate(["<unk>", "<eos>", "<pad>", "a"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=backend, **tokens).save_pretrained(folder)
    (Path(folder) / "config.json").write_text((BUNDLED / "config.json").read_text())
    return folder


def test_missing_model_directory(capsys) -> None:
    assert "no model directory at ./nowhere" in fails(capsys, "ask", "./nowhere", "Who?")
    assert "no model directory at nowhere" in fails(capsys, "ask", "nowhere", "Who?")


def test_directory_that_is_no_model(capsys) -> None:
    Path("empty").mkdir()
    assert "has no config.json" in fails(capsys, "ask", "empty", "Who?")
    Path("empty/config.json").write_text("{")
    assert "empty/config.json is damaged" in fails(capsys, "ask", "empty", "Who?")
    Path("empty/config.json").write_text("{}")
    assert "no tokenizer at empty" in fails(capsys, "ask", "empty", "Who?")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "[]", "config.json is damaged, it holds no JSON object"),
        ("generation_config.json", "{", "generation_config.json is damaged"),
        ("generation_config.json", "[]", "generation_config.json is damaged"),
        ("generation_config.json", '{"eos_token_id": "x"}', "has the eos_token_id 'x'"),
        ("generation_config.json", '{"eos_token_id": [1, 2.5]}', "has the eos_token_id 2.5"),
        ("tokenizer_config.json", "[]", "no tokenizer at model"),
        ("tokenizer.json", "[]", "no tokenizer at model"),
    ],
)
def test_a_damaged_model_directory(capsys, file: str, text: str, message: str) -> None:
    shutil.copytree(BUNDLED, "model")
    (Path("model") / file).write_text(text)
    assert message in fails(capsys, "ask", "model", "Who?")


def test_model_without_weights(capsys) -> None:
    Path("model").mkdir()
    for file in BUNDLED.iterdir():
        if file.suffix != ".safetensors":
            Path("model", file.name).write_bytes(file.read_bytes())
    assert "no causal language model at model" in fails(capsys, "ask", "model", "Who?")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"pad_token": "<pad>"}, "no end-of-sequence token"),
        ({"eos_token": "<eos>", "pad_token": "<pad>"}, "add the protocol tags to its vocabulary"),
    ],
)
def test_tokenizer_without_needed_tokens(capsys, tokens: dict[str, str], message: str) -> None:
    model = tokenizer_without("model", **tokens)
    assert message in fails(capsys, "ask", model, "Who?")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "2", "golden_answers": ["x"]}, "row 2 has no 'question'"),
        ({"id": "2", "question": "Who?"}, "row 2 has neither 'golden_answers'"),
        ({"id": "2", "question": "Who?", "golden_answers": []}, "row 2 has no gold answer"),
        ({"id": "2", "question": "Who?", "golden_answers": [" "]}, "row 2 has no gold answer"),
        (
            {"id": "2", "question": "Who?", "golden_answers": [None]},
            "row 2 is no question: 'golden_answers': a",
        ),
        ({"id": "2", "question": "Who?", "golden_answers": [["x"], ["y"]]}, "lists in a list"),
    ],
)
def test_bad_data_rows(capsys, row: dict, message: str) -> None:
    data = write_rows(GOOD_ROW, row)
    assert message in fails(capsys, "train", RECIPE, "--data", data)
    assert message in fails(capsys, "eval", "world-1", "--data", data)


def test_bad_data_files(capsys) -> None:
    assert "no data file at gone.jsonl" in fails(capsys, "eval", "world-1", "--data", "gone.jsonl")
    Path("data.xml").write_text("a,b")
    assert "ends in '.xml'" in fails(capsys, "eval", "world-1", "--data", "data.xml")
    Path("bad.jsonl").write_text('{"question": \n')
    assert "row 1 is no JSON" in fails(capsys, "eval", "world-1", "--data", "bad.jsonl")
    Path("wide.jsonl").write_text(
        json.dumps(GOOD_ROW | {"note": "é"}, ensure_ascii=False), encoding="cp1252"
    )
    assert "row 1 is no UTF-8" in fails(capsys, "eval", "world-1", "--data", "wide.jsonl")
    Path("none.jsonl").write_text("\n")
    assert "holds no questions" in fails(capsys, "eval", "world-1", "--data", "none.jsonl")
    Path("bad.parquet").write_text("no")
    assert "no readable Parquet" in fails(capsys, "eval", "world-1", "--data", "bad.parquet")
    message = fails(capsys, "eval", "world-1", "--data", "world:tets")
    assert "unknown split 'tets'" in message
    assert "did you mean 'test'?" in message


def test_unknown_settings_get_a_hint(capsys) -> None:
    message = fails(capsys, "train", RECIPE, "--trainer.stesp", "3", status=2)
    assert "--trainer.stesp" in message
    assert "Did you mean --trainer.steps?" in message
    Path("mine.toml").write_text('name = "mine"\n[trainer]\nlerning_rate = 1e-3\n')
    message = fails(capsys, "train", "mine.toml", status=2)
    assert "lerning_rate" in message
    assert "Did you mean --trainer.learning-rate?" in message
    message = fails(capsys, "train", RECIPE, "--prompt.name", "wrold")
    assert "did you mean 'world'?" in message
    message = fails(capsys, "train", RECIPE, "--groups", "never_statd")
    assert "did you mean 'never_stated'?" in message


@pytest.mark.parametrize("name", ["../../evil", "", ".", "..", "/tmp/evil", "a\\b"])
def test_the_name_of_a_recipe_is_one_folder(capsys, name: str) -> None:
    Path("mine.toml").write_text(f"name = {json.dumps(name)}\nmodel = 'gone'\ndata = 'world-1:train'\n")
    message = fails(capsys, "train", "mine.toml", status=2)
    assert "name: the name is that of a folder below runs/" in message
    assert "--output" in message
    assert "no model directory" in fails(capsys, "train", "mine.toml", "--name", "mine-2 (b).1")


def test_no_text_of_a_recipe_holds_a_nul(capsys) -> None:
    Path("mine.toml").write_text('data = "world-1:train"\n[search]\nengine = "bm25:a\\u0000b"\n')
    assert "mine.toml is no recipe: a text in it holds a NUL" in fails(capsys, "train", "mine.toml")


def test_a_wrong_path_is_not_taken_for_a_bundled_recipe(capsys) -> None:
    assert "no recipe at" in fails(capsys, "train", "nowhere/ssrl-world.toml")


def test_a_build_resumes_only_itself(capsys) -> None:
    Path("out").mkdir()
    Path("out/recipe.json").write_text("{}")
    message = fails(capsys, "world", "build", "out", "--resume")
    assert "does not hold a build with these settings" in message
    assert [path.name for path in Path("out").iterdir()] == ["recipe.json"]


def test_an_evaluation_resumes_only_itself(capsys) -> None:
    other = {**GOOD_ROW, "question": "In which city was Nemie born?"}
    assert main(["eval", "world-1", "--data", write_rows(GOOD_ROW), "--output", "out"]) == 0
    arguments = ["eval", "world-1", "--data", write_rows(other), "--output", "out", "--resume"]
    assert "other settings, questions or model" in fails(capsys, *arguments)


def test_too_few_questions_for_a_step(capsys) -> None:
    message = fails(
        capsys, "train", "recipes/ssrl.toml", "--model", "world-1", "--data", write_rows(GOOD_ROW)
    )
    assert "1 questions cannot fill a step of trainer.prompts_per_step = 256" in message
    assert not Path("runs").exists()


def test_a_question_longer_than_the_context_is_named_before_anything_is_written(capsys) -> None:
    data = write_rows(GOOD_ROW, {**GOOD_ROW, "id": "long", "question": "x" * 600})
    arguments = ["eval", "world-1", "--data", data, "--output", "out"]
    assert "the prompt of question 'long' has" in fails(capsys, *arguments)
    assert not Path("out").exists()
    small = "--empty-groups --trainer.prompts-per-step 2 --trainer.micro-batch 8 --model world-1"
    arguments = ["train", RECIPE, "--data", data, "--prompt.max-tokens", "2000", *small.split()]
    assert "tokens, and the context of" in fails(capsys, *arguments)


def test_questions_that_are_too_long_are_left_out_on_demand_and_counted(capsys) -> None:
    long = {**GOOD_ROW, "question": "x" * 600}
    data = write_rows(GOOD_ROW, long | {"id": "long"}, long | {"id": "longer"})
    arguments = ["eval", "world-1", "--data", data, "--output", "out"]
    assert "(2 of 3 are too long)" in fails(capsys, *arguments)
    assert main([*arguments, "--skip-long"]) == 0
    assert "left out, too long  2 of 3 questions  (long, longer)" in capsys.readouterr().out
    summary = read_json(Path("out/summary.json"))
    assert summary["left_out"] == {"ids": ["long", "longer"], "of": 3}
    assert summary["em"]["data"]["n"] == 1
    small = "--empty-groups --trainer.prompts-per-step 1 --trainer.micro-batch 8 --dry-run"
    arguments = ["train", RECIPE, "--model", "world-1", "--data", data, *small.split()]
    assert "leave such questions out" in fails(capsys, *arguments)
    assert main([*arguments, "--prompt.skip-long"]) == 0
    captured = capsys.readouterr()
    assert "note: 2 of 3 questions are left out, their prompts are too long" in captured.err
    assert "1 questions" in captured.out
    write_rows(long)
    assert "no prompt of 1 questions has at most" in fails(capsys, *arguments, "--prompt.skip-long")


def test_a_group_that_is_not_there_is_named_beside_one_that_is(capsys) -> None:
    data = write_rows(GOOD_ROW)
    message = fails(capsys, "eval", "world-1", "--data", data, "--groups", "data", "--groups", "dato")
    assert "no question of the groups dato (--empty-groups takes all); did you mean 'data'?" in message


def test_sampled_questions_need_samples(capsys) -> None:
    message = fails(capsys, "eval", "world-1", "--data", "world-1:test", "--sample-questions", "4")
    assert "add -n" in message


def test_a_failed_evaluation_leaves_no_directory(capsys) -> None:
    arguments = [
        "eval",
        "world-1",
        "--data",
        write_rows(GOOD_ROW),
        "--output",
        "out",
        "--prompt",
        "nope",
    ]
    assert "unknown prompt" in fails(capsys, *arguments)
    assert not Path("out").exists()


def test_impossible_settings(capsys) -> None:
    message = fails(capsys, "train", RECIPE, "--trainer.micro-batch", "7", status=2)
    assert "micro_batch 7 does not divide" in message
    assert "temperature" in fails(capsys, "train", RECIPE, "--sampling.temperature", "0", status=2)
    message = fails(capsys, "train", RECIPE, "--trainer.steps", "four", status=2)
    assert "trainer.steps: Input should be a valid integer" in message
    assert "errors.pydantic.dev" not in message
    assert "temperature" in fails(capsys, "ask", "world-1", "Who?", "--temperature", "-1", status=2)
    message = fails(capsys, "train", RECIPE, "--trainer.optimizer", "sgd", status=2)
    assert "'adamw' or 'muon'" in message
    assert "no recipe at gone.toml" in fails(capsys, "train", "gone.toml")
    Path("broken.toml").write_text("name = \n")
    message = fails(capsys, "train", "broken.toml")
    assert "broken.toml is no TOML: Invalid value (at line 1" in message
    assert "no model given" in fails(
        capsys, "train", "recipes/ssrl.toml", "--data", write_rows(GOOD_ROW)
    )
    assert "no data given" in fails(capsys, "train", "recipes/ssrl.toml", "--model", "world-1")


def test_prompt_that_is_too_long(capsys) -> None:
    data = write_rows({**GOOD_ROW, "question": "Where was " + "Vosel " * 100 + "born?"})
    short = "--groups data --trainer.prompts-per-step 1 --trainer.micro-batch 8 --prompt.max-tokens 40"
    message = fails(capsys, "train", RECIPE, "--data", data, *short.split())
    assert "the prompt of question '1' has" in message
    assert "raise the limit" in message


@pytest.mark.parametrize("command", ["train", "eval", "demo"])
def test_directory_that_is_not_empty(capsys, command: str) -> None:
    Path("out").mkdir()
    Path("out/precious.txt").write_text("mine")
    arguments = {
        "train": ["train", RECIPE, "--output", "out"],
        "eval": ["eval", "world-1", "--data", "world-1:test", "--output", "out"],
        "demo": ["demo", "out"],
    }[command]
    message = fails(capsys, *arguments)
    assert "out is not empty" in message
    assert "--resume" in message
    assert "another" in message
    resumed = fails(capsys, *arguments, "--resume")
    assert "no run" in resumed or "other settings" in resumed
    assert Path("out/precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ("RANK=abc", "RANK=abc: RANK, LOCAL_RANK, WORLD_SIZE are whole numbers"),
        ("WORLD_SIZE=2", "WORLD_SIZE=2 without RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        ("LOCAL_RANK=0", "LOCAL_RANK=0 without RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        ("RANK=5 WORLD_SIZE=2", "RANK=5 WORLD_SIZE=2 without LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        (
            "RANK=5 LOCAL_RANK=1 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=1",
            "RANK and LOCAL_RANK must be below WORLD_SIZE",
        ),
    ],
)
def test_half_a_launcher_is_refused(capsys, monkeypatch, variables: str, message: str) -> None:
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    for assignment in variables.split():
        monkeypatch.setenv(*assignment.split("=", 1))
    refused = fails(capsys, "train", RECIPE)
    assert message in refused
    assert "`accelerate launch`" in refused
    assert not Path("runs").exists()


@pytest.mark.parametrize(("variables", "speaks"), [({}, True), ({"WORLD_SIZE": "2"}, False)])
def test_only_the_first_of_several_processes_speaks(variables: dict[str, str], speaks: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "innersearch", "data", "ls"],
        env=os.environ | {"RANK": "1"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert bool(done.stdout) == speaks


def test_nothing_to_report(capsys) -> None:
    Path("run").mkdir()
    assert "nothing to report in run" in fails(capsys, "report", "run")


def test_unknown_command_and_missing_argument(capsys) -> None:
    assert "trian" in fails(capsys, "trian", status=2)
    assert "MODEL" in fails(capsys, "ask", status=2).upper()


def test_help_names_every_command_and_gives_examples(capsys) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("demo", "train", "eval", "ask", "report", "world"):
        assert f"│ {command} " in text
        assert main([command, "--help"]) == 0
        assert f"innersearch {command} " in capsys.readouterr().out


def test_import_and_help_are_cheap() -> None:
    """Neither may load torch or anything else that takes seconds."""
    heavy = ("torch", "transformers", "datasets", "matplotlib", "trl", "pyarrow", "fastapi")
    for statement in ("import innersearch", "from innersearch.cli import main; main(['--help'])"):
        check = f"{statement}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_ask_prints_the_trajectory_and_the_answer(capsys) -> None:
    assert main(["ask", "world-1", "Where was Vosel born?"]) == 0
    text = capsys.readouterr().out
    assert "<search>" in text
    assert "<information>" in text
    assert "answer    " in text


def test_a_question_may_hold_square_brackets(capsys) -> None:
    assert main(["ask", "world-1", "Who [/b] taught [red] Nemie?"]) == 0
    assert "Who [/b] taught [red] Nemie?" in capsys.readouterr().out


def test_an_interrupt_that_a_library_turns_into_its_own_error_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def library(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("the worker was torn down") from error

    monkeypatch.setattr("innersearch.cli.app", library)
    assert main(["report", "runs/x"]) == 130
    assert "interrupted; what is written stays" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("package", "extra"), [("torch", "train"), ("faiss.swigfaiss", "dense")])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr("innersearch.cli.app", missing)
    assert main(["report", "runs/x"]) == 1
    assert f"pip install -e '.[{extra}]'" in capsys.readouterr().err
